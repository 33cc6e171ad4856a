//! HTTP clients by how they connect. Those with equal settings share connections.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chunked_core::Digest;
use url::Url;

use crate::error::causes;
use crate::hosts::{Tls, is_loopback};
use crate::options::ClientOptions;

/// Clients kept; each has its own connections.
const MAX_CLIENTS: usize = 256;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    /// To this machine: never through a proxy.
    loopback: bool,
    /// Plain HTTP needs no certificates, and works where none are installed.
    https: bool,
    tls: Option<Digest>,
    connect_timeout: Duration,
}

/// All clients, each made when first needed.
#[derive(Debug)]
pub(super) struct Clients {
    options: ClientOptions,
    made: Mutex<HashMap<Key, reqwest::Client>>,
}

impl Clients {
    pub(super) fn new(options: ClientOptions) -> Self {
        Self { options, made: Mutex::default() }
    }

    /// None made yet, with the same options.
    pub(super) fn apart(&self) -> Self {
        Self::new(self.options.clone())
    }

    /// The client for `url`.
    ///
    /// # Errors
    ///
    /// Why it cannot be set up.
    pub(super) fn get(
        &self,
        url: &Url,
        tls: &Tls,
        dial: Option<Duration>,
    ) -> Result<reqwest::Client, String> {
        let https = url.scheme() != "http";
        let key = Key {
            loopback: is_loopback(url),
            https,
            tls: tls.fingerprint().filter(|_| https),
            connect_timeout: dial.unwrap_or(self.options.connect_timeout),
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(&key) {
            return Ok(client.clone());
        }
        let client = self.make(&key, tls)?;
        if made.len() >= MAX_CLIENTS {
            made.clear();
        }
        made.insert(key, client.clone());
        Ok(client)
    }

    fn make(&self, key: &Key, tls: &Tls) -> Result<reqwest::Client, String> {
        let options = &self.options;
        let mut builder = reqwest::Client::builder()
            .user_agent(options.user_agent.clone())
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(key.connect_timeout)
            .pool_max_idle_per_host(options.connections_per_host)
            .tcp_nodelay(true);
        if !options.http2 {
            builder = builder.http1_only();
        }
        if key.loopback {
            builder = builder.no_proxy();
        }
        builder = match key.https {
            true => builder.https_only(true).tls_backend_preconfigured(tls.config(options.http2)?),
            false => builder.tls_certs_only(std::iter::empty()),
        };
        builder.build().map_err(|error| causes(&error))
    }
}

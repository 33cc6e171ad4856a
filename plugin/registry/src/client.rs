//! The client: one set of connections, grants and knowledge about hosts for the whole process.

mod exchange;
mod resolve;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chunked_core::Digest;

use crate::auth::Auth;
use crate::blob::Blob;
use crate::error::RegistryError;
use crate::reference::Reference;
use crate::transport::{ClientError, Transport};
pub(crate) use exchange::Target;

/// How long a host is believed to have no ranges.
const NO_RANGES_FOR: Duration = Duration::from_secs(600);

/// How to reach registries.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Docker configuration with credentials: a file, or a directory with a `config.json`. `None` means
    /// `$DOCKER_CONFIG`, else `~/.docker`.
    pub docker_config: Option<PathBuf>,
    /// Hosts (with or without port) spoken to by plain HTTP. Loopback hosts always are.
    pub plain_http: Vec<String>,
    /// `User-Agent` header.
    pub user_agent: String,
    /// Time for TCP and TLS to be set up.
    pub connect_timeout: Duration,
    /// Longest silence while an answer or data is awaited.
    pub read_timeout: Duration,
    /// Idle connections kept for each host.
    pub connections_per_host: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            docker_config: None,
            plain_http: Vec::new(),
            user_agent: concat!("chunked-snapshotter/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(30),
            connections_per_host: 16,
        }
    }
}

/// A client for all registries. Clones share connections and grants.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) transport: Transport,
    pub(crate) auth: Auth,
    plain_http: Vec<String>,
    /// By host: whether the last answer to a range request was one, and when it came.
    ranges: Mutex<HashMap<String, (bool, Instant)>>,
}

impl Client {
    /// A client; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`ClientError`] when the HTTP library cannot be set up.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let (docker_config, plain_http) = (options.docker_config.clone(), options.plain_http.clone());
        let transport = Transport::new(options)?;
        let ranges = Mutex::new(HashMap::new());
        Ok(Self { inner: Arc::new(Inner { transport, auth: Auth::new(docker_config), plain_http, ranges }) })
    }

    /// A handle on the blob `digest`, `size` bytes long, in the repository of `reference`. Asks nothing yet.
    pub fn blob(&self, reference: &Reference, digest: Digest, size: u64) -> Blob {
        Blob::new(Arc::clone(&self.inner), reference.clone(), digest, size)
    }
}

impl Inner {
    pub(crate) fn target(&self, reference: &Reference) -> Result<Target, RegistryError> {
        let endpoint = crate::hosts::endpoint(reference, &self.plain_http)?;
        Ok(Target { endpoint, repository: reference.repository.clone() })
    }

    /// Whether `host` answers range requests with ranges; `None` when that is not known.
    pub(crate) fn has_ranges(&self, host: &str) -> Option<bool> {
        let ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let (answer, when) = ranges.get(host)?;
        (*answer || when.elapsed() < NO_RANGES_FOR).then_some(*answer)
    }

    pub(crate) fn note_ranges(&self, host: &str, answer: bool) {
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        match ranges.get_mut(host) {
            Some((known, _)) if *known == answer && answer => {}
            _ => {
                ranges.insert(host.to_owned(), (answer, Instant::now()));
            }
        }
    }
}

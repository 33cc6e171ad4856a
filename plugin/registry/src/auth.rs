//! Who we are to a registry: challenges answered with credentials from docker's configuration.
//!
//! Grants are kept by (host, repository), which is host and scope: we only ever ask for `pull`. The
//! configuration is read anew for each grant. Nothing here shows a secret in `Debug` or errors.

mod challenge;
mod docker_config;
mod token;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::error::{RegistryError, Subject};
use crate::hosts::Endpoint;
use crate::transport::Transport;
pub(crate) use challenge::Challenge;
use docker_config::Credentials;

/// How long a user name and password are used before the configuration is looked at again.
const BASIC_VALIDITY: Duration = Duration::from_secs(60);
/// Repositories remembered; beyond that, expired grants are forgotten.
const MAX_SLOTS: usize = 1024;

/// Host and repository.
type Key = (String, String);

/// Grants and where credentials come from.
pub(crate) struct Auth {
    docker_config: Option<PathBuf>,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// What is known about one repository.
#[derive(Default)]
struct Slot {
    grant: Mutex<Option<Grant>>,
    /// Held by the one task that gets a new grant; the others wait for it and use what it got.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Grant {
    header: HeaderValue,
    expires: Instant,
}

impl Slot {
    fn get(&self) -> Option<HeaderValue> {
        let grant = self.grant.lock().unwrap_or_else(PoisonError::into_inner);
        grant.as_ref().filter(|grant| grant.expires > Instant::now()).map(|grant| grant.header.clone())
    }

    fn set(&self, grant: Option<Grant>) {
        *self.grant.lock().unwrap_or_else(PoisonError::into_inner) = grant;
    }
}

impl Auth {
    pub(crate) fn new(docker_config: Option<PathBuf>) -> Self {
        Self { docker_config, slots: Mutex::new(HashMap::new()) }
    }

    fn slot(&self, endpoint: &Endpoint, repository: &str) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_SLOTS {
            slots.retain(|_, slot| slot.get().is_some());
        }
        Arc::clone(slots.entry((endpoint.host.clone(), repository.to_owned())).or_default())
    }

    /// The header that was last accepted or granted for this repository.
    pub(crate) fn cached(&self, endpoint: &Endpoint, repository: &str) -> Option<HeaderValue> {
        self.slot(endpoint, repository).get()
    }

    /// Forgets what the registry refused.
    pub(crate) fn forget(&self, endpoint: &Endpoint, repository: &str, refused: &HeaderValue) {
        let slot = self.slot(endpoint, repository);
        if slot.get().as_ref() == Some(refused) {
            slot.set(None);
        }
    }

    /// Answers the challenges in `headers`. `refused` is the header that brought the 401, if any.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) when there is nothing to answer with.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        repository: &str,
        headers: &HeaderMap,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let slot = self.slot(endpoint, repository);
        let _renewing = slot.renewing.lock().await;
        if let Some(header) = slot.get().filter(|header| Some(header) != refused) {
            return Ok(header);
        }
        slot.set(None);
        let grant = self.grant(transport, endpoint, repository, headers).await?;
        slot.set(Some(grant.clone()));
        Ok(grant.header)
    }

    async fn grant(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        repository: &str,
        headers: &HeaderMap,
    ) -> Result<Grant, RegistryError> {
        let subject = Subject { host: endpoint.host.clone(), what: repository.to_owned() };
        let values = headers.get_all(WWW_AUTHENTICATE).into_iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<Challenge> = values.flat_map(challenge::parse).collect();
        let offered = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let credentials = self.credentials(endpoint, repository).await?;
        if let Some(challenge) = offered("bearer") {
            let token =
                token::request(transport, endpoint, repository, challenge, credentials.as_ref()).await?;
            let header = secret_header(&format!("Bearer {}", token.secret.expose_secret()), &subject)?;
            return Ok(Grant { header, expires: Instant::now() + token.validity });
        }
        if offered("basic").is_none() {
            return Err(subject.denied("it offers no way to authenticate that we know (Bearer, Basic)"));
        }
        match credentials {
            Some(Credentials::Password { user, password }) => Ok(Grant {
                header: basic(&user, &password, &subject)?,
                expires: Instant::now() + BASIC_VALIDITY,
            }),
            _ => Err(subject.denied(format!("it wants a user and password; {}", advice(&endpoint.host)))),
        }
    }

    async fn credentials(
        &self,
        endpoint: &Endpoint,
        repository: &str,
    ) -> Result<Option<Credentials>, RegistryError> {
        let Some(path) = docker_config::locate(self.docker_config.as_deref()) else { return Ok(None) };
        let (host, repository) = (endpoint.host.clone(), repository.to_owned());
        let subject = Subject { host: host.clone(), what: repository.clone() };
        let found = tokio::task::spawn_blocking(move || docker_config::find(&path, &host, &repository)).await;
        match found {
            Ok(found) => found.map_err(|failure| subject.error(failure)),
            Err(_) => Err(subject.request("reading credentials was interrupted")),
        }
    }
}

/// What a user can do who was denied.
pub(crate) fn advice(host: &str) -> String {
    format!("log in with `docker login {host}`, or name the right docker configuration")
}

fn basic(user: &str, password: &SecretString, subject: &Subject) -> Result<HeaderValue, RegistryError> {
    let pair = SecretString::from(format!("{user}:{}", password.expose_secret()));
    let encoded = base64::engine::general_purpose::STANDARD.encode(pair.expose_secret());
    secret_header(&format!("Basic {encoded}"), subject)
}

/// A header value that `Debug` does not show and HPACK does not index.
fn secret_header(text: &str, subject: &Subject) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| subject.denied("the credentials do not fit into a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("docker_config", &self.docker_config).finish_non_exhaustive()
    }
}

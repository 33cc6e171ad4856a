//! Who we are to a registry: challenges answered with credentials from the keychain.
//!
//! Grants are kept by (endpoint, scope) and renewed when they expire, also in the middle of a pull. A change of the
//! files that hold credentials ends them. Nothing here shows a secret in `Debug` or errors.

mod answer;
mod challenge;
mod command;
mod credentials;
pub(crate) mod docker_config;
mod environment;
mod helper;
mod keychain;
mod kubelet;
mod scope;
mod token;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::error::{Failure, RegistryError, Subject};
use crate::hosts::Endpoint;
use crate::transport::Transport;
pub(crate) use challenge::Challenge;
pub use credentials::Credentials;
pub(crate) use keychain::Places;
use keychain::{Found, Keychain, Stamp};
pub(crate) use scope::Scope;

/// How long a user name and password are used before the keychain is asked again.
const BASIC_VALIDITY: Duration = Duration::from_secs(60);
/// Scopes remembered; beyond that, expired grants are forgotten.
const MAX_SLOTS: usize = 1024;

/// Name of an endpoint, and what is asked for there.
type Key = (Arc<str>, Scope);

/// Grants and where credentials come from.
pub(crate) struct Auth {
    keychain: Keychain,
    /// Given for one registry, by the host of its references; counts more than the keychain.
    given: Option<(String, Credentials)>,
    slots: Mutex<HashMap<Key, Arc<Slot>>>,
}

/// What is known about one scope at one endpoint.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    /// Held by the one task that gets a new grant; the others wait for it and use what it got.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    grant: Option<Grant>,
    /// What the registry offered last.
    challenges: Vec<Challenge>,
}

#[derive(Clone)]
struct Grant {
    header: HeaderValue,
    expires: Instant,
    /// State of the files it may come from.
    stamp: Stamp,
}

impl Slot {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, stamp: &Stamp) -> Option<HeaderValue> {
        let state = self.state();
        let good = |grant: &&Grant| grant.expires > Instant::now() && grant.stamp == *stamp;
        state.grant.as_ref().filter(good).map(|grant| grant.header.clone())
    }
}

impl Auth {
    pub(crate) fn new(places: Places) -> Self {
        Self { keychain: Keychain::new(places), given: None, slots: Mutex::default() }
    }

    /// The same places, no grants yet, and `credentials` for the registry `host` itself: its mirrors and every other host
    /// get what the places have for them.
    pub(crate) fn with(&self, host: &str, credentials: Credentials) -> Self {
        let given = Some((host.to_owned(), credentials));
        Self { keychain: self.keychain.again(), given, slots: Mutex::default() }
    }

    /// What `endpoint` is to be told. See [`Keychain::find`].
    async fn find(
        &self,
        endpoint: &Endpoint,
        repository: &str,
        refused: bool,
    ) -> Result<Found, RegistryError> {
        match &self.given {
            Some((host, credentials)) if *host == endpoint.host && endpoint.mirror_of.is_none() => {
                Ok(Found { credentials: Some(credentials.clone()), ..Found::default() })
            }
            _ => self.keychain.find(&endpoint.host, repository, refused).await,
        }
    }

    fn slot(&self, endpoint: &Endpoint, scope: &Scope) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_SLOTS {
            let now = Instant::now();
            slots.retain(|_, slot| slot.state().grant.as_ref().is_some_and(|grant| grant.expires > now));
        }
        Arc::clone(slots.entry((Arc::clone(&endpoint.name), scope.clone())).or_default())
    }

    /// The header to send: the one that was last granted, or a new one when that has expired. `None` when the
    /// registry has not asked for any yet, or when a new one cannot be had: then the answer will tell.
    pub(crate) async fn authorization(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: &Scope,
    ) -> Option<HeaderValue> {
        let slot = self.slot(endpoint, scope);
        if let Some(header) = slot.get(&self.keychain.stamp()) {
            return Some(header);
        }
        if slot.state().challenges.is_empty() {
            return None;
        }
        self.answer(transport, endpoint, scope, None, None).await.ok()
    }

    /// Forgets what the registry refused.
    pub(crate) fn forget(&self, endpoint: &Endpoint, scope: &Scope, refused: &HeaderValue) {
        let slot = self.slot(endpoint, scope);
        let mut state = slot.state();
        if state.grant.as_ref().is_some_and(|grant| grant.header == *refused) {
            state.grant = None;
        }
    }

    /// Answers the challenges in `headers`, or those that came last. `refused` is the header that did not serve,
    /// if any.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`](crate::ErrorKind::Denied) when there is nothing to answer with.
    pub(crate) async fn answer(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: &Scope,
        headers: Option<&HeaderMap>,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, RegistryError> {
        let slot = self.slot(endpoint, scope);
        if let Some(headers) = headers {
            // Bytes that are no text may stand in a parameter that nobody needs.
            let values = headers.get_all(WWW_AUTHENTICATE).into_iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
            slot.state().challenges = values.flat_map(|value| challenge::parse(&value)).collect();
        }
        let _renewing = slot.renewing.lock().await;
        // Before the files are read: what changes meanwhile ends the grant.
        let stamp = self.keychain.stamp();
        if let Some(header) = slot.get(&stamp).filter(|header| Some(header) != refused) {
            return Ok(header);
        }
        slot.state().grant = None;
        let challenges = slot.state().challenges.clone();
        let refused = refused.is_some();
        let (header, validity) = self.grant(transport, endpoint, scope, &challenges, refused).await?;
        let grant = Grant { header, expires: Instant::now() + validity, stamp };
        slot.state().grant = Some(grant.clone());
        Ok(grant.header)
    }

    async fn grant(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        scope: &Scope,
        challenges: &[Challenge],
        refused: bool,
    ) -> Result<(HeaderValue, Duration), RegistryError> {
        let subject = Subject { host: endpoint.host.clone(), what: scope.repository().to_owned() };
        let offered = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let found = self.find(endpoint, scope.repository(), refused).await?;
        if let Some(challenge) = offered("bearer") {
            let token = token::request(transport, endpoint, scope, challenge, &found).await?;
            let header = secret_header(&format!("Bearer {}", token.secret.expose_secret()), &subject)?;
            return Ok((header, token.validity));
        }
        if offered("basic").is_none() {
            return Err(subject.denied("it offers no way to authenticate that we know (Bearer, Basic)"));
        }
        match &found.credentials {
            Some(Credentials::Password { user, password }) => {
                Ok((basic(user, password, &subject)?, BASIC_VALIDITY))
            }
            Some(Credentials::Identity(_)) => {
                Err(subject.denied("it wants a user and password, and there is only an identity token"))
            }
            None => Err(denied(&subject, "it wants a user and password".to_owned(), &found)),
        }
    }
}

/// A refusal, with what was wrong with the places that might have had the right credentials.
fn denied(subject: &Subject, reason: String, found: &Found) -> RegistryError {
    match found.troubles.is_empty() {
        true => subject.denied(reason),
        false => subject.error(Failure::NoCredentials { reason, troubles: found.troubles.clone() }),
    }
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
        f.debug_struct("Auth").field("keychain", &self.keychain).finish_non_exhaustive()
    }
}

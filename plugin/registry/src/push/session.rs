//! An upload as the registry sees it: a place that takes bytes until they are given a digest.

use std::sync::Arc;

use chunked_core::ObjectDigest;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::auth::Scope;
use crate::client::{Inner, failure};
use crate::error::{ErrorKind, Failure, RegistryError, Subject};
use crate::hosts::{Endpoint, led_to, same_origin};
use crate::retry::{Patience, Retry};
use crate::transport::{Ask, Reply, Upload};

/// A repository that is written to.
pub(super) struct Place<'a> {
    pub inner: &'a Inner,
    pub endpoint: Arc<Endpoint>,
    pub repository: String,
    pub scope: Scope,
    pub subject: Subject,
}

impl Inner {
    /// The registry itself, if it may be written to. Mirrors are never.
    pub(super) async fn push_endpoint(
        &self,
        host: &str,
        subject: &Subject,
    ) -> Result<Arc<Endpoint>, RegistryError> {
        let endpoints = self.hosts.endpoints(host, subject).await?;
        match endpoints.last() {
            Some(endpoint) if endpoint.capabilities.push && endpoint.mirror_of.is_none() => {
                Ok(Arc::clone(endpoint))
            }
            _ => {
                let reason = format!("{host} itself does not have the capability \"push\"");
                Err(subject.error(Failure::HostConfig { place: "hosts.toml".to_owned(), reason }))
            }
        }
    }
}

impl Place<'_> {
    pub(super) fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Url, RegistryError> {
        let url = self.endpoint.url(&self.repository, segments, query);
        url.ok_or_else(|| self.subject.request("the host has no paths"))
    }

    /// Sends a request that can be repeated, as often as is worth while: its body is short or empty.
    pub(super) async fn send(&self, ask: Ask) -> Result<Reply, RegistryError> {
        let mut patience = Patience::new(Retry::CONVERSION);
        loop {
            let error = match self.send_once(ask.clone()).await {
                Ok(reply) if !busy(reply.status) => return Ok(reply),
                Ok(reply) => failure(reply, false, &self.subject).await,
                Err(error) => error,
            };
            if !patience.forgives(&error, self.inner.transport.traffic()).await {
                return Err(error);
            }
        }
    }

    /// Sends; credentials only if that goes to the registry itself. A registry may have its uploads elsewhere, and
    /// says so in a `Location`: whatever lets us in there stands in the URL.
    pub(super) async fn send_once(&self, mut ask: Ask) -> Result<Reply, RegistryError> {
        if matches!(ask.body, Upload::Empty) && (ask.method == Method::POST || ask.method == Method::PUT) {
            // Some servers insist on it.
            ask.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if same_origin(&ask.url, &self.endpoint.base) {
            return self.inner.exchange(&self.endpoint, ask, &self.scope, &self.subject).await;
        }
        self.inner.transport.send(&ask, &self.endpoint.for_others(), &self.subject).await
    }
}

/// An answer that may be another one a little later.
fn busy(status: StatusCode) -> bool {
    status.is_server_error()
        || status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
}

/// An upload that was begun.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// Where its next request goes.
    location: Url,
    /// Bytes the registry has.
    pub offset: u64,
    /// Bytes that a piece must have at least, unless it is the last one.
    pub least: u64,
}

impl Session {
    /// Begins an upload.
    pub(super) async fn start(place: &Place<'_>) -> Result<Self, RegistryError> {
        let url = place.url(&["blobs", "uploads", ""], &[])?;
        let reply = place.send(Ask { method: Method::POST, ..Ask::get(url, HeaderMap::new()) }).await?;
        if reply.status != StatusCode::ACCEPTED {
            return Err(failure(reply, false, &place.subject).await);
        }
        Self::of(place, &reply)
    }

    /// The upload that `reply` tells of, with nothing in it yet.
    pub(super) fn of(place: &Place<'_>, reply: &Reply) -> Result<Self, RegistryError> {
        let least = header(reply, "oci-chunk-min-length").and_then(|least| least.parse().ok()).unwrap_or(0);
        Ok(Self { location: location(place, reply)?, offset: 0, least })
    }

    /// Asks how far it came; `None` when the registry does not know it any more.
    pub(super) async fn resume(self, place: &Place<'_>, size: u64) -> Result<Option<Self>, RegistryError> {
        let reply = match place.send_once(Ask::get(self.location.clone(), HeaderMap::new())).await {
            Err(error) if error.kind() != ErrorKind::Transient => return Ok(None),
            reply => reply?,
        };
        if !reply.status.is_success() {
            return Ok(None);
        }
        let offset = received(header(&reply, RANGE.as_str()));
        let location = location(place, &reply).unwrap_or(self.location);
        Ok(offset.filter(|offset| *offset <= size).map(|offset| Self { location, offset, least: self.least }))
    }

    /// Adds `len` bytes.
    pub(super) async fn append(
        &self,
        place: &Place<'_>,
        len: u64,
        body: Upload,
    ) -> Result<Self, RegistryError> {
        let subject = &place.subject;
        let end = self.offset + len;
        let mut headers = octets();
        let range = HeaderValue::try_from(format!("{}-{}", self.offset, end.saturating_sub(1)))
            .map_err(|_| subject.request("its range does not fit into a header"))?;
        headers.insert(CONTENT_RANGE, range);
        let ask = Ask { method: Method::PATCH, body, ..Ask::get(self.location.clone(), headers) };
        let reply = place.send_once(ask).await?;
        match reply.status {
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT => {}
            // It has something else than we think, or forgot the upload: worth another one.
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => {
                return Err(lost(reply.status, subject));
            }
            _ => return Err(failure(reply, false, subject).await),
        }
        Ok(Self { location: location(place, &reply)?, offset: end, least: self.least })
    }

    /// Adds the last bytes and gives everything its digest. The caller judges the answer.
    pub(super) async fn finish(
        &self,
        place: &Place<'_>,
        digest: &ObjectDigest,
        body: Upload,
    ) -> Result<Reply, RegistryError> {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", &digest.to_string());
        let reply = place.send_once(Ask { method: Method::PUT, body, ..Ask::get(url, octets()) }).await?;
        match reply.status {
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(lost(reply.status, &place.subject))
            }
            _ => Ok(reply),
        }
    }

    /// Gives it up. Registries do so themselves after a while.
    pub(super) async fn cancel(self, place: &Place<'_>) {
        let ask = Ask { method: Method::DELETE, ..Ask::get(self.location, HeaderMap::new()) };
        if let Err(error) = place.send_once(ask).await {
            tracing::debug!(%error, "an upload was not cancelled");
        }
    }
}

fn lost(status: StatusCode, subject: &Subject) -> RegistryError {
    subject.error(Failure::Transport(format!("HTTP {status}: the registry lost the upload")))
}

fn octets() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))])
}

fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    reply.headers.get(name)?.to_str().ok()
}

/// Where the next request of an upload goes.
fn location(place: &Place<'_>, reply: &Reply) -> Result<Url, RegistryError> {
    let refused = |reason| place.subject.error(Failure::Redirect(reason));
    let text =
        header(reply, LOCATION.as_str()).ok_or_else(|| refused("an upload has no readable location"))?;
    led_to(&reply.url, text).map_err(refused)
}

/// Bytes received, by the answer to a question about an upload: `0-N`, or nothing for none.
fn received(range: Option<&str>) -> Option<u64> {
    let Some(range) = range else { return Some(0) };
    let (first, last) = range.trim().trim_start_matches("bytes=").split_once('-')?;
    let last: u64 = last.parse().ok().filter(|_| first == "0")?;
    // An upload without bytes says 0-0, as one with a single byte does: begun anew, it does not matter.
    last.checked_add(1).filter(|received| *received > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_received() {
        for (range, bytes) in [
            (None, Some(0)),
            (Some("0-0"), None),
            (Some("0-9"), Some(10)),
            (Some("bytes=0-9"), Some(10)),
            (Some("5-9"), None),
            (Some("x"), None),
            (Some("0-18446744073709551615"), None),
        ] {
            assert_eq!(received(range), bytes, "{range:?}");
        }
    }
}

//! One authenticated request to one endpoint.

use std::sync::Arc;
use std::time::Duration;

use chunked_core::ByteRange;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::Inner;
use crate::auth::Scope;
use crate::content_range::ContentRange;
use crate::error::{Failure, RegistryError, Subject};
use crate::hosts::Endpoint;
use crate::multipart;
use crate::transport::{Ask, Reply, Shortcut};

/// Bytes read of an error's body.
const MAX_DETAIL: usize = 4096;
/// Time given to an error's body.
const DETAIL_TIME: Duration = Duration::from_secs(2);

/// What an answer must be, so that a host that gives another one is passed over.
#[derive(Debug, Clone)]
pub(crate) enum Expect {
    /// The caller will see.
    Anything,
    /// A whole blob of so many bytes.
    Whole(u64),
    /// One of these ranges at least, or the whole blob of so many bytes.
    Ranges(Vec<ByteRange>, u64),
}

/// What is asked for besides a name.
#[derive(Debug, Clone)]
pub(crate) struct Get {
    pub headers: HeaderMap,
    pub expect: Expect,
    /// Of a blob that is asked for in parts.
    pub shortcut: Option<Arc<Shortcut>>,
}

impl From<HeaderMap> for Get {
    fn from(headers: HeaderMap) -> Self {
        Self { headers, expect: Expect::Anything, shortcut: None }
    }
}

/// A repository of a registry.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Host of the reference.
    pub host: String,
    pub repository: String,
}

impl Inner {
    /// Sends `ask` to `endpoint` with what it wants of us for `scope`. Gives whatever comes back, also a 401 that
    /// remained.
    ///
    /// # Errors
    ///
    /// When there is no answer, or nothing to answer a challenge with.
    pub(crate) async fn exchange(
        &self,
        endpoint: &Endpoint,
        mut ask: Ask,
        scope: &Scope,
        subject: &Subject,
    ) -> Result<Reply, RegistryError> {
        ask.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        ask.authorization = self.auth.authorization(&self.transport, endpoint, scope).await;
        let reply = self.transport.send(&ask, endpoint, subject).await?;
        let refused = ask.authorization.take();
        let challenge = match reply.status {
            _ if !reply.direct => return Ok(reply),
            StatusCode::UNAUTHORIZED => true,
            // Some registries say so when a token has expired.
            StatusCode::FORBIDDEN if refused.is_some() => false,
            _ => return Ok(reply),
        };
        let headers = reply.headers.clone();
        let offered = challenge.then_some(&headers);
        if challenge {
            // Its connection is wanted, and the token server may be the same host.
            reply.into_body().drain().await;
            let granted =
                self.auth.answer(&self.transport, endpoint, scope, offered, refused.as_ref()).await?;
            ask.authorization = Some(granted);
        } else {
            // Its place at the host is given back first: the token server may be the same host, and all places there
            // may be taken by refusals like this one.
            let reply = reply.settle(MAX_DETAIL, DETAIL_TIME).await;
            let granted = self.auth.answer(&self.transport, endpoint, scope, None, refused.as_ref()).await;
            match granted {
                Ok(granted) if Some(&granted) != refused.as_ref() => ask.authorization = Some(granted),
                _ => return Ok(reply),
            }
        }
        let reply = self.transport.send(&ask, endpoint, subject).await?;
        if let Some(refused) = &ask.authorization
            && reply.direct
            && matches!(reply.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
        {
            self.auth.forget(endpoint, scope, refused);
        }
        Ok(reply)
    }

    /// A success (200 or 206) without content encoding, or an error. `ranged`: a byte range was asked for.
    pub(crate) async fn success(
        &self,
        reply: Reply,
        ranged: bool,
        subject: &Subject,
    ) -> Result<Reply, RegistryError> {
        match reply.status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => plain(reply, ranged, subject),
            _ => Err(failure(reply, ranged, subject).await),
        }
    }

    /// GETs `url` from one endpoint; otherwise like [`Inner::success`].
    pub(crate) async fn get_from(
        &self,
        endpoint: &Endpoint,
        (repository, segments): (&str, &[&str]),
        get: Get,
        subject: &Subject,
    ) -> Result<Reply, RegistryError> {
        let repository = &*endpoint.rewrite.apply(repository);
        let url = endpoint.url(repository, segments, &[]);
        let url = url.ok_or_else(|| subject.request("the host has no paths"))?;
        let ranged = get.headers.contains_key(RANGE);
        let scope = Scope::pull(repository);
        // Blobs and documents by digest are proven; what a tag means is not.
        let digest_proves = segments.last().is_some_and(|name| name.contains(':'));
        let ask = Ask { shortcut: get.shortcut, digest_proves, ..Ask::get(url, get.headers) };
        let reply = self.exchange(endpoint, ask, &scope, subject).await?;
        let reply = self.success(reply, ranged, subject).await?;
        match get.expect.check(&reply) {
            Ok(()) => Ok(reply),
            Err(failure) => Err(subject.error(failure)),
        }
    }
}

impl Expect {
    /// Whether a success can be what was asked for, as far as its headers tell. Its bytes are proven later.
    fn check(&self, reply: &Reply) -> Result<(), Failure> {
        let (size, asked) = match self {
            Self::Anything => return Ok(()),
            Self::Whole(size) => (*size, None),
            Self::Ranges(ranges, size) => (*size, Some(ranges)),
        };
        let length = reply.content_length();
        match (reply.status, asked) {
            (StatusCode::PARTIAL_CONTENT, None) => {
                Err(Failure::Unexpected("a part of the blob instead of the whole"))
            }
            (StatusCode::PARTIAL_CONTENT, Some(ranges)) => {
                let parts = multipart::boundary(reply.text(CONTENT_TYPE)).is_some();
                if parts && ranges.len() > 1 {
                    return Ok(());
                }
                ContentRange::of(reply.text(CONTENT_RANGE), ranges, size).map(drop)
            }
            _ if length.is_some_and(|length| length != size) => Err(Failure::Length(size)),
            // No registry calls a blob so; a log-in may be as long as it likes.
            _ if length.is_none() && reply.text(CONTENT_TYPE).starts_with("text/html") => {
                Err(Failure::Unexpected("a web page"))
            }
            _ => Ok(()),
        }
    }
}

/// The error that an answer other than a success means.
pub(crate) async fn failure(reply: Reply, ranged: bool, subject: &Subject) -> RegistryError {
    let (status, direct) = (reply.status, reply.direct);
    let retry_after = reply.retry_after();
    // A 416 may announce the whole blob's length for a body that never comes (docker-registry 2.8).
    let detail = match status {
        StatusCode::RANGE_NOT_SATISFIABLE => String::new(),
        _ => detail(reply).await,
    };
    if direct && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return subject.denied(format!("HTTP {status}{detail}"));
    }
    subject.error(Failure::Status { status, detail, retry_after, ranged, direct })
}

/// Refuses a body that is not the blob itself: its lengths and digests would be those of something else.
fn plain(reply: Reply, ranged: bool, subject: &Subject) -> Result<Reply, RegistryError> {
    let encoding = reply.headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(reply);
    }
    let encoding = String::from_utf8_lossy(encoding).chars().take(50).collect();
    Err(subject.error(Failure::Encoding { encoding, ranged }))
}

/// What the registry says about its error (distribution spec, "Error Codes"), as `: text` or nothing.
async fn detail(reply: Reply) -> String {
    // Late or broken: the status has to do.
    let body = reply.into_body().read_some(MAX_DETAIL, DETAIL_TIME).await;
    described(&body).map_or_else(String::new, |text| format!(": {text}"))
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<OneError>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

fn described(body: &[u8]) -> Option<String> {
    let Errors { errors } = serde_json::from_slice(body).ok()?;
    let OneError { code, message } = errors.into_iter().next()?;
    let text = format!("{code} {message}");
    // Lands in logs and terminals: one line, no escape sequences, not endless.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_one_clean_line() {
        for (body, text) in [
            (r#"{"errors":[{"code":"DENIED","message":"no\u001b[31m\nway"}]}"#, Some("DENIED no [31m way")),
            (r#"{"errors":[]}"#, None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(described(body.as_bytes()).as_deref(), text, "{body}");
        }
    }
}

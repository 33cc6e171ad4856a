//! An answer: its headers, who gave it, and its body.

use std::time::Duration;

use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use url::Url;

use super::incoming::Incoming;
use crate::error::{Failure, RegistryError, Subject};
use crate::hosts::authority;

/// Longest `Retry-After` believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The URL that answered. May be signed: not for logs and errors.
    pub url: Url,
    /// True when the host that was asked gave the answer itself, false after a redirect to another.
    pub direct: bool,
    pub(super) body: Incoming,
}

impl Reply {
    /// Scheme, host and port of who answered.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.url.scheme(), authority(&self.url))
    }

    /// The header `name`; nothing when it is absent or not readable.
    pub(crate) fn text(&self, name: HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Length of the body, if the server told it.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.headers.get(RETRY_AFTER).and_then(seconds)
    }

    /// All of the body, of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// When it is longer, breaks off, or stalls.
    pub(crate) async fn whole(self, limit: u64, subject: &Subject) -> Result<Vec<u8>, RegistryError> {
        let too_long = || subject.error(Failure::TooLong(limit));
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(too_long());
        }
        let mut chunks = self.into_body();
        let mut bytes = Vec::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|failure| subject.error(failure))?;
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(too_long());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    pub(crate) fn into_body(self) -> Incoming {
        self.body
    }

    /// The same with what came of its body within `time`, at most `most` bytes, in memory: its place is free.
    pub(crate) async fn settle(self, most: usize, time: Duration) -> Self {
        Self { body: self.body.settle(most, time).await, ..self }
    }

    pub(crate) fn body_mut(&mut self) -> &mut Incoming {
        &mut self.body
    }
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_bounded() {
        let value = |text| seconds(&HeaderValue::from_static(text));
        assert_eq!(value("3"), Some(Duration::from_secs(3)));
        assert_eq!(value("86400"), Some(MAX_RETRY_AFTER));
        assert_eq!(value("Fri, 31 Dec 1999 23:59:59 GMT"), None);
    }
}

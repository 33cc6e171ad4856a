//! One authenticated request for something in a repository.

use std::time::Duration;

use futures_util::StreamExt;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, RANGE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Response;
use serde::Deserialize;
use url::Url;

use super::Inner;
use crate::error::{Failure, RegistryError, Subject};
use crate::hosts::Endpoint;
use crate::transport::{Answer, Ask};

/// Bytes read of an error's body.
const MAX_DETAIL: usize = 4096;
/// Time given to an error's body.
const DETAIL_TIME: Duration = Duration::from_secs(2);
/// Longest `Retry-After` believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// A repository at an endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub endpoint: Endpoint,
    pub repository: String,
}

impl Target {
    /// `/v2/REPOSITORY/KIND/NAME` (distribution spec, "Endpoints").
    fn url(&self, kind: &str, name: &str, subject: &Subject) -> Result<Url, RegistryError> {
        let mut url = self.endpoint.base.clone();
        {
            let mut segments =
                url.path_segments_mut().map_err(|()| subject.request("the host has no paths"))?;
            segments.clear().push("v2").extend(self.repository.split('/')).push(kind).push(name);
        }
        Ok(url)
    }
}

impl Inner {
    /// GETs `kind`/`name` of a repository; a success (200 or 206) without content encoding, or an error.
    /// Authenticates once if the registry asks for it.
    pub(crate) async fn get(
        &self,
        target: &Target,
        (kind, name): (&str, &str),
        mut headers: HeaderMap,
        subject: &Subject,
    ) -> Result<Response, RegistryError> {
        let Target { endpoint, repository } = target;
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let url = target.url(kind, name, subject)?;
        let authorization = self.auth.cached(endpoint, repository);
        let mut ask = Ask { url, headers, authorization, form: None };
        let mut answer = self.transport.send(&ask, subject).await?;
        if answer.response.status() == StatusCode::UNAUTHORIZED && answer.direct {
            let refused = ask.authorization.take();
            let offered = answer.response.headers();
            let granted =
                self.auth.answer(&self.transport, endpoint, repository, offered, refused.as_ref()).await?;
            ask.authorization = Some(granted);
            answer = self.transport.send(&ask, subject).await?;
        }
        self.judge(target, &ask, answer, subject).await
    }

    async fn judge(
        &self,
        target: &Target,
        ask: &Ask,
        Answer { response, direct }: Answer,
        subject: &Subject,
    ) -> Result<Response, RegistryError> {
        let status = response.status();
        if matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            return plain(response, subject);
        }
        let ranged = ask.headers.contains_key(RANGE);
        let retry_after = response.headers().get(RETRY_AFTER).and_then(seconds);
        // A 416 may announce the whole blob's length for a body that never comes (docker-registry 2.8).
        let detail = match status {
            StatusCode::RANGE_NOT_SATISFIABLE => String::new(),
            _ => detail(response).await,
        };
        if direct && matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            if let Some(refused) = &ask.authorization {
                self.auth.forget(&target.endpoint, &target.repository, refused);
            }
            let advice = crate::auth::advice(&subject.host);
            return Err(subject.denied(format!("HTTP {status}{detail}; {advice}")));
        }
        Err(subject.error(Failure::Status { status, detail, retry_after, ranged }))
    }
}

/// Refuses a body that is not the blob itself: its lengths and digests would be those of something else.
fn plain(response: Response, subject: &Subject) -> Result<Response, RegistryError> {
    let encoding = response.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes).unwrap_or_default();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity") {
        return Ok(response);
    }
    let encoding = String::from_utf8_lossy(encoding).chars().take(50).collect();
    Err(subject.error(Failure::Encoding(encoding)))
}

fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

/// What the registry says about its error (distribution spec, "Error Codes"), as `: text` or nothing.
async fn detail(response: Response) -> String {
    let mut body = Vec::new();
    let read = async {
        let mut chunks = std::pin::pin!(response.bytes_stream());
        while let Some(Ok(chunk)) = chunks.next().await {
            let room = MAX_DETAIL - body.len();
            body.extend(chunk.iter().take(room));
            if body.len() >= MAX_DETAIL {
                break;
            }
        }
    };
    // Late or broken: the status has to do.
    let _ = tokio::time::timeout(DETAIL_TIME, read).await;
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

    #[test]
    fn retry_after_is_bounded() {
        let value = |text| seconds(&HeaderValue::from_static(text));
        assert_eq!(value("3"), Some(Duration::from_secs(3)));
        assert_eq!(value("86400"), Some(MAX_RETRY_AFTER));
        assert_eq!(value("Fri, 31 Dec 1999 23:59:59 GMT"), None);
    }
}

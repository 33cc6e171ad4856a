//! Bearer tokens (distribution spec, "Token Authentication"; OAuth2 for identity tokens).

use std::time::Duration;

use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::keychain::{Credentials, Found};
use super::{Challenge, Scope, advice, basic};
use crate::client::Tries;
use crate::error::{Failure, RegistryError, Subject};
use crate::hosts::{Endpoint, same_origin};
use crate::transport::{Ask, Reply, Transport, Upload};

/// Longest answer of a token server, in bytes.
const MAX_ANSWER: usize = 256 << 10;
/// Validity when the server does not tell (distribution spec).
const DEFAULT_VALIDITY: u64 = 60;
/// Longest validity believed, in seconds.
const MAX_VALIDITY: u64 = 24 * 3600;

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<SecretString>,
    #[serde(default)]
    access_token: Option<SecretString>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// A token and how long it may be used.
#[derive(Debug)]
pub(crate) struct Token {
    pub secret: SecretString,
    pub validity: Duration,
}

/// Asks the token server that `challenge` names for a token for `scope`; again when it fails for the moment.
pub(crate) async fn request(
    transport: &Transport,
    endpoint: &Endpoint,
    scope: &Scope,
    challenge: &Challenge,
    found: &Found,
) -> Result<Token, RegistryError> {
    let subject = Subject { host: endpoint.host.clone(), what: "token".to_owned() };
    let ask = ask(endpoint, scope, challenge, found.credentials.as_ref(), &subject)?;
    // The token server is another host unless its origin is the same: what the registry's file says of headers
    // and client certificates is not for it.
    let server = if same_origin(&ask.url, &endpoint.base) { endpoint.clone() } else { endpoint.for_others() };
    let mut tries = Tries::default();
    loop {
        match once(transport, &ask, &server, found, &subject).await {
            Err(error) if tries.another(&error).await => {}
            done => return done,
        }
    }
}

async fn once(
    transport: &Transport,
    ask: &Ask,
    server: &Endpoint,
    found: &Found,
    subject: &Subject,
) -> Result<Token, RegistryError> {
    let reply = transport.send(ask, server, subject).await?;
    match reply.status {
        StatusCode::OK => {}
        status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            let have = if found.credentials.is_some() {
                "its token server refused the credentials"
            } else {
                "its token server gives no anonymous token"
            };
            return Err(subject.denied(format!("{have} (HTTP {status}); {}", advice(server, found))));
        }
        status => {
            let (detail, retry_after) = (String::new(), crate::client::retry_after(&reply.headers));
            let failure = Failure::Status { status, detail, retry_after, ranged: false, direct: true };
            return Err(subject.error(failure));
        }
    }
    let body = bounded(reply, subject).await?;
    // The parser's text could quote the token.
    let answer: TokenAnswer = serde_json::from_slice(&body)
        .map_err(|_| subject.request("the token server's answer is not understood"))?;
    let secret = answer.token.or(answer.access_token).filter(|token| !token.expose_secret().is_empty());
    let secret = secret.ok_or_else(|| subject.request("the token server's answer has no token"))?;
    Ok(Token { secret, validity: validity(answer.expires_in) })
}

/// A little less than promised: clocks differ, and a request takes time.
fn validity(expires_in: Option<u64>) -> Duration {
    let seconds = expires_in.filter(|s| *s > 0).unwrap_or(DEFAULT_VALIDITY).min(MAX_VALIDITY);
    Duration::from_secs(seconds - seconds / 10)
}

fn ask(
    endpoint: &Endpoint,
    scope: &Scope,
    challenge: &Challenge,
    credentials: Option<&Credentials>,
    subject: &Subject,
) -> Result<Ask, RegistryError> {
    let realm = challenge.get("realm").and_then(|realm| Url::parse(realm).ok());
    let mut url =
        realm.ok_or_else(|| subject.request("the registry's challenge has no realm that is a URL"))?;
    let safe = url.scheme() == "https" || (url.scheme() == "http" && endpoint.base.scheme() == "http");
    if !safe || !url.username().is_empty() || url.password().is_some() {
        return Err(subject.denied("its token server is not behind HTTPS"));
    }
    let service = challenge.get("service").unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(Credentials::Identity(token)) = credentials {
        let form = [
            ("grant_type", "refresh_token".to_owned()),
            ("client_id", "chunked-snapshotter".to_owned()),
            ("service", service.to_owned()),
            ("scope", scope.texts().join(" ")),
            ("refresh_token", token.expose_secret().to_owned()),
        ];
        let body = Upload::Form(form.into());
        return Ok(Ask { method: Method::POST, body, ..Ask::get(url, headers) });
    }
    {
        let mut query = url.query_pairs_mut();
        if !service.is_empty() {
            query.append_pair("service", service);
        }
        for text in scope.texts() {
            query.append_pair("scope", text);
        }
    }
    let authorization = match credentials {
        Some(Credentials::Password { user, password }) => Some(basic(user, password, subject)?),
        _ => None,
    };
    Ok(Ask { authorization, ..Ask::get(url, headers) })
}

async fn bounded(reply: Reply, subject: &Subject) -> Result<Vec<u8>, RegistryError> {
    let mut body = Vec::new();
    let mut chunks = reply.into_body();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|failure| subject.error(failure))?;
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(subject.request("the token server's answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validity_is_bounded_and_shortened() {
        for (given, seconds) in
            [(None, 54), (Some(0), 54), (Some(300), 270), (Some(u64::MAX), 77_760), (Some(5), 5)]
        {
            assert_eq!(validity(given), Duration::from_secs(seconds), "{given:?}");
        }
    }
}

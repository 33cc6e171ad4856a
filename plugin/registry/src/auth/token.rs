//! Bearer tokens (distribution spec, "Token Authentication"; OAuth2 for identity tokens).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::answer::TokenAnswer;
use super::credentials::Credentials;
use super::keychain::Found;
use super::{Challenge, Scope, basic, denied};
use crate::error::{Failure, RegistryError, Subject, TOKEN};
use crate::hosts::{Endpoint, authority, same_origin};
use crate::retry::{Patience, Retry};
use crate::transport::{Ask, Transport, Upload};

/// Longest answer of a token server, in bytes.
const MAX_ANSWER: u64 = 1 << 20;

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
    let registry = Subject { host: endpoint.host.clone(), what: scope.repository().to_owned() };
    let realm = realm(challenge, &registry)?;
    let subject = Subject { what: format!("{TOKEN}{}", authority(&realm)), ..registry };
    // Not from HTTPS to plain HTTP: there we are nobody, which is enough for what everybody may read.
    let plain = realm.scheme() == "http" && endpoint.base.scheme() == "https";
    let credentials = found.credentials.as_ref().filter(|_| !plain);
    let withheld = plain && found.credentials.is_some();
    let ask = ask(realm, scope, challenge, credentials, &subject)?;
    // The token server is another host unless its origin is the same: what the registry's file says of headers
    // and client certificates is not for it.
    let server = if same_origin(&ask.url, &endpoint.base) { endpoint.clone() } else { endpoint.for_others() };
    let mut patience = Patience::new(Retry::DOCUMENTS);
    loop {
        match once(transport, &ask, &server, (found, withheld), &subject).await {
            Err(error) if patience.forgives(&error, transport.traffic()).await => {}
            done => return done,
        }
    }
}

async fn once(
    transport: &Transport,
    ask: &Ask,
    server: &Endpoint,
    (found, withheld): (&Found, bool),
    subject: &Subject,
) -> Result<Token, RegistryError> {
    let reply = transport.send(ask, server, subject).await?;
    match reply.status {
        status if status.is_success() => {}
        status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
            let have = match (&found.credentials, withheld) {
                (_, true) => {
                    "its token server is not behind HTTPS, so it got no credentials, and gives no anonymous token"
                }
                (Some(_), false) => "its token server refused the credentials",
                (None, false) => "its token server gives no anonymous token",
            };
            return Err(denied(subject, format!("{have} (HTTP {status})"), found));
        }
        status => {
            let (detail, retry_after) = (String::new(), reply.retry_after());
            let failure = Failure::Status { status, detail, retry_after, ranged: false, direct: true };
            return Err(subject.error(failure));
        }
    }
    let body = reply.whole(MAX_ANSWER, subject).await?;
    let answer = TokenAnswer::parse(&body);
    let answer = answer.ok_or_else(|| subject.request("the token server's answer is not understood"))?;
    let secret = answer.token().ok_or_else(|| subject.request("the token server's answer has no token"))?;
    Ok(Token { secret: secret.clone(), validity: answer.validity() })
}

/// Where the challenge sends us.
fn realm(challenge: &Challenge, subject: &Subject) -> Result<Url, RegistryError> {
    let realm = challenge.get("realm").and_then(|realm| Url::parse(realm).ok());
    let url = realm.filter(Url::has_host);
    let url = url.ok_or_else(|| subject.request("its challenge has no realm that is a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(subject.request("its challenge has a realm that is not the URL of a token server"));
    }
    Ok(url)
}

fn ask(
    mut url: Url,
    scope: &Scope,
    challenge: &Challenge,
    credentials: Option<&Credentials>,
    subject: &Subject,
) -> Result<Ask, RegistryError> {
    let service = challenge.get("service").unwrap_or_default();
    let scopes = scope.answering(challenge.get("scope"));
    let mut headers = HeaderMap::new();
    headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(Credentials::Identity(token)) = credentials {
        let form = [
            ("grant_type", "refresh_token".to_owned()),
            ("client_id", "chunked-snapshotter".to_owned()),
            ("service", service.to_owned()),
            ("scope", scopes.join(" ")),
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
        for text in &scopes {
            query.append_pair("scope", text);
        }
    }
    let authorization = match credentials {
        Some(Credentials::Password { user, password }) => Some(basic(user, password, subject)?),
        _ => None,
    };
    Ok(Ask { authorization, ..Ask::get(url, headers) })
}

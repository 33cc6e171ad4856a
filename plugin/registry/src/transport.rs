//! One request and its redirects over pooled HTTP/1.1 connections.
//!
//! HTTP/1.1 only: one HTTP/2 connection is one TCP window and one lock for all ranges of a layer.

use std::sync::OnceLock;
use std::time::Duration;

use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use url::Url;

use crate::client::ClientOptions;
use crate::error::{Failure, RegistryError, Subject, causes};
use crate::hosts::{is_loopback, same_origin};

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 5;

/// HTTP clients for the three ways out.
#[derive(Debug)]
pub(crate) struct Transport {
    /// To this machine: never through a proxy.
    loopback: reqwest::Client,
    /// Plain HTTP to hosts the administrator named.
    plain: reqwest::Client,
    /// HTTPS. Made when first needed: without CA certificates it cannot be, and plain HTTP needs none.
    tls: OnceLock<Result<reqwest::Client, String>>,
    options: ClientOptions,
}

/// The HTTP client cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client: {0}")]
pub struct ClientError(String);

/// One request. GET unless it has a form.
#[derive(Debug)]
pub(crate) struct Ask {
    pub url: Url,
    pub headers: HeaderMap,
    /// Sent only to the origin of `url`.
    pub authorization: Option<HeaderValue>,
    /// Body of a POST.
    pub form: Option<Vec<(&'static str, String)>>,
}

/// The answer to a request, and whether the host that was asked gave it itself.
#[derive(Debug)]
pub(crate) struct Answer {
    pub response: Response,
    pub direct: bool,
}

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let tls = |error: reqwest::Error| ClientError(causes(&error));
        let none = || std::iter::empty::<reqwest::Certificate>();
        Ok(Self {
            loopback: builder(&options).no_proxy().tls_certs_only(none()).build().map_err(tls)?,
            plain: builder(&options).tls_certs_only(none()).build().map_err(tls)?,
            tls: OnceLock::new(),
            options,
        })
    }

    /// Longest silence tolerated from a server.
    pub(crate) fn stall(&self) -> Duration {
        self.options.read_timeout
    }

    fn client(&self, url: &Url, subject: &Subject) -> Result<&reqwest::Client, RegistryError> {
        if url.scheme() == "http" {
            return Ok(if is_loopback(url) { &self.loopback } else { &self.plain });
        }
        let made = self
            .tls
            .get_or_init(|| builder(&self.options).https_only(true).build().map_err(|error| causes(&error)));
        made.as_ref().map_err(|reason| subject.error(Failure::Tls(reason.clone())))
    }

    /// Sends and follows redirects, until there is an answer of another kind.
    pub(crate) async fn send(&self, ask: &Ask, subject: &Subject) -> Result<Answer, RegistryError> {
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.once(ask, &url, subject).await?;
            match redirect(&url, &response).map_err(|failure| subject.error(failure))? {
                Some(next) => url = next,
                None => return Ok(Answer { response, direct: same_origin(&url, &ask.url) }),
            }
        }
        Err(subject.error(Failure::Redirect("too many redirects")))
    }

    async fn once(&self, ask: &Ask, url: &Url, subject: &Subject) -> Result<Response, RegistryError> {
        let client = self.client(url, subject)?;
        let own = same_origin(url, &ask.url);
        let mut request = match &ask.form {
            // A form holds credentials; it is not sent on.
            Some(form) if own => client.request(Method::POST, url.clone()).form(form),
            _ => client.request(Method::GET, url.clone()),
        };
        request = request.headers(ask.headers.clone());
        if let Some(value) = ask.authorization.as_ref().filter(|_| own) {
            request = request.header(AUTHORIZATION, value.clone());
        }
        match tokio::time::timeout(self.stall(), request.send()).await {
            Ok(answer) => answer.map_err(|error| subject.transport(error)),
            Err(_) => Err(subject.error(Failure::Stalled(self.stall()))),
        }
    }
}

fn builder(options: &ClientOptions) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(options.user_agent.clone())
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(options.connect_timeout)
        .pool_max_idle_per_host(options.connections_per_host)
        .tcp_nodelay(true)
}

/// Where a redirect leads; `None` when the answer is none.
fn redirect(from: &Url, response: &Response) -> Result<Option<Url>, Failure> {
    if !matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    ) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or(Failure::Redirect("it has no readable location"))?;
    let mut next = from.join(location).map_err(|_| Failure::Redirect("its location is not a URL"))?;
    match next.scheme() {
        "https" => {}
        "http" if from.scheme() == "http" => {}
        "http" => return Err(Failure::Redirect("it leads from HTTPS to plain HTTP")),
        _ => return Err(Failure::Redirect("it leads to something that is not HTTP")),
    }
    // Credentials in a location would be sent as Basic; nobody needs them. These fail only on URLs without
    // host, and http URLs have one.
    let stripped = next.set_username("").is_ok() && next.set_password(None).is_ok();
    if stripped { Ok(Some(next)) } else { Err(Failure::Redirect("its location has no host")) }
}

//! One request and its redirects over pooled connections, inside the limits.
//!
//! HTTP/1.1 unless told otherwise: docs/registries.md has the measurement behind that.

mod answered;
mod ask;
mod broken;
mod clients;
mod incoming;
mod limits;
mod reply;
mod shortcut;
mod throttle;
mod traffic;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::Response;
use url::Url;

use self::answered::Answered;
pub(crate) use self::ask::{Ask, Upload};
use self::clients::Clients;
use self::incoming::Pace;
pub(crate) use self::incoming::{Incoming, Witness};
use self::limits::{Limits, Permits, Stuck};
pub(crate) use self::reply::Reply;
pub(crate) use self::shortcut::Shortcut;
use self::throttle::Throttle;
pub(crate) use self::traffic::Traffic;
pub use self::traffic::{Answer, TrafficCounts};
use crate::error::{Failure, RegistryError, Subject};
use crate::hosts::{Endpoint, Tls, authority, same_origin};
use crate::options::ClientOptions;

/// Redirects followed for one request, as many as Go's client follows.
const MAX_REDIRECTS: usize = 10;
/// How many times longer than for an answer a request waits for its turn while nothing moves: whoever is in its way
/// ends by the same clock, unless it is read by somebody who waits for us.
const PATIENCE: u32 = 2;

/// Sends requests.
#[derive(Debug)]
pub(crate) struct Transport {
    clients: Clients,
    limits: Limits,
    answered: Arc<Answered>,
    throttle: Arc<Throttle>,
    traffic: Arc<Traffic>,
    /// Longest silence tolerated from a server.
    stall: Duration,
    pace: Pace,
    /// Redirects may lead from HTTPS to plain HTTP where digests prove what comes.
    plain_redirects: bool,
}

/// The HTTP client cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the HTTP client: {0}")]
pub struct ClientError(String);

impl Transport {
    pub(crate) fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let limits = Limits::new(options.connections_per_host, options.connections, options.bytes_in_flight);
        let (throttle, stall) = (Arc::new(Throttle::new(options.bandwidth)), options.read_timeout);
        let pace = Pace::new(stall, options.minimum_rate);
        let plain_redirects = options.plain_http_redirects;
        let clients = Clients::new(options);
        // Whatever is wrong with the process shows here and not in the first pull.
        let local = Url::parse("http://localhost/").map_err(|error| ClientError(error.to_string()))?;
        clients.get(&local, &Tls::default(), None).map_err(ClientError)?;
        let (answered, traffic) = (Arc::default(), Arc::default());
        Ok(Self { clients, limits, answered, throttle, traffic, stall, pace, plain_redirects })
    }

    /// One with connections of its own, inside the same limits.
    pub(crate) fn apart(&self) -> Self {
        Self {
            clients: self.clients.apart(),
            limits: self.limits.clone(),
            answered: Arc::clone(&self.answered),
            throttle: Arc::clone(&self.throttle),
            traffic: Arc::clone(&self.traffic),
            ..*self
        }
    }

    /// Sends to `endpoint`, as its configuration says, and follows redirects until there is an answer of another
    /// kind. The endpoint's own headers and client certificate, credentials and forms go to no other origin.
    ///
    /// # Errors
    ///
    /// When there is no answer, or a redirect leads where we do not go.
    pub(crate) async fn send(
        &self,
        ask: &Ask,
        endpoint: &Endpoint,
        subject: &Subject,
    ) -> Result<Reply, RegistryError> {
        if let Some(shortcut) = &ask.shortcut
            && let Some(url) = shortcut.of(&ask.url)
        {
            match self.once(ask, &url, endpoint, subject).await {
                Ok((response, permits)) if response.status().is_success() => {
                    return Ok(self.reply(ask, response, permits));
                }
                // Its signature has expired, or its host is unwell: the registry knows what to do.
                _ => shortcut.forget(),
            }
        }
        let mut url = ask.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let (response, permits) = self.once(ask, &url, endpoint, subject).await?;
            let to_plain = self.plain_redirects && ask.digest_proves;
            match redirect(ask, &url, &response, to_plain).map_err(|failure| subject.error(failure))? {
                Some(next) => url = next,
                None => {
                    if let Some(shortcut) = &ask.shortcut
                        && response.status().is_success()
                        && url != ask.url
                    {
                        shortcut.note(&ask.url, url);
                    }
                    return Ok(self.reply(ask, response, permits));
                }
            }
        }
        Err(subject.error(Failure::Redirect("too many redirects")))
    }

    async fn once(
        &self,
        ask: &Ask,
        url: &Url,
        endpoint: &Endpoint,
        subject: &Subject,
    ) -> Result<(Response, Permits), RegistryError> {
        let own = same_origin(url, &ask.url);
        let tls = if own { endpoint.tls.clone() } else { endpoint.tls.for_others() };
        let dial = endpoint.dial_timeout.filter(|_| own);
        let client = self.clients.get(url, &tls, dial);
        let client = client.map_err(|reason| subject.error(Failure::Tls(reason)))?;
        let mut request = client.request(ask.method.clone(), url.clone()).headers(ask.headers.clone());
        if own {
            let mut headers = endpoint.headers.clone();
            // What the request itself says counts more.
            ask.headers.keys().for_each(|name| drop(headers.remove(name)));
            if let Some(value) = &ask.authorization {
                headers.insert(AUTHORIZATION, value.clone());
            }
            request = request.headers(headers);
        }
        let mut progress = None;
        request = match &ask.body {
            Upload::Empty => request,
            Upload::Form(form) if own => request.form(&**form),
            Upload::Form(_) => return Err(subject.error(Failure::Redirect("credentials do not follow it"))),
            Upload::Bytes(bytes) => request.body(bytes.clone()),
            Upload::Stream { len, open, progress: counter } => {
                progress = Some(counter);
                request.header(CONTENT_LENGTH, *len).body(open())
            }
        };
        let host = authority(url);
        let entered =
            self.limits.enter(endpoint.registry(), &host, asked_for(&ask.headers), self.stall * PATIENCE);
        let permits = entered.await.map_err(|Stuck(time)| self.failed(Failure::Busy(time), subject))?;
        let mut sent = std::pin::pin!(request.send());
        let mut before = progress.map(|counter| counter.load(Ordering::Relaxed));
        loop {
            match tokio::time::timeout(self.stall, sent.as_mut()).await {
                Ok(Ok(answer)) => {
                    self.answered.note(&host);
                    self.traffic.answered(answer.status());
                    return Ok((answer, permits));
                }
                Ok(Err(error)) => {
                    let failure = broken::failure(error, self.answered.lately(&host));
                    return Err(self.failed(failure, subject));
                }
                Err(_) => {
                    let now = progress.map(|counter| counter.load(Ordering::Relaxed));
                    if now == before {
                        return Err(self.failed(Failure::Stalled(self.stall), subject));
                    }
                    before = now;
                }
            }
        }
    }

    /// The error of a request that brought no answer.
    fn failed(&self, failure: Failure, subject: &Subject) -> RegistryError {
        self.traffic.failed(&failure);
        subject.error(failure)
    }

    /// The counters of all requests.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What they say now.
    pub(crate) fn counts(&self) -> TrafficCounts {
        self.traffic.counts(self.limits.lengths())
    }

    fn reply(&self, ask: &Ask, response: Response, permits: Permits) -> Reply {
        let url = response.url().clone();
        let direct = same_origin(&url, &ask.url);
        let (status, headers) = (response.status(), response.headers().clone());
        let body = Incoming::new(
            response,
            permits,
            (Arc::clone(&self.throttle), Arc::clone(&self.traffic)),
            self.pace,
        );
        Reply { status, headers, url, direct, body }
    }
}

/// Bytes of all ranges of a `Range` header; 0 without one, since a whole body is read as fast as it is used.
fn asked_for(headers: &HeaderMap) -> u64 {
    let ranges = headers.get(RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes="));
    let length = |range: &str| {
        let (first, last) = range.trim().split_once('-')?;
        last.parse::<u64>().ok()?.checked_sub(first.parse().ok()?)?.checked_add(1)
    };
    let lengths = ranges.into_iter().flat_map(|ranges| ranges.split(',')).filter_map(length);
    lengths.fold(0, u64::saturating_add)
}

/// Where a redirect leads; `None` when the answer is none. Requests that change something follow only those that
/// keep their method (RFC 9110, sections 15.4.8 and 15.4.9).
fn redirect(ask: &Ask, from: &Url, response: &Response, to_plain: bool) -> Result<Option<Url>, Failure> {
    let method = &ask.method;
    let keeps = matches!(response.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let changes = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER
    );
    if !keeps && !(changes && (*method == Method::GET || *method == Method::HEAD)) {
        return Ok(None);
    }
    let location = response.headers().get(LOCATION).and_then(readable);
    let location = location.ok_or(Failure::Redirect("it has no readable location"))?;
    let mut next = from.join(&location).map_err(|_| Failure::Redirect("its location is not a URL"))?;
    match next.scheme() {
        "https" => {}
        "http" if from.scheme() == "http" || to_plain => {}
        "http" => return Err(Failure::Redirect("it leads from HTTPS to plain HTTP")),
        _ => return Err(Failure::Redirect("it leads to something that is not HTTP")),
    }
    // Credentials in a location would be sent as Basic; nobody needs them. These fail only on URLs without
    // host, and http URLs have one.
    let stripped = next.set_username("").is_ok() && next.set_password(None).is_ok();
    if stripped { Ok(Some(next)) } else { Err(Failure::Redirect("its location has no host")) }
}

/// A header's text as Go reads it: bytes beyond ASCII, which have no place in a URL, are escaped.
fn readable(value: &HeaderValue) -> Option<String> {
    let mut text = String::with_capacity(value.len());
    for byte in value.as_bytes() {
        match byte {
            0x20..=0x7e => text.push(char::from(*byte)),
            0x80.. => text.push_str(&format!("%{byte:02X}")),
            _ => return None,
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_read_as_go_reads_them() {
        let base = Url::parse("https://r.example/v2/a/blobs/x").unwrap();
        for (location, url) in [
            (&b"/x"[..], Some("https://r.example/x")),
            (b"//cdn.example/x#part", Some("https://cdn.example/x#part")),
            (b"?a=b", Some("https://r.example/v2/a/blobs/x?a=b")),
            (b"/a b", Some("https://r.example/a%20b")),
            ("/m\u{fc}ller?q=\u{fc}".as_bytes(), Some("https://r.example/m%C3%BCller?q=%C3%BC")),
            (b"/m\xfcller", Some("https://r.example/m%FCller")),
            (b"/a%2Fb", Some("https://r.example/a%2Fb")),
        ] {
            let value = HeaderValue::from_bytes(location).unwrap();
            let found = readable(&value).map(|text| base.join(&text).unwrap().to_string());
            assert_eq!(found.as_deref(), url, "{location:?}");
        }
        assert_eq!(readable(&HeaderValue::from_bytes(b"/a\tb").unwrap()), None);
    }

    #[test]
    fn bytes_of_ranges() {
        for (range, bytes) in [
            ("bytes=0-0", 1),
            ("bytes=10-19, 30-39", 20),
            ("bytes=5-", 0),
            ("bytes=9-5", 0),
            ("items=0-5", 0),
            ("bytes=0-18446744073709551615", 0),
            ("bytes=0-18446744073709551614, 0-9", u64::MAX),
        ] {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(range))]);
            assert_eq!(asked_for(&headers), bytes, "{range}");
        }
        assert_eq!(asked_for(&HeaderMap::new()), 0);
    }
}

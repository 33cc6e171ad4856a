//! A registry inside the test's process, with switches for what real ones get wrong. Also used by the tests of
//! the fetch stage.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "part of tests; clippy knows only functions marked as such")]

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use bytes::Bytes;
use chunked_core::{ByteRange, ObjectDigest};
use chunked_registry::{Client, ClientOptions, Reference};
use tokio::task::JoinHandle;

/// Bytes handed to the connection at a time.
const CHUNK: usize = 64 * 1024;

/// How one request for a blob is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quirk {
    /// As it should be.
    None,
    /// 200 with everything, whatever the range.
    IgnoreRange,
    /// The range one byte further.
    WrongRange,
    /// The right range of a longer blob.
    WrongTotal,
    /// The right bytes without `Content-Range`.
    NoContentRange,
    /// A body that breaks off after so many bytes.
    BreakAfter(u64),
    /// A body that goes silent after so many bytes.
    StallAfter(u64),
    /// A chunked body with so many bytes more (or, when negative, less) than wanted.
    OffBy(i64),
    /// An error.
    Status(u16),
    /// A redirect.
    Redirect(String),
    /// Claims to be compressed.
    Encoded,
}

/// Who may read.
#[derive(Debug, Clone)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever sends this `user:password`.
    Basic(&'static str),
    /// Whoever has a token, which the token endpoint gives to this `user:password` or refresh token, or to
    /// everybody.
    Bearer(Option<&'static str>),
    /// Nobody, whatever they send.
    Never,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub path: String,
    pub query: String,
    pub range: Option<ByteRange>,
    pub authorization: Option<String>,
    pub headers: HeaderMap,
    pub status: u16,
    /// Address of the client's end of the connection.
    pub peer: SocketAddr,
}

type Script = Box<dyn FnMut(usize, Option<ByteRange>) -> Quirk + Send>;

struct Inner {
    address: SocketAddr,
    access: Mutex<Access>,
    documents: Mutex<HashMap<String, (String, Bytes)>>,
    blobs: Mutex<HashMap<String, Bytes>>,
    script: Mutex<Script>,
    blob_requests: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    /// Bytes of blobs handed to connections.
    served: Mutex<Vec<ByteRange>>,
    open_bodies: AtomicUsize,
    tokens: Mutex<BTreeSet<String>>,
    token_seconds: AtomicUsize,
    /// Status for a token that is not valid any more.
    refusal: AtomicUsize,
}

/// A running registry; ends when dropped.
pub struct Registry {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Registry {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            access: Mutex::new(Access::Open),
            documents: Mutex::default(),
            blobs: Mutex::default(),
            script: Mutex::new(Box::new(|_, _| Quirk::None)),
            blob_requests: AtomicUsize::new(0),
            seen: Mutex::default(),
            served: Mutex::default(),
            open_bodies: AtomicUsize::new(0),
            tokens: Mutex::default(),
            token_seconds: AtomicUsize::new(300),
            refusal: AtomicUsize::new(401),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        Self { inner, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.inner.address).parse().unwrap()
    }

    pub fn access(&self, access: Access) {
        *self.inner.access.lock().unwrap() = access;
    }

    /// Every token given so far is refused from now on.
    pub fn revoke(&self) {
        self.inner.tokens.lock().unwrap().clear();
    }

    /// Tokens given from now on say that they are valid for so long.
    pub fn tokens_last(&self, seconds: usize) {
        self.inner.token_seconds.store(seconds, Ordering::SeqCst);
    }

    /// Whoever comes with an old token gets this status, after a while.
    pub fn refuse_with(&self, status: usize) {
        self.inner.refusal.store(status, Ordering::SeqCst);
    }

    pub fn document(&self, name: &str, media_type: &str, bytes: impl Into<Bytes>) {
        self.inner.documents.lock().unwrap().insert(name.to_owned(), (media_type.to_owned(), bytes.into()));
    }

    pub fn blob(&self, bytes: impl Into<Bytes>) -> ObjectDigest {
        let bytes = bytes.into();
        let digest = ObjectDigest::of(&bytes);
        self.inner.blobs.lock().unwrap().insert(digest.to_string(), bytes);
        digest
    }

    /// Stores `bytes` under another's digest.
    pub fn forge(&self, digest: ObjectDigest, bytes: impl Into<Bytes>) {
        self.inner.blobs.lock().unwrap().insert(digest.to_string(), bytes.into());
    }

    /// Asks `script` how to answer the n-th request for a blob.
    pub fn script(&self, script: impl FnMut(usize, Option<ByteRange>) -> Quirk + Send + 'static) {
        *self.inner.script.lock().unwrap() = Box::new(script);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    pub fn blob_requests(&self) -> usize {
        self.inner.blob_requests.load(Ordering::SeqCst)
    }

    /// Bytes of blobs served, in the order of their offsets.
    pub fn served(&self) -> Vec<ByteRange> {
        let mut served = self.inner.served.lock().unwrap().clone();
        served.sort();
        served
    }

    /// Connections on which requests came.
    pub fn connections(&self) -> usize {
        self.seen().iter().map(|seen| seen.peer).collect::<BTreeSet<_>>().len()
    }

    /// Bodies that are neither complete nor given up.
    pub fn open_bodies(&self) -> usize {
        self.inner.open_bodies.load(Ordering::SeqCst)
    }
}

/// Options for tests: no credentials of the machine's, short time-outs.
pub fn options() -> ClientOptions {
    ClientOptions {
        docker_config: Some("/nonexistent".into()),
        read_timeout: Duration::from_secs(1),
        ..ClientOptions::default()
    }
}

pub fn client() -> Client {
    Client::new(options()).unwrap()
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let peer = *request.extensions().get::<ConnectInfo<SocketAddr>>().unwrap();
    let headers = request.headers().clone();
    let text = |name| headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let mut seen = Seen {
        path: path.clone(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        range: text(header::RANGE).map(|range| parse_range(&range)),
        authorization: text(header::AUTHORIZATION),
        headers: headers.clone(),
        status: 0,
        peer: peer.0,
    };
    let response = if path == "/token" {
        let form = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        inner.token(&seen, &String::from_utf8_lossy(&form))
    } else if inner.admits(&seen) {
        inner.get(&path, seen.range)
    } else {
        match inner.refusal.load(Ordering::SeqCst) {
            403 if seen.authorization.is_some() => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Response::builder().status(403).body(Body::from("token expired")).unwrap()
            }
            _ => inner.challenge(),
        }
    };
    seen.status = response.status().as_u16();
    inner.seen.lock().unwrap().push(seen);
    response
}

fn parse_range(text: &str) -> ByteRange {
    let (first, last) = text.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    ByteRange { start: first.parse().unwrap(), end: last.parse::<u64>().unwrap() + 1 }
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Body::empty()).unwrap()
}

fn base64(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

impl Inner {
    fn admits(&self, seen: &Seen) -> bool {
        let sent = seen.authorization.as_deref().unwrap_or_default();
        match *self.access.lock().unwrap() {
            Access::Open => true,
            Access::Basic(pair) => sent == format!("Basic {}", base64(pair)),
            Access::Bearer(_) => {
                sent.strip_prefix("Bearer ").is_some_and(|token| self.tokens.lock().unwrap().contains(token))
            }
            Access::Never => false,
        }
    }

    fn challenge(&self) -> Response<Body> {
        let challenge = match *self.access.lock().unwrap() {
            Access::Basic(_) => "Basic realm=\"test\"".to_owned(),
            _ => format!("Bearer realm=\"http://{}/token\",service=\"test registry\"", self.address),
        };
        let builder = Response::builder().status(StatusCode::UNAUTHORIZED);
        builder.header(header::WWW_AUTHENTICATE, challenge).body(Body::empty()).unwrap()
    }

    fn token(&self, seen: &Seen, form: &str) -> Response<Body> {
        let wanted = match *self.access.lock().unwrap() {
            Access::Bearer(wanted) => wanted,
            _ => None,
        };
        let admitted = wanted.is_none_or(|wanted| {
            seen.authorization.as_deref() == Some(&format!("Basic {}", base64(wanted)))
                || form.contains(&format!("refresh_token={wanted}"))
        });
        if !admitted {
            return status(401);
        }
        let mut tokens = self.tokens.lock().unwrap();
        let count = self.seen.lock().unwrap().len();
        let token = format!("token-{count}");
        tokens.insert(token.clone());
        let seconds = self.token_seconds.load(Ordering::SeqCst);
        Response::new(Body::from(format!(r#"{{"token": "{token}", "expires_in": {seconds}}}"#)))
    }

    fn get(self: &Arc<Self>, path: &str, range: Option<ByteRange>) -> Response<Body> {
        let name = path.rsplit('/').next().unwrap();
        if path.contains("/manifests/") {
            let documents = self.documents.lock().unwrap();
            let Some((media_type, bytes)) = documents.get(name) else { return status(404) };
            let builder = Response::builder().header(header::CONTENT_TYPE, media_type);
            return builder.body(Body::from(bytes.clone())).unwrap();
        }
        let Some(blob) = self.blobs.lock().unwrap().get(name).cloned() else {
            let text = r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}"#;
            return Response::builder().status(404).body(Body::from(text)).unwrap();
        };
        let nth = self.blob_requests.fetch_add(1, Ordering::SeqCst);
        let quirk = (self.script.lock().unwrap())(nth, range);
        self.blob_answer(&blob, range, &quirk)
    }

    fn blob_answer(
        self: &Arc<Self>,
        blob: &Bytes,
        range: Option<ByteRange>,
        quirk: &Quirk,
    ) -> Response<Body> {
        let size = blob.len() as u64;
        let all = ByteRange { start: 0, end: size };
        let range = range.filter(|_| *quirk != Quirk::IgnoreRange);
        let mut served = range.unwrap_or(all);
        let mut total = size;
        let mut headers = HeaderMap::new();
        match quirk {
            Quirk::Status(code) => return status(*code),
            Quirk::Redirect(to) => {
                return Response::builder()
                    .status(307)
                    .header(header::LOCATION, to)
                    .body(Body::empty())
                    .unwrap();
            }
            Quirk::WrongRange => served = ByteRange { start: served.start + 1, end: served.end + 1 },
            Quirk::WrongTotal => total += 1,
            Quirk::Encoded => {
                headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
            }
            _ => {}
        }
        if range.is_some() && *quirk != Quirk::NoContentRange {
            let text = format!("bytes {}-{}/{total}", served.start, served.end - 1);
            headers.insert(header::CONTENT_RANGE, text.parse().unwrap());
        }
        if !matches!(quirk, Quirk::OffBy(_)) {
            headers.insert(header::CONTENT_LENGTH, served.len().into());
        }
        let mut response = Response::new(self.body(blob, served, quirk));
        *response.status_mut() = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        *response.headers_mut() = headers;
        response
    }

    fn body(self: &Arc<Self>, blob: &Bytes, range: ByteRange, quirk: &Quirk) -> Body {
        let len = usize::try_from(range.len()).unwrap();
        let (limit, then) = match quirk {
            Quirk::BreakAfter(n) => (usize::try_from(*n).unwrap(), Then::Break),
            Quirk::StallAfter(n) => (usize::try_from(*n).unwrap(), Then::Stall),
            Quirk::OffBy(n) => (len.strict_add_signed(isize::try_from(*n).unwrap()), Then::End),
            _ => (len, Then::End),
        };
        self.open_bodies.fetch_add(1, Ordering::SeqCst);
        let source = BodySource {
            inner: Arc::clone(self),
            blob: blob.clone(),
            position: usize::try_from(range.start).unwrap(),
            left: limit,
            then,
        };
        Body::from_stream(futures_util::stream::unfold(source, |mut source| async move {
            source.next().await.map(|item| (item, source))
        }))
    }
}

#[derive(Clone, Copy)]
enum Then {
    End,
    Break,
    Stall,
}

struct BodySource {
    inner: Arc<Inner>,
    blob: Bytes,
    position: usize,
    left: usize,
    then: Then,
}

impl BodySource {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.left == 0 {
            match self.then {
                Then::End => return None,
                Then::Break => {
                    // What was sent shall arrive before the connection breaks.
                    tokio::time::sleep(Duration::from_millis(30)).await;
                    return Some(Err(io::Error::other("broken")));
                }
                Then::Stall => std::future::pending().await,
            }
        }
        let len = self.left.min(CHUNK);
        let end = (self.position + len).min(self.blob.len());
        let mut bytes = self.blob.slice(self.position.min(end)..end);
        if bytes.len() < len {
            // More than there is.
            bytes = vec![0; len].into();
        }
        let start = self.position as u64;
        self.inner.served.lock().unwrap().push(ByteRange { start, end: start + len as u64 });
        self.position += len;
        self.left -= len;
        Some(Ok(bytes))
    }
}

impl Drop for BodySource {
    fn drop(&mut self) {
        self.inner.open_bodies.fetch_sub(1, Ordering::SeqCst);
    }
}

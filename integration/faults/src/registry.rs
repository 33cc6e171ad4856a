//! The server: a registry, and a second host that it redirects to.

mod body;
mod reply;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use bytes::Bytes;
use chunked_core::ByteRange;
use chunked_registry::Reference;
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use crate::answer::{Answer, Way};
use crate::image::TestImage;
use crate::listener::{Resettable, Switch};

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A token.
    Token,
    /// A manifest.
    Manifest,
    /// An image config, whole.
    Config,
    /// Some ranges of a config.
    Probe,
    /// TOC and tar-split of a layer.
    Toc,
    /// One range of a layer.
    Range,
    /// Several ranges of a layer.
    Ranges,
    /// A layer from its first to its last byte.
    Whole,
    /// Anything, asked of the second host.
    Stored,
}

/// One request for content, and what it cost.
#[derive(Debug, Clone)]
pub struct Call {
    /// What for.
    pub kind: Kind,
    /// Name of the thing: tag, digest.
    pub name: String,
    /// Ranges asked for.
    pub ranges: Vec<ByteRange>,
    /// Status of the answer.
    pub status: u16,
    /// Body bytes handed to the connection.
    pub bytes: u64,
    /// It came with an `Authorization` header.
    pub authorized: bool,
}

/// What was served so far.
#[derive(Debug, Clone, Default)]
pub struct Served(pub Vec<Call>);

impl Served {
    /// Bytes of layers, from whichever host. What a server says about an error does not count.
    pub fn layer_bytes(&self) -> u64 {
        let layers = self.of(&[Kind::Toc, Kind::Range, Kind::Ranges, Kind::Whole, Kind::Stored]);
        layers.filter(|call| call.status < 300).map(|call| call.bytes).sum()
    }

    /// Requests of these kinds.
    pub fn of<'a>(&'a self, kinds: &'a [Kind]) -> impl Iterator<Item = &'a Call> {
        self.0.iter().filter(|call| kinds.contains(&call.kind))
    }
}

pub(crate) struct Inner {
    address: SocketAddr,
    /// Where the second host is.
    storage: SocketAddr,
    documents: Mutex<HashMap<String, Document>>,
    plays: Mutex<HashMap<Kind, Play>>,
    calls: Mutex<Vec<Call>>,
    /// Calls that are forgotten. They stay where they are: bodies of theirs may still be on their way.
    forgotten: AtomicUsize,
    /// Wants a token for everything.
    locked: bool,
    tokens: Mutex<BTreeSet<String>>,
    signatures: Mutex<BTreeSet<u64>>,
    counter: AtomicU64,
}

#[derive(Clone)]
struct Document {
    bytes: Bytes,
    media_type: &'static str,
    /// TOC and tar-split, of a layer.
    metadata: Option<ByteRange>,
}

struct Play {
    answers: VecDeque<Answer>,
    /// After those.
    rest: Answer,
}

/// A running registry and its second host; both end when dropped.
pub struct Registry {
    inner: Arc<Inner>,
    tasks: [JoinHandle<()>; 2],
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Registry {
    /// Starts it, open to everybody.
    pub async fn start() -> Self {
        Self::launch(false).await
    }

    /// Starts it, wanting a token (which everybody gets) for everything.
    pub async fn locked() -> Self {
        Self::launch(true).await
    }

    async fn launch(locked: bool) -> Self {
        let first = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let second = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Arc::new(Inner {
            address: first.local_addr().unwrap(),
            storage: second.local_addr().unwrap(),
            documents: Mutex::default(),
            plays: Mutex::default(),
            calls: Mutex::default(),
            forgotten: AtomicUsize::new(0),
            locked,
            tokens: Mutex::default(),
            signatures: Mutex::default(),
            counter: AtomicU64::new(0),
        });
        let serve = |listener, router: Router| {
            let service = router.into_make_service_with_connect_info::<Switch>();
            tokio::spawn(async move { axum::serve(Resettable(listener), service).await.unwrap() })
        };
        let registry = Router::new().fallback(registry).with_state(Arc::clone(&inner));
        let storage = Router::new().fallback(storage).with_state(Arc::clone(&inner));
        Self { tasks: [serve(first, registry), serve(second, storage)], inner }
    }

    /// `ADDRESS/test/NAME:v1`.
    pub fn reference(&self, name: &str) -> Reference {
        format!("{}/test/{name}:v1", self.inner.address).parse().unwrap()
    }

    /// Serves `image` under `reference(name)`.
    pub fn add(&self, name: &str, image: &TestImage) {
        let mut documents = self.inner.documents.lock();
        let mut put = |name: String, bytes: &Bytes, media_type, metadata| {
            documents.insert(name, Document { bytes: bytes.clone(), media_type, metadata });
        };
        put(format!("test/{name}:v1"), &image.manifest, TestImage::MEDIA_TYPE, None);
        put(image.config_digest().to_string(), &image.config, "application/octet-stream", None);
        for layer in &image.layers {
            let metadata = Some(layer.metadata);
            put(layer.digest.to_string(), &layer.blob, "application/octet-stream", metadata);
        }
    }

    /// Answers the next requests of `kind` like this.
    pub fn play(&self, kind: Kind, answers: &[Answer], way: Way) {
        let rest = match way {
            Way::ThenRight => Answer::Right,
            Way::ForEver => answers.last().cloned().unwrap_or(Answer::Right),
        };
        self.inner.plays.lock().insert(kind, Play { answers: answers.iter().cloned().collect(), rest });
    }

    /// Everything asked and served so far.
    pub fn served(&self) -> Served {
        Served(self.inner.calls.lock()[self.inner.forgotten.load(Ordering::SeqCst)..].to_vec())
    }

    /// Forgets what was asked and served.
    pub fn reset(&self) {
        let calls = self.inner.calls.lock();
        self.inner.forgotten.store(calls.len(), Ordering::SeqCst);
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn ranges(headers: &HeaderMap) -> Vec<ByteRange> {
    let Some(text) = text(headers, header::RANGE) else { return Vec::new() };
    let parse = |range: &str| {
        let (first, last) = range.trim().split_once('-').unwrap();
        ByteRange { start: first.parse().unwrap(), end: last.parse::<u64>().unwrap() + 1 }
    };
    text.strip_prefix("bytes=").unwrap().split(',').map(parse).collect()
}

/// The thing a path names, by tag or digest.
fn name(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    match path.strip_prefix("/v2/").and_then(|rest| rest.split_once("/manifests/")) {
        Some((repository, tag)) if !tag.starts_with("sha256:") => format!("{repository}:{tag}"),
        _ => last.to_owned(),
    }
}

async fn registry(
    State(inner): State<Arc<Inner>>,
    switch: ConnectInfo<Switch>,
    request: Request,
) -> Response<Body> {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    if path == "/token" {
        let call = inner.call(Kind::Token, &path, &headers);
        let answer = inner.next(Kind::Token);
        let token = format!("token-{}", inner.counter.fetch_add(1, Ordering::SeqCst));
        inner.tokens.lock().insert(token.clone());
        let document = format!(r#"{{"token": "{token}", "expires_in": 300}}"#);
        let document = Document { bytes: document.into(), media_type: "application/json", metadata: None };
        return inner.reply(call, &document, &[], &answer, &switch.0, &path).await;
    }
    let sent = text(&headers, header::AUTHORIZATION).unwrap_or_default();
    if inner.locked && !sent.strip_prefix("Bearer ").is_some_and(|token| inner.tokens.lock().contains(token))
    {
        return inner.challenge();
    }
    inner.content(&path, &headers, &switch.0, None).await
}

async fn storage(
    State(inner): State<Arc<Inner>>,
    switch: ConnectInfo<Switch>,
    request: Request,
) -> Response<Body> {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    let signature = request.uri().query().and_then(|query| query.strip_prefix("signature=SECRET"));
    let known = signature.and_then(|number| number.parse().ok());
    let known = known.is_some_and(|number: u64| inner.signatures.lock().contains(&number));
    // As S3 does, which takes one way to sign and not two.
    if headers.contains_key(header::AUTHORIZATION) {
        return reply::status(400);
    }
    if known {
        inner.content(&path, &headers, &switch.0, Some(Kind::Stored)).await
    } else {
        reply::status(403)
    }
}

impl Inner {
    async fn content(
        self: &Arc<Self>,
        path: &str,
        headers: &HeaderMap,
        switch: &Switch,
        kind: Option<Kind>,
    ) -> Response<Body> {
        let Some(document) = self.documents.lock().get(&name(path)).cloned() else {
            return reply::status(404);
        };
        let ranges = ranges(headers);
        let kind = kind.unwrap_or_else(|| kind_of(path, &document, &ranges));
        let call = self.call(kind, path, headers);
        let answer = self.next(kind);
        self.reply(call, &document, &ranges, &answer, switch, path).await
    }

    fn next(&self, kind: Kind) -> Answer {
        let mut plays = self.plays.lock();
        let play = plays.get_mut(&kind);
        play.map_or(Answer::Right, |play| play.answers.pop_front().unwrap_or_else(|| play.rest.clone()))
    }

    /// Notes a request; gives its number.
    fn call(&self, kind: Kind, path: &str, headers: &HeaderMap) -> usize {
        let mut calls = self.calls.lock();
        calls.push(Call {
            kind,
            name: name(path),
            ranges: ranges(headers),
            status: 0,
            bytes: 0,
            authorized: headers.contains_key(header::AUTHORIZATION),
        });
        calls.len() - 1
    }

    fn challenge(&self) -> Response<Body> {
        let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test registry\"", self.address);
        let builder = Response::builder().status(StatusCode::UNAUTHORIZED);
        builder.header(header::WWW_AUTHENTICATE, challenge).body(Body::empty()).unwrap()
    }
}

fn kind_of(path: &str, document: &Document, ranges: &[ByteRange]) -> Kind {
    if path.contains("/manifests/") {
        return Kind::Manifest;
    }
    let Some(metadata) = document.metadata else {
        return if ranges.is_empty() { Kind::Config } else { Kind::Probe };
    };
    match ranges {
        [] => Kind::Whole,
        [one] if one.start >= metadata.start && !metadata.is_empty() => Kind::Toc,
        [_] => Kind::Range,
        _ => Kind::Ranges,
    }
}

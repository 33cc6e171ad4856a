//! A registry inside the test's process that can be written to, with switches for what real ones do differently.
//! Also used by the tests of the converter.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "part of tests; clippy knows only functions marked as such")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode, header};
use bytes::Bytes;
use chunked_core::ObjectDigest;
use chunked_registry::Reference;
use futures_util::StreamExt;
use tokio::task::JoinHandle;

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub status: u16,
}

impl Seen {
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// What to do with a request instead of the ordinary thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Ordinary,
    /// Answers so without reading the body.
    Refuse(u16),
    /// Takes so many bytes of the body into the upload, then answers 503.
    Break(usize),
}

type Script = Box<dyn FnMut(usize, &Seen) -> Act + Send>;

struct Inner {
    address: SocketAddr,
    /// Tokens are wanted, and are good for what they were asked for.
    tokens: Mutex<bool>,
    /// Uploads are at this address, and have absolute locations; else relative ones.
    uploads_at: Mutex<Option<String>>,
    mounts: Mutex<bool>,
    referrers: Mutex<bool>,
    /// Referrers on a page; what a page's link starts with.
    pages: Mutex<Option<(usize, String)>>,
    blobs: Mutex<HashMap<(String, String), Bytes>>,
    manifests: Mutex<HashMap<(String, String), (String, Bytes)>>,
    uploads: Mutex<HashMap<String, Vec<u8>>>,
    script: Mutex<Script>,
    seen: Mutex<Vec<Seen>>,
}

/// A running registry; ends when dropped.
pub struct Receiver {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Arc::new(Inner {
            address: listener.local_addr().unwrap(),
            tokens: Mutex::new(false),
            uploads_at: Mutex::new(None),
            mounts: Mutex::new(true),
            referrers: Mutex::new(false),
            pages: Mutex::default(),
            blobs: Mutex::default(),
            manifests: Mutex::default(),
            uploads: Mutex::default(),
            script: Mutex::new(Box::new(|_, _| Act::Ordinary)),
            seen: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { inner, task }
    }

    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.inner.address).parse().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.inner.address)
    }

    pub fn want_tokens(&self) {
        *self.inner.tokens.lock().unwrap() = true;
    }

    /// Uploads go to this base URL.
    pub fn uploads_at(&self, base: &str) {
        *self.inner.uploads_at.lock().unwrap() = Some(base.to_owned());
    }

    pub fn without_mounts(&self) {
        *self.inner.mounts.lock().unwrap() = false;
    }

    pub fn with_referrers(&self) {
        *self.inner.referrers.lock().unwrap() = true;
    }

    /// So many referrers on a page; links to further ones have this in front of the path.
    pub fn referrers_by_pages(&self, entries: usize, base: &str) {
        self.with_referrers();
        *self.inner.pages.lock().unwrap() = Some((entries, base.to_owned()));
    }

    /// Asks `script` what to do with the n-th request that is not for a token.
    pub fn script(&self, script: impl FnMut(usize, &Seen) -> Act + Send + 'static) {
        *self.inner.script.lock().unwrap() = Box::new(script);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// `METHOD KIND` of every request but those for tokens, without digests and upload names.
    pub fn story(&self) -> Vec<String> {
        let word = |seen: &Seen| {
            let kind = ["/blobs/uploads/", "/blobs/", "/manifests/", "/referrers/"]
                .into_iter()
                .find(|kind| seen.path.contains(kind))
                .unwrap_or(&seen.path);
            format!("{} {} {}", seen.method, kind.trim_matches('/'), seen.status)
        };
        self.seen().iter().filter(|seen| seen.path != "/token").map(word).collect()
    }

    pub fn blob(&self, repository: &str, digest: &ObjectDigest) -> Option<Bytes> {
        self.inner.blobs.lock().unwrap().get(&(repository.to_owned(), digest.to_string())).cloned()
    }

    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> ObjectDigest {
        let bytes = bytes.into();
        let digest = ObjectDigest::of(&bytes);
        self.inner.blobs.lock().unwrap().insert((repository.to_owned(), digest.to_string()), bytes);
        digest
    }

    /// Stores `bytes` under another's digest.
    pub fn forge_blob(&self, repository: &str, digest: &ObjectDigest, bytes: impl Into<Bytes>) {
        self.inner.blobs.lock().unwrap().insert((repository.to_owned(), digest.to_string()), bytes.into());
    }

    /// Media type and bytes.
    pub fn manifest(&self, repository: &str, name: &str) -> Option<(String, Bytes)> {
        self.inner.manifests.lock().unwrap().get(&(repository.to_owned(), name.to_owned())).cloned()
    }

    pub fn put_manifest(
        &self,
        repository: &str,
        name: &str,
        media_type: &str,
        bytes: impl Into<Bytes>,
    ) -> ObjectDigest {
        let bytes = bytes.into();
        let digest = ObjectDigest::of(&bytes);
        let mut manifests = self.inner.manifests.lock().unwrap();
        for name in [name, &digest.to_string()] {
            let key = (repository.to_owned(), name.to_owned());
            manifests.insert(key, (media_type.to_owned(), bytes.clone()));
        }
        digest
    }

    /// Uploads that were begun and neither ended nor cancelled.
    pub fn open_uploads(&self) -> usize {
        self.inner.uploads.lock().unwrap().len()
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response<Body> {
    let mut seen = Seen {
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: request.headers().clone(),
        status: 0,
    };
    let response = if seen.path == "/token" {
        // The token says what it is good for.
        let scopes: Vec<&str> =
            seen.query.split('&').filter_map(|pair| pair.strip_prefix("scope=")).collect();
        let token = scopes.join("+").replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        Response::new(Body::from(format!(r#"{{"token": "{token}", "expires_in": 300}}"#)))
    } else if let Some(refusal) = inner.refusal(&seen) {
        refusal
    } else {
        let count = inner.seen.lock().unwrap().iter().filter(|seen| seen.path != "/token").count();
        let act = (inner.script.lock().unwrap())(count, &seen);
        match act {
            Act::Refuse(code) => status(code),
            act => inner.serve(&seen, request.into_body(), &act).await,
        }
    };
    seen.status = response.status().as_u16();
    inner.seen.lock().unwrap().push(seen);
    response
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Body::empty()).unwrap()
}

/// A value of a query.
pub fn query(query: &str, name: &str) -> Option<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.replace("%3A", ":").replace("%2F", "/"))
}

impl Inner {
    /// Without a token for what is asked.
    fn refusal(&self, seen: &Seen) -> Option<Response<Body>> {
        if !*self.tokens.lock().unwrap() {
            return None;
        }
        let token = seen
            .header(header::AUTHORIZATION)
            .and_then(|value| value.strip_prefix("Bearer "))
            .unwrap_or_default();
        let (repository, _) = split(&seen.path);
        let writes = seen.method != Method::GET && seen.method != Method::HEAD;
        let right = if writes { "pull,push" } else { "pull" };
        let mut good = token.contains(&format!("repository:{repository}:{right}"));
        if let Some(from) = query(&seen.query, "from") {
            good &= token.contains(&format!("repository:{from}:pull"));
        }
        (!good).then(|| {
            let challenge = format!("Bearer realm=\"http://{}/token\",service=\"test\"", self.address);
            let builder = Response::builder().status(StatusCode::UNAUTHORIZED);
            builder.header(header::WWW_AUTHENTICATE, challenge).body(Body::empty()).unwrap()
        })
    }

    async fn serve(&self, seen: &Seen, body: Body, act: &Act) -> Response<Body> {
        let (repository, rest) = split(&seen.path);
        match (seen.method.as_str(), rest) {
            ("POST", "blobs/uploads/") => self.begin(&repository, seen),
            (_, rest) if rest.starts_with("blobs/uploads/") => {
                self.upload(&repository, rest.trim_start_matches("blobs/uploads/"), seen, body, act).await
            }
            ("GET" | "HEAD", rest) => self.get(&repository, rest, seen),
            ("PUT", rest) if rest.starts_with("manifests/") => {
                let bytes = axum::body::to_bytes(body, 8 << 20).await.unwrap();
                let kind = seen.header(header::CONTENT_TYPE).unwrap_or_default().to_owned();
                let digest = ObjectDigest::of(&bytes).to_string();
                let mut manifests = self.manifests.lock().unwrap();
                for name in [rest.trim_start_matches("manifests/"), &digest] {
                    manifests.insert((repository.clone(), name.to_owned()), (kind.clone(), bytes.clone()));
                }
                status(201)
            }
            _ => status(404),
        }
    }

    fn get(&self, repository: &str, rest: &str, seen: &Seen) -> Response<Body> {
        let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
        let key = (repository.to_owned(), name.to_owned());
        let found = match kind {
            "blobs" => self.blobs.lock().unwrap().get(&key).map(|bytes| (String::new(), bytes.clone())),
            "manifests" => self.manifests.lock().unwrap().get(&key).cloned(),
            "referrers" if *self.referrers.lock().unwrap() => Some(self.referring(repository, name)),
            _ => None,
        };
        let Some((media_type, bytes)) = found else { return status(404) };
        let mut builder = Response::builder().header(header::CONTENT_TYPE, media_type);
        let pages = self.pages.lock().unwrap().clone().filter(|_| kind == "referrers");
        let bytes = match pages {
            None => bytes,
            Some((entries, base)) => {
                let mut index: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
                let all = index["manifests"].as_array().unwrap().clone();
                let from = query(&seen.query, "after").map_or(0, |from| from.parse().unwrap());
                let to = (from + entries).min(all.len());
                index["manifests"] = all[from..to].into();
                if to < all.len() {
                    let link = format!("<{base}{}?after={to}>; rel=\"next\"", seen.path);
                    builder = builder.header(header::LINK, link);
                }
                index.to_string().into()
            }
        };
        let range = seen.header(header::RANGE).and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?))
        });
        if seen.method == Method::HEAD {
            return builder.header(header::CONTENT_LENGTH, bytes.len()).body(Body::empty()).unwrap();
        }
        match range {
            Some((first, last)) => {
                let total = bytes.len();
                let builder = builder.status(206);
                builder
                    .header(header::CONTENT_RANGE, format!("bytes {first}-{last}/{total}"))
                    .body(Body::from(bytes.slice(first..=last)))
                    .unwrap()
            }
            None => builder.body(Body::from(bytes)).unwrap(),
        }
    }

    fn referring(&self, repository: &str, subject: &str) -> (String, Bytes) {
        let manifests = self.manifests.lock().unwrap();
        let mut entries = Vec::new();
        for ((place, name), (media_type, bytes)) in manifests.iter() {
            let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
            if place == repository && name.starts_with("sha256:") && value["subject"]["digest"] == subject {
                entries
                    .push(serde_json::json!({"mediaType": media_type, "digest": name, "size": bytes.len(),
                    "artifactType": value["artifactType"]}));
            }
        }
        entries.sort_by_key(|entry| entry["digest"].to_string());
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": entries});
        (kind.to_owned(), index.to_string().into())
    }

    fn begin(&self, repository: &str, seen: &Seen) -> Response<Body> {
        if let (Some(digest), Some(from), true) =
            (query(&seen.query, "mount"), query(&seen.query, "from"), *self.mounts.lock().unwrap())
        {
            let mut blobs = self.blobs.lock().unwrap();
            if let Some(bytes) = blobs.get(&(from, digest.clone())).cloned() {
                blobs.insert((repository.to_owned(), digest), bytes);
                return status(201);
            }
        }
        let mut uploads = self.uploads.lock().unwrap();
        let id = format!("upload-{}", self.seen.lock().unwrap().len());
        uploads.insert(id.clone(), Vec::new());
        let builder = Response::builder().status(202);
        builder.header(header::LOCATION, self.location(repository, &id)).body(Body::empty()).unwrap()
    }

    fn location(&self, repository: &str, id: &str) -> String {
        let base = self.uploads_at.lock().unwrap().clone().unwrap_or_default();
        format!("{base}/v2/{repository}/blobs/uploads/{id}?_state=s%2Ft")
    }

    async fn upload(&self, repository: &str, id: &str, seen: &Seen, body: Body, act: &Act) -> Response<Body> {
        let limit = if let Act::Break(limit) = act { *limit } else { usize::MAX };
        let mut taken = Vec::new();
        let mut chunks = body.into_data_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            taken.extend(chunk.iter().take(limit - taken.len()));
            if taken.len() == limit {
                break;
            }
        }
        let mut uploads = self.uploads.lock().unwrap();
        // An upload that was begun elsewhere is known, too.
        let foreign = self.uploads_at.lock().unwrap().is_none() && !self.blobs_known(id, &uploads);
        if foreign && seen.method != Method::PUT {
            return status(404);
        }
        let have = uploads.entry(id.to_owned()).or_default();
        if let Some(range) = seen.header(header::CONTENT_RANGE)
            && !range.starts_with(&format!("{}-", have.len()))
        {
            return status(416);
        }
        have.extend(&taken);
        let end = format!("0-{}", have.len().saturating_sub(1));
        let builder = Response::builder().header(header::LOCATION, self.location(repository, id));
        match seen.method.as_str() {
            _ if matches!(act, Act::Break(_)) => status(503),
            "GET" => builder.status(204).header(header::RANGE, end).body(Body::empty()).unwrap(),
            "PATCH" => builder.status(202).header(header::RANGE, end).body(Body::empty()).unwrap(),
            "DELETE" => {
                uploads.remove(id);
                status(204)
            }
            _ => {
                let bytes = uploads.remove(id).unwrap_or_default();
                let digest = query(&seen.query, "digest").unwrap_or_default();
                if ObjectDigest::of(&bytes).to_string() != digest {
                    return status(400);
                }
                self.blobs.lock().unwrap().insert((repository.to_owned(), digest), bytes.into());
                status(201)
            }
        }
    }

    fn blobs_known(&self, id: &str, uploads: &HashMap<String, Vec<u8>>) -> bool {
        uploads.contains_key(id)
    }
}

/// Repository and the rest of a path.
fn split(path: &str) -> (String, &str) {
    let path = path.trim_start_matches("/v2/");
    let at = ["/blobs/", "/manifests/", "/referrers/"].iter().filter_map(|kind| path.find(kind)).min();
    match at {
        Some(at) => (path[..at].to_owned(), &path[at + 1..]),
        None => (path.to_owned(), ""),
    }
}

//! Counts and times the calls on the daemon's socket, by method.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Instant;

use prost::Message as _;
use tonic::Code;
use tower::{Layer, Service};

use super::watcher::Watcher;

/// Services on the socket, and what their methods are called in metrics. tonic-health's has no descriptor here.
const SERVICES: [(&str, &str); 2] =
    [("containerd.services.snapshots.v1", "Snapshots"), ("chunked.control.v1", "Control")];
const HEALTH: [(&str, &str); 2] =
    [("/grpc.health.v1.Health/Check", "Health/Check"), ("/grpc.health.v1.Health/Watch", "Health/Watch")];

/// Methods by path. Anybody can ask for a path that does not exist, so only these become labels.
static METHODS: LazyLock<HashMap<String, &'static str>> = LazyLock::new(methods);

fn methods() -> HashMap<String, &'static str> {
    let files = prost_types::FileDescriptorSet::decode(chunked_proto::FILE_DESCRIPTOR_SET);
    let mut methods: HashMap<String, &'static str> =
        HEALTH.into_iter().map(|(path, name)| (path.to_owned(), name)).collect();
    for file in files.map(|set| set.file).unwrap_or_default() {
        for service in &file.service {
            if !SERVICES.contains(&(file.package(), service.name())) {
                continue;
            }
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                // Once for the process, and as many as there are methods.
                let name = Box::leak(format!("{}/{}", service.name(), method.name()).into_boxed_str());
                methods.insert(path, name);
            }
        }
    }
    methods
}

/// What a path is called in metrics. Calls for containerd's CRI services, which are passed on, are told together.
fn method(path: &str) -> &'static str {
    match METHODS.get(path) {
        Some(method) => method,
        None if path.starts_with("/runtime.v1.ImageService/") => "CRI/ImageService",
        None if path.starts_with("/runtime.v1.RuntimeService/") => "CRI/RuntimeService",
        None => "other",
    }
}

/// The layer around all services.
#[derive(Debug, Clone)]
pub(crate) struct Calls(pub(crate) Arc<Watcher>);

impl<S> Layer<S> for Calls {
    type Service = CountedCalls<S>;

    fn layer(&self, inner: S) -> CountedCalls<S> {
        CountedCalls { inner, watcher: Arc::clone(&self.0) }
    }
}

/// Services whose calls are counted.
#[derive(Debug, Clone)]
pub(crate) struct CountedCalls<S> {
    inner: S,
    watcher: Arc<Watcher>,
}

impl<S, A, B> Service<http::Request<A>> for CountedCalls<S>
where
    S: Service<http::Request<A>, Response = http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<A>) -> Self::Future {
        let method = method(request.uri().path());
        let call = Call { watcher: Arc::clone(&self.watcher), method, began: Instant::now(), code: None };
        let answer = self.inner.call(request);
        Box::pin(async move {
            // All of it: what is counted when it is dropped must live as long as this.
            let mut call = call;
            let answer = answer.await;
            call.code = Some(answer.as_ref().map_or(Code::Unknown, code));
            answer
        })
    }
}

/// What an answer's head says. A success says so after its body, and a stream may still fail then.
fn code<B>(answer: &http::Response<B>) -> Code {
    let status = answer.headers().get("grpc-status");
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// A call; counted when dropped, which it is early when the client goes away.
struct Call {
    watcher: Arc<Watcher>,
    method: &'static str,
    began: Instant,
    code: Option<Code>,
}

impl Drop for Call {
    fn drop(&mut self) {
        let code = self.code.unwrap_or(Code::Cancelled);
        self.watcher.metrics.call(self.method, name(code), self.began.elapsed().as_secs_f64());
    }
}

/// As other programs call them.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_by_their_paths() {
        let name = |path: &str| METHODS.get(path).copied();
        assert_eq!(name("/containerd.services.snapshots.v1.Snapshots/Prepare"), Some("Snapshots/Prepare"));
        assert_eq!(name("/chunked.control.v1.Control/Status"), Some("Control/Status"));
        assert_eq!(name("/grpc.health.v1.Health/Check"), Some("Health/Check"));
        assert_eq!(name("/containerd.services.content.v1.Content/Read"), None, "we do not serve it");
        let snapshots = METHODS.values().filter(|name| name.starts_with("Snapshots/")).count();
        assert_eq!(snapshots, 10);
    }
}

//! The two services of CRI, as containerd has them, with a pull of ours before each PullImage.

use std::convert::Infallible;
use std::future::Future;
use std::marker::PhantomData;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use chunked_proto::MAX_MESSAGE_BYTES;
use chunked_proto::runtime::v1::PullImageRequest;
use chunked_registry::Reference;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::Puller;
use crate::auth;
use crate::forward::Forward;
use crate::frame;

/// The call that we do something for.
const PULL_IMAGE: &str = "/runtime.v1.ImageService/PullImage";

/// `runtime.v1.ImageService`.
#[derive(Debug, Clone, Copy)]
pub struct ImageService;

/// `runtime.v1.RuntimeService`, for clients that have one address for both.
#[derive(Debug, Clone, Copy)]
pub struct RuntimeService;

impl NamedService for Proxy<ImageService> {
    const NAME: &'static str = "runtime.v1.ImageService";
}

impl NamedService for Proxy<RuntimeService> {
    const NAME: &'static str = "runtime.v1.RuntimeService";
}

/// A service whose calls go to containerd. Cheap to clone.
#[derive(Debug)]
pub struct Proxy<S> {
    forward: Forward,
    puller: Arc<dyn Puller>,
    name: PhantomData<fn() -> S>,
}

impl<S> Clone for Proxy<S> {
    fn clone(&self) -> Self {
        Self { forward: self.forward.clone(), puller: Arc::clone(&self.puller), name: PhantomData }
    }
}

/// Both services in front of the containerd at `socket`. Must be called inside a tokio runtime.
pub fn services(socket: &Path, puller: Arc<dyn Puller>) -> (Proxy<ImageService>, Proxy<RuntimeService>) {
    let forward = Forward::new(socket);
    let runtime = Proxy { forward: forward.clone(), puller: Arc::clone(&puller), name: PhantomData };
    (Proxy { forward, puller, name: PhantomData }, runtime)
}

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl<S> Service<http::Request<Body>> for Proxy<S> {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Each call waits for containerd by itself.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let (forward, puller) = (self.forward.clone(), Arc::clone(&self.puller));
        Box::pin(async move {
            if request.uri().path() == PULL_IMAGE {
                return Ok(pull_image(&forward, &*puller, request).await);
            }
            Ok(forward.send(request).await)
        })
    }
}

/// Pulls the image ourselves, then asks containerd for it. Whatever becomes of the first, containerd has its say.
async fn pull_image(
    forward: &Forward,
    puller: &dyn Puller,
    request: http::Request<Body>,
) -> http::Response<Body> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, MAX_MESSAGE_BYTES + 5).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Status::resource_exhausted("the request is longer than 16 MiB").into_http();
        }
        Err(error) => return Status::internal(format!("the request broke off: {error}")).into_http(),
    };
    pull(puller, &body).await;
    // With what may be secret in it over a connection that ends with the call.
    forward.apart().send(http::Request::from_parts(head, Body::new(Full::new(body)))).await
}

async fn pull(puller: &dyn Puller, body: &Bytes) {
    let Some(request) = frame::message(body).and_then(|message| PullImageRequest::decode(message).ok())
    else {
        tracing::debug!("a PullImage that is not understood is left to containerd");
        return;
    };
    let image = request.image.map(|spec| spec.image).unwrap_or_default();
    let Ok(reference) = image.parse::<Reference>() else { return };
    let credentials = request.auth.and_then(|auth| auth::credentials(auth, &reference));
    if let Err(error) = puller.pull(image, credentials).await {
        tracing::warn!(image = %reference, error, "pulling before containerd failed; containerd tries by itself");
    }
}

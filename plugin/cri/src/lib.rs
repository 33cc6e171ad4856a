//! Kubernetes' image service (CRI, `runtime.v1`) on our socket, in front of containerd's.
//!
//! In the flow: before the kubelet's PullImage reaches containerd, a [`Puller`] puts the image's layers into the store, with the
//! credentials of that request. Then containerd is asked as if we were not there, and finds every layer by look-up: no
//! download happens under a lock of containerd's, and `imagePullSecrets` work.
//!
//! Every call, also PullImage and calls that nobody has thought of yet, goes to containerd as it came: bytes, metadata,
//! streams, errors and trailers. So this crate knows two messages of CRI and no more.
//!
//! It must not show, keep or log what is in an `AuthConfig`, nor answer in containerd's place.

mod auth;
mod forward;
mod frame;
mod service;

use std::future::Future;
use std::pin::Pin;

use chunked_registry::Credentials;

pub use service::{ImageService, Proxy, RuntimeService, services};

/// Puts images into the store.
pub trait Puller: std::fmt::Debug + Send + Sync {
    /// Pulls `image`, as the kubelet calls it. An error is what a person should know: containerd tries all the same.
    fn pull(
        &self,
        image: String,
        credentials: Option<Credentials>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
}

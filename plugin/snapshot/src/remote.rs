//! The seam to whoever makes remote layers ready.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use chunked_core::{Digest, ObjectDigest};
use chunked_store::{ChainLayer, LayerPin};

use crate::cause::Cause;

/// A layer that containerd is about to download unless we have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteRequest {
    /// containerd namespace, from the key. Absent when someone calls us directly.
    pub namespace: Option<String>,
    /// chainID of the layer.
    pub target: Digest,
    /// chainID of the parent; `None` for the lowest layer.
    pub parent_chain: Option<Digest>,
    /// Labels of the request. Image authors can forge them: hints, never proof.
    pub labels: HashMap<String, String>,
}

/// Why a layer is not ready, in words and in kind: what becomes of it is decided from the kind alone
/// ([`decide`](crate::decide)).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct RemoteError {
    /// What kind of failure it is.
    pub cause: Cause,
    /// The image it is about, if one was found.
    pub image: Option<String>,
    /// The layer's blob, if an image was found.
    pub layer: Option<ObjectDigest>,
    /// What happened, with what led to it.
    pub text: String,
    /// A lower layer of the same image failed for this reason a moment ago, and this one was not tried.
    pub follows: bool,
}

impl RemoteError {
    /// An error about no image in particular.
    pub fn new(cause: Cause, text: impl Into<String>) -> Self {
        Self { cause, image: None, layer: None, text: text.into(), follows: false }
    }
}

/// Makes layers ready.
pub trait RemoteLayers: Send + Sync + 'static {
    /// Looks for the layer, joins or starts the job that makes it, and waits for it: then the layer is in the store,
    /// and its DiffID leads from the parent's chain to the target. Must bound its own waiting.
    fn prepare(
        &self,
        request: RemoteRequest,
    ) -> Pin<Box<dyn Future<Output = Result<LayerPin, RemoteError>> + Send>>;

    /// The layers that lead to the chainID `target`, as an image says that `namespace` holds, or without one any; `None` if
    /// none does. An error, for a person to read, when that cannot be found out now.
    fn chain<'a>(&'a self, namespace: Option<&'a str>, target: &'a Digest) -> Finding<'a>;
}

/// The layers that lead to a chainID, and an image that has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The image's reference.
    pub image: String,
    /// Lowest first; the last one has the chainID.
    pub layers: Vec<ChainLayer>,
}

/// A [`Chain`] on its way.
pub type Finding<'a> = Pin<Box<dyn Future<Output = Result<Option<Chain>, String>> + Send + 'a>>;

//! The seam to whoever makes remote layers ready.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;

use chunked_core::Digest;
use chunked_store::LayerPin;

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

/// What became of a [`RemoteRequest`].
#[derive(Debug, Clone)]
pub enum RemoteOutcome {
    /// The layer is in the store; its DiffID leads from the parent's chain to the target.
    Ready(LayerPin),
    /// Nobody knows where to get it: containerd shall download it.
    NoSource {
        /// For the log.
        reason: String,
    },
}

/// Why a layer that has a source is not ready.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// Network or registry: worth trying again.
    #[error("{0}")]
    Unavailable(String),
    /// The bytes are not what the image says; the text names layer and check. Never hidden by falling back
    /// to a download.
    #[error("{0}")]
    Integrity(String),
    /// Anything else.
    #[error("{0}")]
    Internal(String),
}

/// Makes layers ready.
pub trait RemoteLayers: Send + Sync + 'static {
    /// Looks for the layer, joins or starts the job that makes it, and waits for it. Must bound its own
    /// waiting.
    fn prepare(
        &self,
        request: RemoteRequest,
    ) -> Pin<Box<dyn Future<Output = Result<RemoteOutcome, RemoteError>> + Send>>;
}

//! What can go wrong between us and containerd.

use chunked_core::{Digest, ObjectDigest};
use tonic::{Code, Status};

/// A request to containerd that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// containerd refused it.
    #[error("containerd {call}: {}", .source.message())]
    Call {
        /// The call.
        call: &'static str,
        /// What containerd said.
        source: Box<Status>,
    },
    /// The namespace's name cannot stand in a header.
    #[error("{0:?} cannot be the name of a namespace")]
    Namespace(String),
    /// containerd ended a write early.
    #[error("containerd ended the write of blob {digest} at byte {offset}")]
    WriteEnded {
        /// The blob.
        digest: ObjectDigest,
        /// Bytes that were written.
        offset: u64,
    },
    /// More or fewer bytes came than the blob has.
    #[error("blob {digest} has {size} bytes, but {given} came")]
    Size {
        /// The blob.
        digest: ObjectDigest,
        /// Bytes it has.
        size: u64,
        /// Bytes that came.
        given: u64,
    },
    /// A layer is neither in the snapshotter nor in the content store.
    #[error(
        "layer {layer} is not in containerd's content store, and snapshotter {snapshotter} could not provide it; its log says why"
    )]
    Missing {
        /// The layer's blob.
        layer: ObjectDigest,
        /// The snapshotter.
        snapshotter: String,
    },
    /// containerd unpacked something else than the image's config says.
    #[error("layer {layer} unpacks to {found}, its image's config says {expected}")]
    DiffId {
        /// The layer's blob.
        layer: ObjectDigest,
        /// What the config says.
        expected: Digest,
        /// What containerd computed.
        found: String,
    },
    /// The snapshotter said that it has a layer, and does not show it.
    #[error("snapshotter {snapshotter} says that it has snapshot {chain}, and does not show it")]
    NotShown {
        /// The snapshotter.
        snapshotter: String,
        /// ChainID.
        chain: Digest,
    },
}

impl ClientError {
    pub(crate) fn of(call: &'static str) -> impl FnOnce(Status) -> Self {
        move |source| Self::Call { call, source: Box::new(source) }
    }

    /// True when containerd has no such thing.
    pub fn is_absent(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }

    /// True when containerd has it already.
    pub fn is_present(&self) -> bool {
        self.code() == Some(Code::AlreadyExists)
    }

    fn code(&self) -> Option<Code> {
        match self {
            Self::Call { source, .. } => Some(source.code()),
            _ => None,
        }
    }
}

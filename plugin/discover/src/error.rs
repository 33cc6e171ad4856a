//! Why no source was found.

use std::path::PathBuf;
use std::time::Duration;

use chunked_core::{Digest, ObjectDigest};
use chunked_registry::ImageError;

/// How a caller should react.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// containerd cannot be asked now: let the client try again.
    Unavailable,
    /// Nothing here says where the layer comes from: containerd has to fetch it itself.
    NoSource,
    /// Stored content does not have the digest it is stored under: never fall back silently.
    Integrity,
}

/// A look-up that gave no source.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// A call to containerd failed.
    #[error("containerd at {socket}: {call} failed; is it running, and is containerd_address right?")]
    Call {
        /// containerd's socket.
        socket: PathBuf,
        /// The call, as `Service.Method`.
        call: &'static str,
        /// What came back.
        #[source]
        source: Box<tonic::Status>,
    },
    /// A call to containerd took too long.
    #[error("containerd at {socket}: {call} did not end within {} s", limit.as_secs())]
    TimedOut {
        /// containerd's socket.
        socket: PathBuf,
        /// The call, as `Service.Method`.
        call: &'static str,
        /// The time it had.
        limit: Duration,
    },
    /// containerd sent more than a sane store holds.
    #[error("containerd at {socket}: {call} sent more than {limit} entries")]
    TooMany {
        /// containerd's socket.
        socket: PathBuf,
        /// The call, as `Service.Method`.
        call: &'static str,
        /// Most entries accepted.
        limit: usize,
    },
    /// A blob's bytes are not what its digest promises, and no other image gives the layer.
    #[error(
        "content {digest} in containerd's namespace {namespace} hashes to {actual}: \
         remove the image and pull it again"
    )]
    Corrupt {
        /// containerd namespace.
        namespace: String,
        /// What the bytes should hash to.
        digest: ObjectDigest,
        /// What they hash to.
        actual: ObjectDigest,
    },
    /// No image that containerd holds can serve the layer.
    #[error("no source for layer {target} in containerd's namespace {namespace}")]
    NoSource {
        /// containerd namespace.
        namespace: String,
        /// The chainID asked for.
        target: Digest,
        /// Why.
        #[source]
        reason: Box<NoSource>,
    },
}

/// Why no image that containerd holds can serve a layer.
#[derive(Debug, thiserror::Error)]
pub enum NoSource {
    /// No stored manifest's config gives the chainID.
    #[error("none of {manifests} stored manifests has this layer")]
    NoImage {
        /// Manifests looked at.
        manifests: usize,
    },
    /// The manifest is there, its config is not.
    #[error("config {config} of manifest {manifest} is not in the content store")]
    NoConfig {
        /// The manifest.
        manifest: ObjectDigest,
        /// Its config.
        config: ObjectDigest,
        /// True when the manifest arrived so recently that the config may still be on its way.
        fresh: bool,
    },
    /// The image has something we cannot pull.
    #[error("manifest {manifest} cannot be pulled by layers")]
    Unusable {
        /// The manifest.
        manifest: ObjectDigest,
        /// What is wrong with it.
        #[source]
        source: ImageError,
    },
    /// A name that cannot stand in a request header.
    #[error("the namespace is not a valid name")]
    BadNamespace,
}

impl DiscoverError {
    /// How a caller should react.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Call { .. } | Self::TimedOut { .. } | Self::TooMany { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Integrity,
            Self::NoSource { .. } => ErrorKind::NoSource,
        }
    }

    /// True when a config that was just being fetched is all that is missing.
    pub(crate) fn may_appear_soon(&self) -> bool {
        matches!(self.no_source(), Some(NoSource::NoConfig { fresh: true, .. }))
    }

    /// Why there is no source; `None` for other errors.
    pub fn no_source(&self) -> Option<&NoSource> {
        match self {
            Self::NoSource { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

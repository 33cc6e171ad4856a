//! Why a transfer failed.

use chunked_core::{ByteRange, ObjectDigest};
use chunked_registry::{ErrorKind, RegistryError};

/// A transfer that could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The registry failed, and trying again did not help.
    #[error("at byte {offset}: {source}")]
    Registry {
        /// First byte of the blob that is missing.
        offset: u64,
        /// The last failure.
        source: RegistryError,
    },
    /// A blob on this machine cannot be read.
    #[error("at byte {offset} of the copy on this machine: {source}")]
    Here {
        /// First byte of the blob that is missing.
        offset: u64,
        /// What happened.
        source: std::io::Error,
    },
    /// The ranges asked for are not sorted and apart, or not inside the blob.
    #[error(
        "cannot fetch bytes {range} of blob {blob}: not inside its {size} bytes, or not after the range before"
    )]
    Range {
        /// Digest of the blob.
        blob: ObjectDigest,
        /// Length of the blob in bytes.
        size: u64,
        /// The first bad range.
        range: ByteRange,
    },
}

impl FetchError {
    /// True when asking again gives the same: see [`RegistryError::is_permanent`].
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Registry { source, .. } => source.is_permanent(),
            Self::Here { .. } | Self::Range { .. } => true,
        }
    }

    /// True when every other blob of the repository would fail like this: see
    /// [`RegistryError::holds_for_repository`].
    pub fn holds_for_repository(&self) -> bool {
        match self {
            Self::Registry { source, .. } => source.holds_for_repository(),
            Self::Here { .. } | Self::Range { .. } => false,
        }
    }

    /// What to do about it; see [`ErrorKind`].
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Registry { source, .. } => source.kind(),
            Self::Here { .. } | Self::Range { .. } => ErrorKind::Invalid,
        }
    }
}

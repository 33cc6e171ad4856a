//! Why a transfer ended.

use chunked_core::ByteRange;
use chunked_registry::RegistryError;

/// A transfer that could not be completed.
#[derive(Debug, thiserror::Error)]
#[error("fetching bytes {range} of the blob: {source}")]
pub struct FetchError {
    /// The part that failed, in bytes of the blob.
    pub range: ByteRange,
    /// The last answer.
    pub source: RegistryError,
}

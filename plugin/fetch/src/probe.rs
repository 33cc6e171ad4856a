//! Does a registry answer a request for several ranges rightly?
//!
//! Some answer with an error, some with the whole blob (as the specification of HTTP allows), so it is tried on a
//! blob that is small and whose bytes are known: an image's config.

use chunked_core::ByteRange;
use chunked_registry::{Blob, Ranges, RegistryError};

use crate::ranges::Left;

/// Largest blob tried on, in bytes: what a registry without ranges would send in vain.
const MAX_SIZE: u64 = 256 << 10;

/// What a probe showed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// Every byte asked for came, and was right.
    Works,
    /// Something else came.
    Fails,
    /// It was not tried, or failed for another reason.
    Unknown,
}

/// Asks for three small ranges of `blob`, whose content is `known`, and remembers for the blob's origin what came.
/// Needs some dozens of bytes, and one round trip.
pub async fn probe(blob: &Blob, known: &[u8]) -> Probe {
    let size = blob.size();
    if !(32..=MAX_SIZE).contains(&size) || known.len() as u64 != size {
        return Probe::Unknown;
    }
    let ranges = [0, size / 2, size - 2].map(|start| ByteRange { start, end: start + 2 });
    let result = match read(blob, &ranges, known).await {
        Ok(true) => Probe::Works,
        Ok(false) => Probe::Fails,
        Err(error) if error.kind() == chunked_registry::ErrorKind::Transient => Probe::Unknown,
        Err(_) => Probe::Fails,
    };
    tracing::info!(origin = blob.origin(), ?result, "asked for several ranges in one request");
    if result != Probe::Unknown {
        blob.note_multi_range(result == Probe::Works);
    }
    result
}

async fn read(blob: &Blob, ranges: &[ByteRange], known: &[u8]) -> Result<bool, RegistryError> {
    let mut parts = match blob.get_many(ranges).await? {
        Ranges::Parts(parts) => parts,
        Ranges::Body(_) => return Ok(false),
    };
    let mut left = Left::new(ranges.to_vec());
    // A server that merges ranges which are far apart may, but that is no help.
    let mut room = 2 * left.total();
    while let Some(chunk) = parts.chunk().await {
        let (offset, data) = chunk?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let right =
            known.get(start..).and_then(|rest| rest.get(..data.len())).is_some_and(|bytes| bytes == data);
        let Some(rest) = room.checked_sub(data.len() as u64).filter(|_| right) else { return Ok(false) };
        room = rest;
        left.take(offset, &data);
    }
    Ok(left.is_empty())
}

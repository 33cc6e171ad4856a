//! Where a file's bytes come from.

use std::sync::Arc;

use bytes::Bytes;
use chunked_core::Digest;
use chunked_linux::Dir;

/// A fetched piece of a file: compressed frames, or a hole.
#[derive(Debug, Clone)]
pub struct FetchedPiece {
    /// Offset in the blob, for errors.
    pub offset: u64,
    /// Decoded length in bytes.
    pub len: u64,
    /// Digest of the decoded bytes.
    pub digest: Option<Digest>,
    /// The zstd frames; `None` for a hole.
    pub frames: Option<Bytes>,
}

/// A file of another layer with the wanted content.
#[derive(Debug, Clone)]
pub struct Donor {
    /// Root of the donor's layer.
    pub root: Arc<Dir>,
    /// Path beneath it.
    pub path: Vec<u8>,
    /// May the new file be a hard link to it, should all metadata be equal? Only for immutable files of our own
    /// store, of layers that do not meet this one in one image.
    pub may_link: bool,
    /// Check the content against the digest now. Otherwise the DiffID alone proves it, and a mismatch there is
    /// found by a second run with this set.
    pub check: bool,
}

/// Content of a regular file.
#[derive(Debug)]
pub(crate) enum Content {
    /// Payload bytes as they stood in the tar stream.
    Inline(Vec<Bytes>),
    /// Pieces of a zstd:chunked layer, in order and gapless.
    Pieces(Vec<FetchedPiece>),
    /// A local file.
    Donor(Donor),
}

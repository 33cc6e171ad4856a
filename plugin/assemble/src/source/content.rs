//! Where a file's bytes come from.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::Digest;
use chunked_linux::Dir;

use crate::source::host::Foreign;
use crate::source::pieces::FilePiece;
use crate::source::promise::Promise;
use crate::source::refetch::{Refetch, Spare};

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
    /// Who is asked for the frames once more, should they be wrong.
    pub again: Option<Arc<dyn Refetch>>,
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
    /// May the new file share the donor's blocks? Only if nobody can be writing to it: what is shared is not what was
    /// hashed, should it change in between.
    pub may_share: bool,
    /// It was just written, and may be on its way to the disk: sharing a small file's blocks would wait for that.
    pub fresh: bool,
    /// Check the content against the digest now. Otherwise the DiffID alone proves it, and a mismatch there is
    /// found by a second run with this set. Must be set unless somebody hashed the donor's bytes before.
    pub check: bool,
    /// Who named the donor.
    pub lender: Option<Arc<dyn Lender>>,
}

/// Who says which contents a layer's files have. Called by workers.
pub trait Lender: fmt::Debug + Send + Sync {
    /// Told that the file at `path` does not hold what it was said to hold.
    fn refuted(&self, path: &[u8], reason: &str);
}

impl Donor {
    /// Tells who named it that it is not what was said.
    pub(crate) fn refute(&self, reason: &str) {
        if let Some(lender) = &self.lender {
            lender.refuted(&self.path, reason);
        }
    }
}

/// Content of a regular file.
#[derive(Debug)]
pub(crate) enum Content {
    /// Payload bytes as they stood in the tar stream; `twin`: a local file that may have the same.
    Inline { data: Vec<Bytes>, twin: Option<Donor> },
    /// Pieces of a zstd:chunked layer, in order and gapless; the promises are kept when the file is complete.
    Pieces { pieces: Vec<FilePiece>, promises: Vec<Promise> },
    /// A local file; the spare in case it is bad.
    Donor(Donor, Spare),
    /// A file that is not ours; the spare in case it is bad.
    Foreign(Arc<dyn Foreign>, Spare),
}

impl Content {
    /// Nothing, or what is written by other means.
    pub(crate) fn none() -> Self {
        Self::Inline { data: Vec::new(), twin: None }
    }
}

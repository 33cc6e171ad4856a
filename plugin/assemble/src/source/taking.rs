//! What taking a file's content from a local file needs, wherever that is, and how it fails.

use std::io;

use chunked_core::Digest;

use crate::error::AssembleError;
use crate::source::refetch::Spare;
use crate::work::job::Job;
use crate::work::progress::Progress;

/// A file of the layer whose content is in `source`; `spare` in case that is bad.
pub(crate) struct Taking<'a, S: ?Sized> {
    pub(crate) job: &'a Job,
    pub(crate) source: &'a S,
    pub(crate) spare: &'a Spare,
    pub(crate) size: u64,
    pub(crate) digest: Option<Digest>,
    pub(crate) progress: &'a Progress,
}

/// Why a source gave nothing.
pub(crate) enum Failed {
    /// It does not hold what it was said to hold, for this reason.
    Refuted(String),
    /// It cannot be read just now, for this reason: that says nothing about what it holds.
    Unreadable(String),
    /// Our own file could not be made.
    Ours(AssembleError),
}

impl From<AssembleError> for Failed {
    fn from(error: AssembleError) -> Self {
        Self::Ours(error)
    }
}

/// Of the source: errors of our own files are [`AssembleError`]s.
impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        if refutes(&error) { Self::Refuted(error.to_string()) } else { Self::Unreadable(error.to_string()) }
    }
}

/// Does this error of opening or reading a source mean that it is not what it was? Running out of descriptors or memory
/// does not.
pub(crate) fn refutes(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | UnexpectedEof | InvalidInput)
}

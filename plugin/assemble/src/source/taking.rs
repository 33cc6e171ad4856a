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
    /// It is bad, for this reason.
    Bad(String),
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
        Self::Bad(error.to_string())
    }
}

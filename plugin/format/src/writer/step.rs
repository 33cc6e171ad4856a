//! What the planner found of a tar, one after the other.

use std::sync::mpsc::Receiver;

use bytes::Bytes;
use chunked_core::Digest;

use crate::entry::TocEntry;
use crate::reason::Reason;
use crate::writer::lane::FileSums;

/// What is written, in tar order.
#[derive(Debug)]
pub(super) enum Step {
    /// The next compressed frame.
    Frame,
    /// Raw bytes of the tar for the tar-split.
    Segment(Bytes),
    /// A tar entry. If it has payload, frames, chunks and [`Step::PayloadEnd`] follow.
    Entry(Box<TocEntry>),
    /// The frames since the last chunk are a chunk.
    Chunk {
        /// Its length in bytes of the file.
        len: u64,
        /// Whether it is a hole.
        zeros: bool,
        /// Its digest, if not the last frame's.
        digest: Option<Receiver<Digest>>,
    },
    /// The file ends.
    PayloadEnd {
        /// Its sums, if not the only frame's.
        sums: Option<Receiver<FileSums>>,
    },
    /// There can be no TOC.
    Plain(Reason),
}

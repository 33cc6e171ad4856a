//! Errors of the writer.

use std::io;

use chunked_cuts::Cuts;

use crate::options::LEVELS;

/// Why nothing, or only a part, was written. What a tar holds is never an error: see [`Reason`](crate::Reason).
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The tar could not be read.
    #[error("reading the tar at byte {offset}: {source}")]
    Read {
        /// Bytes read before.
        offset: u64,
        /// The reader's error.
        source: io::Error,
    },
    /// The blob could not be written.
    #[error("writing the blob at byte {offset}: {source}")]
    Write {
        /// Bytes written before.
        offset: u64,
        /// The writer's error.
        source: io::Error,
    },
    /// A level outside [`LEVELS`].
    #[error("compression level {0} is outside {first} to {last}", first = LEVELS.start(), last = LEVELS.end())]
    Level(i32),
    /// A minimum of more than [`Cuts::MOST`].
    #[error("a smallest chunk of {0} bytes is more than {most}", most = Cuts::MOST)]
    Cuts(u32),
    /// zstd refused to work, for want of memory.
    #[error("zstd: {0}")]
    Compress(&'static str),
    /// The TOC or tar-split could not be encoded.
    #[error("encoding the {what}: {source}")]
    Metadata {
        /// Which of the two.
        what: &'static str,
        /// The encoder's error.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("starting a thread: {0}")]
    Thread(#[source] io::Error),
    /// A thread ended early. Only a defect of this crate or want of memory does that.
    #[error("a compressing thread ended unexpectedly")]
    Worker,
}

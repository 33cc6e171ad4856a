//! The writer: a tar to a blob and its annotations.
//!
//! Three kinds of threads. The caller's thread reads the tar, parses headers, finds the cuts, and puts what
//! comes back in order ([`plan`], [`flow`], [`emit`]); so neither reader nor writer has to be `Send`.
//! Workers compress frames and hash chunks ([`pool`]). Two more only hash what has to be hashed in sequence: the
//! whole tar, and files of several chunks ([`lane`]).
//!
//! Frames are at most [`FRAME`] bytes of tar and each is compressed by itself in one go. So what one thread does never
//! depends on what another did, and memory does not depend on the tar. A longer chunk becomes several frames, which
//! readers decode as one.

mod emit;
mod flow;
mod input;
mod lane;
mod metadata;
mod plan;
mod pool;
mod step;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::thread;

use chunked_core::Digest;
use chunked_cuts::Cuts;

use crate::error::WriteError;
use crate::options::{LEVELS, WriteOptions};
use crate::reason::Reason;

/// Largest frame, in bytes of tar.
const FRAME: usize = 2 << 20;

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the tar: the layer's DiffID in the image config.
    pub diff_id: Digest,
    /// Bytes of tar.
    pub tar_size: u64,
    /// SHA-256 of the blob: the digest of its descriptor.
    pub blob_digest: Digest,
    /// Bytes of the blob.
    pub blob_size: u64,
    /// Whether it is zstd:chunked.
    pub toc: Outcome,
    /// Counts, for reports.
    pub stats: Stats,
}

/// What kind of layer came out. The media type of both is `application/vnd.oci.image.layer.v1.tar+zstd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// zstd:chunked.
    Chunked {
        /// To be set on the layer's descriptor: without them the layer is an ordinary one.
        annotations: BTreeMap<String, String>,
    },
    /// An ordinary zstd layer: sound, but it can only be pulled whole.
    Plain {
        /// What the format cannot express; the first thing found.
        reasons: Vec<Reason>,
    },
}

/// What a blob consists of. Of a plain one, what was counted before the reason was found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Tar entries.
    pub entries: u64,
    /// Regular files that are not empty.
    pub files: u64,
    /// Bytes of those.
    pub file_bytes: u64,
    /// Chunks of all files, holes among them; a file that is not cut is one.
    pub chunks: u64,
    /// Chunks that are holes.
    pub holes: u64,
    /// Bytes of those.
    pub hole_bytes: u64,
    /// zstd frames with data.
    pub frames: u64,
    /// Bytes of the TOC, uncompressed.
    pub toc_bytes: u64,
    /// Bytes of the TOC in the blob.
    pub toc_compressed: u64,
    /// Bytes of the tar-split, uncompressed.
    pub tar_split_bytes: u64,
    /// Bytes of the tar-split in the blob.
    pub tar_split_compressed: u64,
}

/// Reads all of `tar` and writes a layer blob to `out`.
///
/// The decompressed blob is the tar byte for byte, whatever the input is. What zstd:chunked cannot express
/// makes the blob an ordinary zstd layer ([`Outcome::Plain`]). The blob depends on the tar, the options' level and cuts,
/// and the versions of this crate and of libzstd; not on threads, machine, time or time zone.
///
/// It blocks. To cancel it, let `tar` or `out` return an error.
///
/// # Errors
///
/// [`WriteError`]: the input's or the output's, a level out of range, or want of memory or threads. What `out` received
/// so far is useless then.
pub fn write(tar: impl Read, out: impl Write, options: &WriteOptions) -> Result<Written, WriteError> {
    if !LEVELS.contains(&options.level) {
        return Err(WriteError::Level(options.level));
    }
    if let Cuts::AtLeast(bytes) = options.cuts
        && bytes > Cuts::MOST
    {
        return Err(WriteError::Cuts(bytes));
    }
    let workers = workers(options);
    thread::scope(|scope| {
        let jobs = pool::start(scope, workers, options.level)?;
        let whole = lane::whole(scope)?;
        let files = lane::files(scope)?;
        let emitter = emit::Emitter::new(out, options.level)?;
        let flow = flow::Flow::new(jobs, emitter, workers);
        let input = input::Input::new(tar, whole);
        plan::Planner::new(input, flow, files, options.cuts).run()
    })
}

/// Compressing threads, bounded by the memory their tables take.
fn workers(options: &WriteOptions) -> usize {
    let wanted = match options.threads {
        0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
        threads => threads,
    };
    wanted.min(pool::most_workers(options.level))
}

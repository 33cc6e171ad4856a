//! The seam to the writer of the format.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use chunked_core::{Digest, ObjectDigest};
use chunked_format::{Cuts, WriteError, WriteOptions};

use crate::options::Options;

/// A layer written anew.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Digest of the tar.
    pub diff_id: Digest,
    /// Bytes of the tar.
    pub tar_size: u64,
    /// Digest of the blob.
    pub blob: ObjectDigest,
    /// Bytes of the blob.
    pub size: u64,
    /// The annotations of its descriptor, or why the format cannot express the layer: the blob is an ordinary
    /// zstd stream then.
    pub annotations: Result<BTreeMap<String, String>, Vec<String>>,
}

/// Writes `tar` as a zstd:chunked blob. Blocks.
pub(crate) fn write(tar: impl Read, out: impl Write, options: &Options) -> Result<Outcome, WriteError> {
    let cuts = options.min_chunk.map_or(Cuts::Compatible, Cuts::AtLeast);
    let options = WriteOptions { level: options.level, threads: options.threads, cuts };
    let written = chunked_format::write(tar, out, &options)?;
    let annotations = match written.toc {
        chunked_format::Outcome::Chunked { annotations } => Ok(annotations),
        chunked_format::Outcome::Plain { reasons } => Err(reasons.iter().map(ToString::to_string).collect()),
    };
    Ok(Outcome {
        diff_id: written.diff_id,
        tar_size: written.tar_size,
        blob: written.blob_digest.into(),
        size: written.blob_size,
        annotations,
    })
}

//! A plan in numbers.

use std::fmt;

use serde::Serialize;

use crate::decision::Decision;

/// What a plan costs and saves. Bytes are bytes of the (compressed) blob.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Non-empty files of the layer.
    pub files: u64,
    /// Of these, files that the node has.
    pub reused_files: u64,
    /// Pieces of other files that the node has, or that come once already.
    pub reused_pieces: u64,
    /// Bytes of all these.
    pub reused_bytes: u64,
    /// Of these, bytes that come once already.
    pub repeated_bytes: u64,
    /// Bytes of the pieces that are missing.
    pub needed_bytes: u64,
    /// Bytes to fetch for them, gaps included.
    pub fetch_bytes: u64,
    /// Bytes of TOC and tar-split, fetched already.
    pub metadata_bytes: u64,
    /// Ranges to ask for.
    pub ranges: u64,
    /// Nothing is reused and one range gets everything.
    pub whole: bool,
    /// Why these ranges.
    pub decision: Decision,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "reuse {} of {} files and {} chunks ({} bytes, {} of them repeats), fetch {} bytes in {} ranges ({} needed, {} of metadata)",
            self.reused_files,
            self.files,
            self.reused_pieces,
            self.reused_bytes,
            self.repeated_bytes,
            self.fetch_bytes,
            self.ranges,
            self.needed_bytes,
            self.metadata_bytes,
        )
    }
}

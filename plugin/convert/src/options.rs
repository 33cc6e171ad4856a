//! How to convert.

use std::path::PathBuf;

use chunked_registry::Platform;

/// Largest [`Options::min_chunk`], in bytes.
pub const LARGEST_MIN_CHUNK: u32 = chunked_format::Cuts::MOST;

/// How to convert; the defaults are what most people want.
#[derive(Debug, Clone)]
pub struct Options {
    /// Images to take from an index; empty for all.
    pub platforms: Vec<Platform>,
    /// zstd level.
    pub level: i32,
    /// Threads for each layer; 0 for one per processor.
    pub threads: usize,
    /// Layers at the same time; at least 1.
    pub layers: usize,
    /// Smallest chunk in bytes; `None` for the cuts that other writers of the format make.
    pub min_chunk: Option<u32>,
    /// Convert layers that are zstd:chunked already, too.
    pub force: bool,
    /// Leave attestations out instead of carrying them over.
    pub drop_attestations: bool,
    /// Directory for temporary files; `None` for `$TMPDIR`, else `/var/tmp`.
    pub temp: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            platforms: Vec::new(),
            level: chunked_format::DEFAULT_LEVEL,
            threads: 0,
            layers: 2,
            min_chunk: None,
            force: false,
            drop_attestations: false,
            temp: None,
        }
    }
}

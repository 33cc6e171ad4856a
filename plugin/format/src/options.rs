//! How to write.

use std::ops::RangeInclusive;

use chunked_cuts::Cuts;

/// Levels that can be written: zstd's without the "ultra" ones, whose windows cost every reader memory.
pub const LEVELS: RangeInclusive<i32> = 1..=19;

/// Level used unless another is asked for: chosen for speed. Level 7 gives the size of the reference writer's default.
pub const DEFAULT_LEVEL: i32 = 5;

/// Settings of [`write`](crate::write()). The blob depends on `level`, `cuts` and the versions of this crate and of
/// libzstd, and on nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// Compression level of libzstd, one of [`LEVELS`].
    pub level: i32,
    /// Threads that compress; 0 for one per available core. Two or three more only read and hash. Fewer are used
    /// where that many would need too much memory.
    pub threads: usize,
    /// Where files are cut into chunks.
    pub cuts: Cuts,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { level: DEFAULT_LEVEL, threads: 0, cuts: Cuts::default() }
    }
}

//! How to write.

use std::ops::RangeInclusive;

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

/// Where files are cut into chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cuts {
    /// As every other writer of the format cuts, so that equal content gives equal chunks whoever wrote it: no
    /// smallest and no largest chunk, and every run of 1024 zeros is a hole.
    #[default]
    Compatible,
    /// No cut by content before a chunk has this many bytes, and no hole shorter than that. Fewer, larger chunks: a
    /// smaller TOC and a better ratio. Only what was written with the same minimum has the same chunks.
    ///
    /// At most [`Cuts::MOST`], as so many zeros have to be held back until it is clear whether they are a hole.
    AtLeast(u32),
}

impl Cuts {
    /// Largest minimum of [`Cuts::AtLeast`], in bytes.
    pub const MOST: u32 = 1 << 20;
}

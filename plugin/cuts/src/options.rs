//! Which rule cuts.

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

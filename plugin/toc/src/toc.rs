//! The table of contents as the later stages see it: files and their pieces, in two flat arrays.

use std::ops::Range;

use chunked_core::{ByteRange, Digest};

/// The regular files of a layer that have payload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toc {
    /// In blob order, which is tar order; their ranges do not overlap.
    pub files: Vec<TocFile>,
    /// Pieces of all files; [`TocFile::pieces`] points here.
    pub pieces: Vec<Piece>,
    /// Bytes of blob that had to be fetched to learn this: TOC and tar-split, compressed.
    pub metadata_bytes: u64,
}

/// A regular file with at least one byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TocFile {
    /// Name as the TOC spells it: `./` and the like are kept, invalid UTF-8 became U+FFFD.
    pub name: Box<[u8]>,
    /// Length of the file, in bytes; never 0.
    pub size: u64,
    /// SHA-256 of the whole file.
    pub digest: Digest,
    /// The file's zstd frames, in bytes of the blob.
    pub range: ByteRange,
    /// The file's pieces in [`Toc::pieces`]: in order, gapless, lengths adding up to `size`; never empty.
    pub pieces: Range<u32>,
}

/// A part of a file that can be fetched and decoded by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Zstd frames in the blob, in bytes. Decoding gives exactly `len` bytes. Empty only for a hole.
    pub blob: ByteRange,
    /// Where it starts in the file, in bytes.
    pub file_offset: u64,
    /// Length in the file, in bytes; never 0.
    pub len: u64,
    /// SHA-256 of its bytes, if the TOC gives one. A file's only piece has the file's digest.
    pub digest: Option<Digest>,
    /// Whether it needs fetching.
    pub kind: PieceKind,
}

/// What a piece holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// Bytes to fetch.
    Data,
    /// Zeros. They are in the blob too, but nobody needs to fetch them.
    Hole,
}

impl Toc {
    /// The pieces of `file`, a file of this TOC, in order. Empty for a file of another one.
    pub fn pieces_of(&self, file: &TocFile) -> &[Piece] {
        let index = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        self.pieces.get(index(file.pieces.start)..index(file.pieces.end)).unwrap_or_default()
    }
}

//! A piece of a file, and where its bytes are: fetched, in a file of another layer, or earlier in this one.

use std::sync::Arc;

use chunked_core::Digest;
use chunked_linux::Dir;

use crate::source::donor::Lender;
use crate::source::piece::{FetchedPiece, Refetch, SparePiece};
use crate::source::promise::{Promise, Promised};
use crate::work::budget::OVERHEAD;

/// A piece of a file and where its bytes are.
#[derive(Debug)]
pub enum FilePiece {
    /// Fetched frames, or a hole; `promise` tells others of the layer who want the same bytes.
    Fetched(FetchedPiece, Option<Promise>),
    /// A part of a local file.
    Local(LocalPiece),
}

/// A piece that the node has.
#[derive(Debug)]
pub struct LocalPiece {
    /// What it must be, and how to fetch it if it is not.
    pub spare: SparePiece,
    /// Where it is.
    pub chunk: Chunk,
    /// From where to fetch it.
    pub refetch: Arc<dyn Refetch>,
}

/// Where a local piece is.
#[derive(Debug)]
pub enum Chunk {
    /// In a file of another layer, from `offset` on.
    Donor {
        /// Root of that layer.
        root: Arc<Dir>,
        /// The file.
        path: Arc<[u8]>,
        /// Offset in it, in bytes.
        offset: u64,
        /// May its blocks be shared? Only if nobody can be writing to it: what is shared is not what was hashed, should
        /// it change in between.
        may_share: bool,
        /// It goes as soon as the layer is there: what is shared with it is the layer's own.
        goes: bool,
        /// Who says that it is there.
        lender: Option<Arc<dyn Lender>>,
    },
    /// It comes earlier in this layer.
    Repeat(Promised),
}

impl FilePiece {
    /// Length in the file, in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Fetched(piece, _) => piece.len,
            Self::Local(piece) => piece.spare.described.len,
        }
    }

    /// Must the file have its length before it is written?
    pub(crate) fn may_leave_a_hole(&self) -> bool {
        matches!(self, Self::Fetched(FetchedPiece { frames: None, .. }, _))
    }

    /// The digest that its bytes are compared with; those of a hole are not.
    pub(crate) fn proven(&self) -> Option<Digest> {
        match self {
            Self::Fetched(piece, _) => piece.frames.as_ref().and(piece.digest),
            Self::Local(piece) => piece.spare.blob.and(piece.spare.described.digest),
        }
    }

    /// Bytes that a piece of `len` bytes, `compressed` of them in the blob, holds in memory: as it came and decoded.
    /// A hole has none of either.
    pub fn weight(len: u64, compressed: u64) -> u64 {
        len.saturating_add(compressed).saturating_add(OVERHEAD)
    }
}

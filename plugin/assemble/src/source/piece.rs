//! A piece of a file as the blob has it, and whom to ask for it once more.

use std::fmt;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::{ByteRange, Digest};

/// A fetched piece of a file: compressed frames, or a hole.
#[derive(Debug, Clone)]
pub struct FetchedPiece {
    /// Offset in the blob, for errors.
    pub offset: u64,
    /// Decoded length in bytes.
    pub len: u64,
    /// Digest of the decoded bytes, if they are to be compared with it. Else the DiffID alone proves them.
    pub digest: Option<Digest>,
    /// The zstd frames; `None` for a hole.
    pub frames: Option<Bytes>,
    /// Who is asked for the frames once more, should they be wrong.
    pub again: Option<Arc<dyn Refetch>>,
}

/// A piece that can be fetched, should the local one be bad.
#[derive(Debug, Clone)]
pub struct SparePiece {
    /// Offset in the blob, decoded length and digest; without frames.
    pub described: FetchedPiece,
    /// Its frames in the blob; `None` for a hole.
    pub blob: Option<ByteRange>,
}

/// What a layer's blob still offers while the layer is built. Called on threads of the layer that may be held up,
/// except where a method says otherwise.
pub trait Refetch: fmt::Debug + Send + Sync {
    /// The pieces of the layer's file number `file`, in order.
    fn pieces(&self, file: usize) -> Vec<SparePiece>;

    /// The bytes of `range` of the blob, fetched now. It ends with an error as soon as the layer's job does.
    fn read(&self, range: ByteRange) -> Box<dyn Read + Send>;

    /// The bytes of `range` of the blob once more, because those that came are wrong; from somebody else, if there is
    /// anybody. `None` when it was asked too often.
    fn again(&self, range: ByteRange) -> Option<Box<dyn Read + Send>>;

    /// Told of every local file that turned out unusable: the entry it was meant for, and what is wrong with it. Called
    /// by workers, which must not wait here.
    fn spoiled(&self, path: &[u8], reason: &str);
}

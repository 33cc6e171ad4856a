//! A layer's blob as the place to go when a local file is not what was expected.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chunked_assemble::{FetchedPiece, Refetch, SparePiece};
use chunked_core::{ByteRange, Digest};
use chunked_fetch::FetchOptions;
use chunked_registry::Blob;
use chunked_toc::{LayerIndex, Piece, PieceKind};
use tokio::runtime::Handle;

use crate::report::Counters;
use crate::source::{BlobReader, Source};

/// Fetches single pieces from threads that are not tokio's.
#[derive(Debug)]
pub(crate) struct BlobSpare {
    pub(crate) layer: Digest,
    pub(crate) index: Arc<LayerIndex>,
    pub(crate) blob: Blob,
    pub(crate) options: FetchOptions,
    pub(crate) counters: Arc<Counters>,
    pub(crate) runtime: Handle,
    /// How often wrong bytes were asked for again.
    pub(crate) asked_again: AtomicUsize,
    /// The transfer of the layer failed: nothing else is tried.
    pub(crate) given_up: AtomicBool,
}

impl BlobSpare {
    /// From now on nothing can be had here.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// Pieces asked for again for wrong bytes, per layer. Beyond that the whole blob is the better way.
const MAX_AGAIN: usize = 64;

/// Describes `piece` without its frames.
pub(crate) fn described(piece: &Piece) -> FetchedPiece {
    FetchedPiece { offset: piece.blob.start, len: piece.len, digest: piece.digest, frames: None, again: None }
}

/// `piece` as one to be fetched in need.
pub(crate) fn spare(piece: &Piece) -> SparePiece {
    let blob = (piece.kind == PieceKind::Data).then_some(piece.blob);
    SparePiece { described: described(piece), blob }
}

impl Refetch for BlobSpare {
    fn pieces(&self, file: usize) -> Vec<SparePiece> {
        let toc = &self.index.toc;
        toc.files.get(file).map(|file| toc.pieces_of(file).iter().map(spare).collect()).unwrap_or_default()
    }

    fn read(&self, range: ByteRange) -> Box<dyn Read + Send> {
        if self.given_up.load(Ordering::Relaxed) {
            return Box::new(GivenUp);
        }
        let _inside = self.runtime.enter();
        let segments = chunked_fetch::fetch(self.blob.clone(), vec![range], self.options.clone());
        Box::new(SpareReader(BlobReader::new(Source::new(segments, Arc::clone(&self.counters)))))
    }

    fn again(&self, range: ByteRange) -> Option<Box<dyn Read + Send>> {
        if self.asked_again.fetch_add(1, Ordering::Relaxed) >= MAX_AGAIN {
            return None;
        }
        tracing::warn!(layer = %self.layer, %range, "wrong bytes; asking for them again");
        // The registry itself, if a mirror may have sent them.
        self.runtime.block_on(self.blob.distrust_mirrors());
        Some(self.read(range))
    }

    fn spoiled(&self, path: &[u8], reason: &str) {
        let path = String::from_utf8_lossy(path);
        tracing::warn!(layer = %self.layer, %path, reason, "a local file cannot be used; fetching it instead");
    }
}

struct GivenUp;

impl Read for GivenUp {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the transfer of its layer failed"))
    }
}

struct SpareReader(BlobReader);

impl Read for SpareReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer);
        read.map_err(|error| self.0.error.take().map_or(error, io::Error::other))
    }
}

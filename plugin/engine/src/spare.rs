//! A layer's blob as the place to go when a local file is not what was expected.

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use chunked_assemble::{FetchedPiece, Refetch, SparePiece};
use chunked_core::{ByteRange, ObjectDigest};
use chunked_fetch::{FetchOptions, StopOnDrop};
use chunked_toc::{Piece, PieceKind};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::blob::LayerBlob;
use crate::opening::Opened;
use crate::report::Counters;
use crate::source::{BlobReader, Source};

/// Fetches single pieces from threads that are not tokio's.
#[derive(Debug)]
pub(crate) struct BlobSpare {
    pub(crate) layer: ObjectDigest,
    pub(crate) opened: Arc<Opened>,
    pub(crate) blob: LayerBlob,
    pub(crate) options: FetchOptions,
    pub(crate) counters: Arc<Counters>,
    pub(crate) runtime: Handle,
    /// How often wrong bytes were asked for again.
    pub(crate) asked_again: AtomicUsize,
    /// The layer's job is over, or its transfer failed: nothing else is tried.
    pub(crate) given_up: AtomicBool,
    /// Ends what is being read.
    pub(crate) reading: Arc<Reading>,
}

/// What is being read from a blob, by number.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    last: AtomicUsize,
    stops: Mutex<HashMap<usize, StopOnDrop>>,
}

/// Ends all reading from a layer's blob when it is dropped, wherever that is done.
#[derive(Debug)]
pub(crate) struct EndOnDrop(Arc<BlobSpare>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

impl BlobSpare {
    /// From now on nothing can be had here; who waits for something is told so.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::SeqCst);
        let stops = std::mem::take(&mut *self.reading.stops.lock());
        drop(stops);
    }

    /// For the job: what is fetched in need ends with it.
    pub(crate) fn end_on_drop(self: &Arc<Self>) -> EndOnDrop {
        EndOnDrop(Arc::clone(self))
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
        let toc = &self.opened.index.toc;
        toc.files.get(file).map(|file| toc.pieces_of(file).iter().map(spare).collect()).unwrap_or_default()
    }

    fn read(&self, range: ByteRange) -> Box<dyn Read + Send> {
        let _inside = self.runtime.enter();
        let segments = self.blob.fetch(vec![range], self.options.clone());
        let number = self.reading.last.fetch_add(1, Ordering::Relaxed);
        self.reading.stops.lock().insert(number, segments.stop_on_drop());
        // Looked at after that is noted: whoever gives up meanwhile sees it, or is seen here.
        if self.given_up.load(Ordering::SeqCst) {
            self.reading.stops.lock().remove(&number);
            return Box::new(GivenUp);
        }
        let reader = BlobReader::new(Source::new(segments, Arc::clone(&self.counters)));
        let (reading, counters) = (Arc::clone(&self.reading), Arc::clone(&self.counters));
        Box::new(SpareReader { reader, left: range.len(), number, reading, counters })
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

fn given_up() -> io::Error {
    io::Error::other("the transfer of its layer ended")
}

struct GivenUp;

impl Read for GivenUp {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(given_up())
    }
}

struct SpareReader {
    reader: BlobReader,
    /// Bytes of the range that have not come yet.
    left: u64,
    number: usize,
    reading: Arc<Reading>,
    counters: Arc<Counters>,
}

impl Read for SpareReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer);
        let read = read.map_err(|error| self.reader.error.take().map_or(error, io::Error::other))?;
        self.left = self.left.saturating_sub(read as u64);
        self.counters.again.fetch_add(read as u64, Ordering::Relaxed);
        // What was stopped looks like an end.
        if read == 0 && self.left > 0 && !buffer.is_empty() { Err(given_up()) } else { Ok(read) }
    }
}

impl Drop for SpareReader {
    fn drop(&mut self) {
        self.reading.stops.lock().remove(&self.number);
    }
}

//! Long files of zstd:chunked layers: written part by part, by several workers.

use std::sync::Arc;

use bytes::Bytes;
use chunked_core::Digest;
use chunked_verify::{Done, Part};

use crate::error::AssembleError;
use crate::source::decode::decode_stream;
use crate::source::file_piece::FilePiece;
use crate::source::growing::{End, Growing};
use crate::source::piece::FetchedPiece;
use crate::source::pieces::WritePieces;
use crate::source::promise::Promise;
use crate::work::budget::{MAX_BUFFERED, Permit};
use crate::work::dispatcher::Dispatcher;

/// Bytes that one worker decodes and writes at a time.
pub(crate) const GROUP: u64 = 1 << 20;
/// Pieces of a group at most.
const GROUP_PIECES: usize = 256;

/// A long file of a zstd:chunked layer.
#[derive(Debug)]
pub struct LongFile<'a> {
    dispatcher: &'a mut Dispatcher,
    file: Arc<Growing>,
    /// The digest of the first piece as it is checked, and the number of pieces so far.
    first: Option<Digest>,
    pieces: u64,
    group: Vec<FilePiece>,
    /// Memory that the group holds.
    permits: Vec<Permit>,
    weight: u64,
    /// Where the group begins in the file.
    offset: u64,
}

impl<'a> LongFile<'a> {
    pub(crate) fn new(dispatcher: &'a mut Dispatcher, file: Arc<Growing>) -> Self {
        let (group, permits) = (Vec::new(), Vec::new());
        Self { dispatcher, file, first: None, pieces: 0, group, permits, weight: 0, offset: 0 }
    }

    /// Waits for room for the next piece, which holds `weight` bytes ([`FilePiece::weight`]), before its bytes are taken.
    ///
    /// # Errors
    /// [`AssembleError`] of any worker so far.
    pub fn reserve(&mut self, weight: u64) -> Result<(), AssembleError> {
        if !self.group.is_empty() && self.weight.saturating_add(weight) > GROUP {
            self.flush()?;
        }
        let permit = match self.dispatcher.budget().now(weight) {
            Some(permit) => permit,
            None => {
                self.flush()?;
                self.dispatcher.permit(weight)?
            }
        };
        self.weight += weight;
        self.permits.push(permit);
        Ok(())
    }

    /// Adds the next piece, which is at hand and has its [room](Self::reserve). Unless it is a hole, it must not exceed
    /// [`crate::MAX_BUFFERED`].
    ///
    /// # Errors
    /// [`AssembleError`] of any worker so far.
    pub fn piece(&mut self, piece: FilePiece) -> Result<(), AssembleError> {
        self.count(piece.proven());
        self.group.push(piece);
        if self.weight >= GROUP || self.group.len() >= GROUP_PIECES {
            return self.flush();
        }
        self.dispatcher.check()
    }

    fn count(&mut self, proven: Option<Digest>) {
        self.first = if self.pieces == 0 { proven } else { self.first };
        self.pieces += 1;
    }

    /// Adds the next piece, a long one, decoding `compressed` here and now; then `promise` is kept.
    ///
    /// # Errors
    /// [`AssembleError`] when it does not decode to what `piece` says, or of any worker so far.
    pub fn long_piece(
        &mut self,
        piece: &FetchedPiece,
        compressed: impl std::io::Read + Send,
        promise: Option<Promise>,
    ) -> Result<(), AssembleError> {
        self.flush()?;
        self.count(piece.digest);
        self.dispatcher.flush()?;
        let (file, dispatcher) = (&self.file, &mut *self.dispatcher);
        // A decoder fills no more of a window than the piece has bytes. What the layer itself holds may be what is waited for.
        let windows = dispatcher.budget().windows_soon(piece.len.saturating_add(MAX_BUFFERED));
        let mut offset = self.offset;
        decode_stream(file.entry(), piece, compressed, &windows, |bytes: Bytes| {
            dispatcher.check()?;
            let permit = dispatcher.permit(bytes.len() as u64)?;
            file.write(&bytes, offset)?;
            offset += bytes.len() as u64;
            dispatcher.slot().fill(Done { parts: vec![Part::Bytes(bytes)], keep: Box::new(permit) });
            Ok(())
        })?;
        if let Some(promise) = promise {
            promise.keep(&file.made(self.offset));
        }
        self.offset = offset;
        Ok(())
    }

    /// Leaves out the next piece, of `len` bytes, which could not be had. The file can then only be
    /// [left](Self::leave).
    ///
    /// # Errors
    /// [`AssembleError`] of any worker so far.
    pub fn skip(&mut self, len: u64) -> Result<(), AssembleError> {
        self.flush()?;
        self.offset = self.offset.saturating_add(len);
        Ok(())
    }

    /// Ends a file that lacks something, for [`Extractor::settle`](crate::Extractor::settle).
    ///
    /// # Errors
    /// [`AssembleError`] of any worker so far.
    pub fn leave(mut self) -> Result<(), AssembleError> {
        self.flush()
    }

    fn flush(&mut self) -> Result<(), AssembleError> {
        let group = std::mem::take(&mut self.group);
        if group.is_empty() {
            return self.dispatcher.check();
        }
        self.weight = 0;
        let (start, permits) = (self.offset, std::mem::take(&mut self.permits));
        self.offset += group.iter().map(FilePiece::size).sum::<u64>();
        self.file.enter();
        let job = WritePieces::new(Arc::clone(&self.file), group, start);
        self.dispatcher.start(Box::new(job), permits)
    }

    /// Ends the file; `promises` are kept when it is complete.
    ///
    /// # Errors
    /// [`AssembleError`]; also when the pieces do not add up to the file's size.
    pub fn finish(mut self, promises: Vec<Promise>) -> Result<(), AssembleError> {
        self.flush()?;
        if self.offset != self.file.new.size {
            return Err(AssembleError::entry(self.file.entry(), "its pieces do not add up to its size"));
        }
        let known = self.first.filter(|_| self.pieces == 1);
        self.file.end_with(End { promises, known });
        self.file.leave()
    }
}

/// True when a piece must go through [`LongFile::long_piece`].
pub fn is_long(piece_len: u64, compressed_len: u64) -> bool {
    piece_len > MAX_BUFFERED || compressed_len > MAX_BUFFERED
}

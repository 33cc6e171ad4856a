//! Files too long for one buffer: written part by part, by several workers.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chunked_core::{Digest, Sparse};
use chunked_verify::{DiffIdHasher, Done, Part};
use parking_lot::Mutex;

use crate::error::AssembleError;
use crate::source::content::FetchedPiece;
use crate::source::decode::{MAX_BUFFERED, decode_stream};
use crate::source::pieces::{FilePiece, Target};
use crate::source::promise::Promise;
use crate::source::twin::LargeTwin;
use crate::work::dispatcher::Dispatcher;
use crate::work::job::Job;
use crate::work::progress::{Progress, Proof, Stored};

/// Bytes that one worker decodes and writes at a time.
const GROUP: u64 = 1 << 20;

/// A file being written at several offsets at once. The last one to let go of it sets its metadata.
#[derive(Debug)]
pub(crate) struct BigFile {
    file: File,
    job: Job,
    size: u64,
    users: AtomicUsize,
    /// Kept when the file is complete.
    promises: Mutex<Vec<Promise>>,
}

impl BigFile {
    pub(crate) fn create(job: Job, size: u64) -> Result<Arc<Self>, AssembleError> {
        let file = job.create()?;
        // The length is set at once, so that holes, also a last one, need no write.
        file.set_len(size).map_err(AssembleError::io(&job.path, "setting the file's length"))?;
        Ok(Arc::new(Self { file, job, size, users: AtomicUsize::new(1), promises: Mutex::default() }))
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<(), AssembleError> {
        self.file.write_all_at(bytes, offset).map_err(AssembleError::io(&self.job.path, "writing the file"))
    }

    fn enter(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }

    fn leave(&self, progress: &Progress) -> Result<(), AssembleError> {
        if self.users.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        self.job.finish(&self.file)?;
        for promise in std::mem::take(&mut *self.promises.lock()) {
            promise.keep(&progress.made(&self.job.path, 0));
        }
        Ok(())
    }
}

/// A long file of a zstd:chunked layer.
#[derive(Debug)]
pub struct LongFile<'a> {
    dispatcher: &'a mut Dispatcher,
    file: Arc<BigFile>,
    digest: Digest,
    /// The digest of the first piece as it was checked, and the number of pieces so far.
    first: Option<Digest>,
    pieces: u64,
    group: Vec<FilePiece>,
    weight: u64,
    /// Where the group begins in the file.
    offset: u64,
}

impl<'a> LongFile<'a> {
    pub(crate) fn new(dispatcher: &'a mut Dispatcher, file: Arc<BigFile>, digest: Digest) -> Self {
        Self { dispatcher, file, digest, first: None, pieces: 0, group: Vec::new(), weight: 0, offset: 0 }
    }

    /// Adds the next piece, which is at hand. Unless it is a hole, it must not exceed [`crate::MAX_BUFFERED`].
    ///
    /// # Errors
    /// [`AssembleError`] of any worker so far.
    pub fn piece(&mut self, piece: FilePiece) -> Result<(), AssembleError> {
        self.weight += piece.weight();
        self.count(piece.proven());
        self.group.push(piece);
        if self.weight >= GROUP || self.group.len() >= 256 { self.flush() } else { Ok(()) }
    }

    fn count(&mut self, proven: Option<Digest>) {
        self.first = if self.pieces == 0 { proven } else { self.first };
        self.pieces += 1;
    }

    /// Adds the next piece, a long one, decoding `compressed` here and now; then `promise` is kept.
    ///
    /// # Errors
    /// [`AssembleError`] when it does not decode to what `piece` says.
    pub fn long_piece(
        &mut self,
        piece: &FetchedPiece,
        compressed: impl std::io::Read,
        promise: Option<Promise>,
    ) -> Result<(), AssembleError> {
        self.flush()?;
        self.count(piece.digest);
        let path = self.file.job.path.clone();
        let (file, dispatcher) = (&self.file, &*self.dispatcher);
        let mut offset = self.offset;
        decode_stream(&path, piece, compressed, |bytes| {
            let permit = dispatcher.permit(bytes.len() as u64);
            file.write(&bytes, offset)?;
            offset += bytes.len() as u64;
            dispatcher.slot().fill(Done { parts: vec![Part::Bytes(bytes)], keep: Box::new(permit) });
            Ok(())
        })?;
        if let Some(promise) = promise {
            promise.keep(&self.dispatcher.progress.made(&self.file.job.path, self.offset));
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
            return Ok(());
        }
        let permit = self.dispatcher.permit(std::mem::take(&mut self.weight));
        let (file, slot, start) = (Arc::clone(&self.file), self.dispatcher.slot(), self.offset);
        self.offset += group.iter().map(FilePiece::size).sum::<u64>();
        file.enter();
        self.dispatcher.run(move |progress| {
            let mut parts = Vec::with_capacity(group.len());
            let target = Target { file: &file.file, job: &file.job, progress };
            let done = target.pieces(group, start, &mut parts).and_then(|()| file.leave(progress));
            match done {
                Ok(()) => slot.fill(Done { parts, keep: Box::new(permit) }),
                Err(error) => progress.fail(error),
            }
        });
        self.dispatcher.flush()
    }

    /// Ends the file; `promises` are kept when it is complete.
    ///
    /// # Errors
    /// [`AssembleError`]; also when the pieces do not add up to the file's size.
    pub fn finish(mut self, promises: Vec<Promise>) -> Result<(), AssembleError> {
        self.flush()?;
        let path = &self.file.job.path;
        if self.offset != self.file.size {
            return Err(AssembleError::entry(path, "its pieces do not add up to its size"));
        }
        let known = self.first.filter(|_| self.pieces == 1);
        let proof = Proof::of(known, self.digest);
        let stored = Stored { path: path.clone(), digest: self.digest, size: self.file.size, proof };
        self.dispatcher.progress.stored(stored);
        *self.file.promises.lock() = promises;
        self.file.leave(&self.dispatcher.progress)
    }
}

/// A long file of a plain layer: its payload comes in order, already decoded and hashed for the DiffID.
#[derive(Debug)]
pub(crate) struct Streamed {
    file: Arc<BigFile>,
    digest: DiffIdHasher,
    held: Vec<Bytes>,
    weight: u64,
    /// Where the payload still to come lies in the file: offset and length of each part.
    parts: VecDeque<(u64, u64)>,
}

/// The digest of a streamed file, still being computed.
#[derive(Debug)]
pub(crate) struct Pending {
    file: Arc<BigFile>,
    digest: DiffIdHasher,
}

impl Streamed {
    pub(crate) fn new(file: Arc<BigFile>, sparse: Option<Sparse>) -> Result<Self, AssembleError> {
        let parts = sparse.map_or_else(|| vec![(0, file.size)], |sparse| sparse.parts).into();
        Ok(Self { file, digest: DiffIdHasher::start(16)?, held: Vec::new(), weight: 0, parts })
    }

    pub(crate) fn write(&mut self, bytes: Bytes, dispatcher: &Dispatcher) {
        self.digest.bytes(bytes.clone());
        self.weight += bytes.len() as u64;
        self.held.push(bytes);
        if self.weight >= GROUP || dispatcher.budget_is_tight() {
            self.flush(dispatcher);
        }
    }

    fn flush(&mut self, dispatcher: &Dispatcher) {
        let mut writes = Vec::with_capacity(self.held.len());
        for mut bytes in std::mem::take(&mut self.held) {
            while let (false, Some((offset, room))) = (bytes.is_empty(), self.parts.front_mut()) {
                let n = usize::try_from(*room).map_or(bytes.len(), |room| room.min(bytes.len()));
                writes.push((*offset, bytes.split_to(n)));
                *offset += n as u64;
                *room -= n as u64;
                if *room == 0 {
                    self.parts.pop_front();
                }
            }
        }
        self.weight = 0;
        let file = Arc::clone(&self.file);
        file.enter();
        dispatcher.run(move |progress| {
            let written = writes.iter().try_for_each(|(offset, bytes)| file.write(bytes, *offset));
            if let Err(error) = written.and_then(|()| file.leave(progress)) {
                progress.fail(error);
            }
        });
    }

    pub(crate) fn close(mut self, dispatcher: &Dispatcher) -> Result<Pending, AssembleError> {
        self.flush(dispatcher);
        self.file.leave(&dispatcher.progress)?;
        Ok(Pending { file: self.file, digest: self.digest })
    }
}

impl Pending {
    pub(crate) fn finish(self, progress: &Progress) -> Result<(), AssembleError> {
        let (digest, size) = self.digest.finish()?;
        // Of a sparse file the payload was hashed, not the content: it cannot be a donor.
        if size != self.file.size {
            return Ok(());
        }
        let donor = progress.known.as_ref().and_then(|known| known.find(&[(digest, size)]).pop().flatten());
        if let Some(donor) = donor {
            progress.twin(LargeTwin::new(&self.file.job, donor));
        }
        let path = self.file.job.path.clone();
        progress.stored(Stored { path, digest, size, proof: Proof::Whole });
        Ok(())
    }
}

/// True when a piece must go through [`LongFile::long_piece`].
pub fn is_long(piece_len: u64, compressed_len: u64) -> bool {
    piece_len > MAX_BUFFERED || compressed_len > MAX_BUFFERED
}

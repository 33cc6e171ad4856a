//! The extractor: one for every layer format.
//!
//! A layer is a sequence of raw tar bytes and payloads. For plain layers all of it comes through
//! [`Extractor::stream`]; for zstd:chunked ones headers come through [`Extractor::raw`] and payloads through
//! [`Extractor::pieces`], [`Extractor::donor`], [`Extractor::foreign`], [`Extractor::promised`] and
//! [`Extractor::long_file`]. Metadata is always read from the real tar headers.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use chunked_core::{Digest, Entry, Kind, Sparse};
use chunked_tar::{Event, Machine};

use crate::error::{AssembleError, lossy};
use crate::report::Extracted;
use crate::source::donor::{Donor, FromDonor};
use crate::source::file::{MakeFile, NewFile, Source};
use crate::source::file_piece::FilePiece;
use crate::source::growing::{End, Growing};
use crate::source::host::{Foreign, FromHost};
use crate::source::inline::Inline;
use crate::source::long::LongFile;
use crate::source::pieces::FromPieces;
use crate::source::promise::{Promise, Promised};
use crate::source::promised::FromPromise;
use crate::source::refetch::Spare;
use crate::source::streamed::{Pending, Streamed};
use crate::source::twin::{Known, LargeTwin, Twins};
use crate::staging::Staging;
use crate::work::budget::Budget;
use crate::work::crew::Prepare;
use crate::work::dispatcher::Dispatcher;
use crate::work::job::Job;
use crate::work::node::{MakeNode, What};
use crate::work::pool::Pool;
use crate::work::progress::CancelOnDrop;
use crate::work::target::Target;

/// Files beyond this many bytes are written part by part.
pub const BIG_FILE: u64 = 1 << 20;

/// Streamed files whose digests may be pending at once: each has a thread.
const PENDING_DIGESTS: usize = 4;

/// What an [`Extractor`] works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Workers, shared by all layers.
    pub pool: Arc<Pool>,
    /// Who takes turns with others at the workers: all layers of one owner, which is a registry, have one turn.
    pub owner: Arc<str>,
    /// Decoded bytes this layer may hold in memory.
    pub budget: Arc<Budget>,
    /// True for the lowest layer of an image: whiteouts remove within the layer and leave nothing.
    pub base: bool,
    /// Files that the node has, for a layer that comes whole: they need not take room twice.
    pub known: Option<Arc<dyn Known>>,
    /// What keeps the tree on the disk, for others that take files from it.
    pub lease: Option<Weak<dyn Any + Send + Sync>>,
}

/// The file whose payload is awaited.
#[derive(Debug)]
enum Open {
    None,
    /// A file whose payload follows; not yet handed to a worker.
    Small(Awaited),
    /// A long payload that is written as it comes.
    Big {
        file: Box<Streamed>,
        left: u64,
    },
}

/// A file, and what has come of its payload.
#[derive(Debug)]
struct Awaited {
    target: Box<Target>,
    /// Bytes of payload.
    size: u64,
    sparse: Option<Sparse>,
    data: Vec<Bytes>,
    have: u64,
}

impl Awaited {
    /// The job that makes it of what has come.
    fn job(self) -> Box<dyn Job> {
        let file = NewFile { target: *self.target, size: self.size, digest: None };
        Box::new(MakeFile { file, source: Box::new(Inline::new(self.data, self.sparse)) })
    }
}

/// One layer being unpacked. Used by one thread; it blocks while memory or queues are full.
#[derive(Debug)]
pub struct Extractor {
    /// Whoever drops it has given the layer up, or has it.
    _cancel: CancelOnDrop,
    dispatcher: Dispatcher,
    machine: Machine,
    staging: Staging,
    open: Open,
    known: Option<Arc<dyn Known>>,
    /// Digests of streamed files.
    pending: Vec<Pending>,
    /// Large files that the node has, to be joined with what it has when everything is written.
    twins: Vec<LargeTwin>,
}

impl Extractor {
    /// Begins a layer in the empty directory `root`.
    ///
    /// # Errors
    /// When the directory cannot be opened or no thread started.
    pub fn new(root: &Path, settings: Settings) -> Result<Self, AssembleError> {
        let Settings { pool, owner, budget, base, known, lease } = settings;
        let prepare = known.clone().map(|known| Box::new(Twins(known)) as Box<dyn Prepare>);
        let dispatcher = Dispatcher::new((pool, owner), Arc::clone(&budget), prepare)?;
        Ok(Self {
            _cancel: CancelOnDrop::new(dispatcher.progress()),
            machine: Machine::new(),
            staging: Staging::new(root, base, budget, Arc::clone(dispatcher.progress()), lease)?,
            dispatcher,
            open: Open::None,
            known,
            pending: Vec::new(),
            twins: Vec::new(),
        })
    }

    /// For whoever waits for the thread that uses the extractor: the layer is given up, and that thread comes back,
    /// when this is dropped.
    pub fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop::new(self.dispatcher.progress())
    }

    /// Adds tar bytes, headers and payloads as they come, of a plain layer.
    ///
    /// # Errors
    /// [`AssembleError`]; the extractor must not be used after one.
    pub fn stream(&mut self, bytes: Bytes) -> Result<(), AssembleError> {
        self.dispatcher.hash(bytes.clone());
        self.feed(bytes)?;
        if self.dispatcher.budget_is_tight() {
            self.dispatcher.flush()?;
        }
        Ok(())
    }

    /// Hands on what is held back, because the layer waits for memory.
    ///
    /// # Errors
    /// [`AssembleError`]; the extractor must not be used after one.
    pub fn hand_on(&mut self) -> Result<(), AssembleError> {
        if let Open::Big { file, .. } = &mut self.open {
            file.flush(&self.dispatcher);
        }
        self.dispatcher.flush()
    }

    /// Adds raw tar bytes of a zstd:chunked layer's tar-split: headers and padding, also payload that stands
    /// there.
    ///
    /// # Errors
    /// [`AssembleError`]; the extractor must not be used after one.
    pub fn raw(&mut self, bytes: Bytes) -> Result<(), AssembleError> {
        self.dispatcher.raw(bytes.clone())?;
        self.feed(bytes)
    }

    fn feed(&mut self, mut bytes: Bytes) -> Result<(), AssembleError> {
        while let Some(event) = self.machine.next(&mut bytes)? {
            match event {
                Event::Entry(entry) => self.entry(entry)?,
                Event::Data(data) => self.data(data)?,
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: Entry) -> Result<(), AssembleError> {
        self.close()?;
        self.dispatcher.check()?;
        // Ignored entries (the root, whiteouts of the lowest layer) may still have payload to pass over.
        let Some(target) = self.staging.place(&entry)? else { return Ok(()) };
        match entry.kind {
            Kind::File { size, sparse } => {
                let file = Awaited { target: Box::new(target), size, sparse, data: Vec::new(), have: 0 };
                if size == 0 {
                    return self.dispatcher.push(file.job(), 0);
                }
                self.open = Open::Small(file);
                Ok(())
            }
            kind => match What::of(kind) {
                Some(what) => self.dispatcher.push(Box::new(MakeNode { target, what }), 0),
                None => Ok(()),
            },
        }
    }

    /// Payload bytes from the tar stream itself.
    fn data(&mut self, bytes: Bytes) -> Result<(), AssembleError> {
        match &mut self.open {
            Open::None => Ok(()),
            Open::Small(file) => {
                file.have += bytes.len() as u64;
                file.data.push(bytes);
                if file.have == file.size {
                    return self.close();
                }
                if file.size > BIG_FILE { self.grow() } else { Ok(()) }
            }
            Open::Big { file, left } => {
                *left = left.saturating_sub(bytes.len() as u64);
                file.write(bytes, &self.dispatcher)?;
                if *left == 0 { self.close() } else { Ok(()) }
            }
        }
    }

    /// Turns the open small file into a streamed one.
    fn grow(&mut self) -> Result<(), AssembleError> {
        if let Open::Small(Awaited { target, size, sparse, data, have }) =
            std::mem::replace(&mut self.open, Open::None)
        {
            let real_size = sparse.as_ref().map_or(size, |sparse| sparse.real_size);
            let new = NewFile { target: *target, size: real_size, digest: None };
            let mut file = Box::new(Streamed::new(Growing::create(new, End::default())?, sparse)?);
            for bytes in data {
                file.write(bytes, &self.dispatcher)?;
            }
            self.open = Open::Big { file, left: size - have };
        }
        Ok(())
    }

    /// Hands the open file on, complete or not (an incomplete one is the machine's error to report).
    fn close(&mut self) -> Result<(), AssembleError> {
        match std::mem::replace(&mut self.open, Open::None) {
            Open::None => Ok(()),
            Open::Small(file) => {
                let have = file.have;
                self.dispatcher.push(file.job(), have)
            }
            Open::Big { file, .. } => {
                self.pending.push(file.close(&self.dispatcher)?);
                self.take_digests(PENDING_DIGESTS - 1)
            }
        }
    }

    /// Waits for the digests of streamed files until at most `left` are pending.
    fn take_digests(&mut self, left: usize) -> Result<(), AssembleError> {
        while self.pending.len() > left {
            let done = self.pending.remove(0).finish()?;
            if let (Some((file, digest)), Some(known)) = (done, &self.known) {
                self.twins.extend(LargeTwin::find(&**known, &file.new, digest));
            }
        }
        Ok(())
    }

    /// The file that awaits a payload of `size` bytes from outside the tar stream.
    fn awaiting(&mut self, size: u64, digest: Digest) -> Result<NewFile, AssembleError> {
        self.machine.take_payload(size)?;
        match std::mem::replace(&mut self.open, Open::None) {
            Open::Small(Awaited { target, sparse: None, .. }) => {
                Ok(NewFile { target: *target, size, digest: Some(digest) })
            }
            Open::Small(file) => Err(AssembleError::NotChunked {
                path: lossy(file.target.entry()),
                reason: "it is a sparse file, which the TOC cannot describe",
            }),
            _ => Err(AssembleError::NotChunked {
                path: String::new(),
                reason: "an entry that is no file has payload in the TOC",
            }),
        }
    }

    /// Hands on the file just announced, to be made from `source`; `held` bytes of it are in memory at some time.
    fn make(
        &mut self,
        size: u64,
        digest: Digest,
        held: u64,
        source: Box<dyn Source>,
    ) -> Result<(), AssembleError> {
        let file = self.awaiting(size, digest)?;
        self.dispatcher.charge(held)?;
        self.dispatcher.push_payload(Box::new(MakeFile { file, source }), size)
    }

    /// The file just announced has its content in another layer; `spare` in case that is bad.
    ///
    /// # Errors
    /// [`AssembleError`]; also when the headers announced no payload of `size` bytes here.
    pub fn donor(
        &mut self,
        size: u64,
        digest: Digest,
        donor: Donor,
        spare: Spare,
    ) -> Result<(), AssembleError> {
        self.make(size, digest, size.min(BIG_FILE), Box::new(FromDonor { donor, spare }))
    }

    /// The file just announced has its content in a file that is not ours; `spare` in case that is bad.
    ///
    /// # Errors
    /// [`AssembleError`]; also when the headers announced no payload of `size` bytes here.
    pub fn foreign(
        &mut self,
        size: u64,
        digest: Digest,
        source: Arc<dyn Foreign>,
        spare: Spare,
    ) -> Result<(), AssembleError> {
        self.make(size, digest, size.min(BIG_FILE), Box::new(FromHost { source, spare }))
    }

    /// The file just announced has the content that `promised` tells of, sooner or later: earlier in this layer,
    /// or in one that is being made. Its digest is checked: who promised it has it from a TOC, perhaps another's.
    ///
    /// # Errors
    /// [`AssembleError`]; also when the headers announced no payload of `size` bytes here.
    pub fn promised(
        &mut self,
        size: u64,
        digest: Digest,
        promised: &Promised,
        spare: Spare,
    ) -> Result<(), AssembleError> {
        let file = self.awaiting(size, digest)?;
        let source = Box::new(FromPromise { promised: promised.clone(), spare });
        let permit = self.dispatcher.permit(size.min(BIG_FILE))?;
        self.dispatcher.start(Box::new(MakeFile { file, source }), vec![permit])
    }

    /// Waits for room for the pieces of the file just announced, which hold `weight` bytes together
    /// ([`FilePiece::weight`]), before their bytes are taken.
    ///
    /// # Errors
    /// [`AssembleError`]; the extractor must not be used after one.
    pub fn reserve(&mut self, weight: u64) -> Result<(), AssembleError> {
        self.dispatcher.charge(weight)
    }

    /// The file just announced consists of pieces, all at hand, together `size` bytes, for which there is
    /// [room](Self::reserve); `promises` are kept when it is complete.
    ///
    /// # Errors
    /// [`AssembleError`]; also when the headers announced no payload of `size` bytes here.
    pub fn pieces(
        &mut self,
        size: u64,
        digest: Digest,
        pieces: Vec<FilePiece>,
        promises: Vec<Promise>,
    ) -> Result<(), AssembleError> {
        let file = self.awaiting(size, digest)?;
        let source = Box::new(FromPieces { pieces, promises });
        self.dispatcher.push_payload(Box::new(MakeFile { file, source }), size)
    }

    /// Begins the file just announced as one whose pieces come one by one. Its bytes are hashed in the order in
    /// which they are given.
    ///
    /// # Errors
    /// [`AssembleError`]; also when the headers announced no payload of `size` bytes here.
    pub fn long_file(&mut self, size: u64, digest: Digest) -> Result<LongFile<'_>, AssembleError> {
        let file = self.awaiting(size, digest)?;
        self.dispatcher.flush()?;
        let file = Growing::create(file, End::default())?;
        file.set_len()?;
        Ok(LongFile::new(&mut self.dispatcher, file))
    }

    /// The file just announced, of `size` bytes, could not be had. The layer can then only be
    /// [settled](Self::settle).
    ///
    /// # Errors
    /// [`AssembleError`]; also when the headers announced no payload of `size` bytes here.
    pub fn skip(&mut self, size: u64) -> Result<(), AssembleError> {
        self.awaiting(size, Digest::of(b"")).map(drop)
    }

    /// Gives the layer up, once everything that was handed over is on its way to the disk's cache: another try takes
    /// it from there. What waits for content that others make is not waited for.
    pub fn settle(mut self) {
        // What went wrong in it does not matter any more.
        let _ = self.dispatcher.settle();
    }

    /// Ends the layer: all files written, links made, directories given their metadata, the DiffID computed.
    ///
    /// # Errors
    /// [`AssembleError`] of any entry or worker.
    pub fn finish(mut self) -> Result<Extracted, AssembleError> {
        self.machine.finish()?;
        self.close()?;
        self.take_digests(0)?;
        self.dispatcher.barrier()?;
        // Before anything is linked to them, and before their directories get their times.
        for twin in std::mem::take(&mut self.twins) {
            self.dispatcher.run(twin.path().to_vec(), move || twin.join());
        }
        self.dispatcher.barrier()?;
        self.staging.tidy(&mut self.dispatcher)?;
        let dispatcher = &self.dispatcher;
        self.staging.whiteouts(&|| dispatcher.check())?;
        for job in self.staging.directories()? {
            self.dispatcher.push(Box::new(job), 0)?;
        }
        self.dispatcher.barrier()?;
        let (diff_id, tar_bytes) = self.dispatcher.finish()?;
        Ok(self.staging.extracted(diff_id, tar_bytes))
    }
}

//! The extractor: one for every layer format.
//!
//! A layer is a sequence of raw tar bytes and payloads. For plain layers all of it comes through
//! [`Extractor::stream`]; for zstd:chunked ones headers come through [`Extractor::raw`] and payloads through
//! [`Extractor::pieces`], [`Extractor::donor`], [`Extractor::foreign`], [`Extractor::promised`] and
//! [`Extractor::long_file`]. Metadata is always read from the real tar headers.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::{Digest, Entry, Kind};
use chunked_tar::{Event, Machine};
use chunked_verify::Done;

use crate::error::AssembleError;
use crate::source::content::{Content, Donor};
use crate::source::host::Foreign;
use crate::source::long::{BigFile, LongFile, Streamed};
use crate::source::pieces::FilePiece;
use crate::source::promise::{Promise, Promised};
use crate::source::refetch::Spare;
use crate::source::twin::{Known, join_all};
use crate::staging::Staging;
use crate::work::budget::Budget;
use crate::work::dispatcher::Dispatcher;
use crate::work::entry::Placed;
use crate::work::progress::{Extracted, Progress};
use crate::work::unit::Pool;

/// Files beyond this many bytes are written part by part.
pub const BIG_FILE: u64 = 1 << 20;

/// What an [`Extractor`] works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Workers, shared by all layers.
    pub pool: Arc<Pool>,
    /// Decoded bytes this layer may hold in memory.
    pub budget: Arc<Budget>,
    /// True for the lowest layer of an image: whiteouts remove within the layer and leave nothing.
    pub base: bool,
    /// Files that the node has, for a layer that comes whole: they need not take room twice.
    pub known: Option<Arc<dyn Known>>,
}

/// The file whose payload is awaited.
#[derive(Debug)]
enum Open {
    None,
    /// A file whose payload follows; not yet handed to a worker.
    Small {
        placed: Placed,
        entry: Box<Entry>,
        data: Vec<Bytes>,
        have: u64,
    },
    /// A long payload that is written as it comes.
    Big {
        file: Box<Streamed>,
        left: u64,
    },
}

/// One layer being unpacked. Used by one thread; it blocks while memory or queues are full.
#[derive(Debug)]
pub struct Extractor {
    dispatcher: Dispatcher,
    machine: Machine,
    place: Staging,
    open: Open,
}

impl Extractor {
    /// Begins a layer in the empty directory `root`.
    ///
    /// # Errors
    /// When the directory cannot be opened or no thread started.
    pub fn new(root: &Path, settings: Settings) -> Result<Self, AssembleError> {
        let place = Staging::new(root, settings.base)?;
        let progress = Progress::new(place.root(), settings.known);
        Ok(Self {
            place,
            dispatcher: Dispatcher::new(settings.pool, settings.budget, progress)?,
            machine: Machine::new(),
            open: Open::None,
        })
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

    /// Adds raw tar bytes of a zstd:chunked layer's tar-split: headers and padding, also payload that stands
    /// there.
    ///
    /// # Errors
    /// [`AssembleError`]; the extractor must not be used after one.
    pub fn raw(&mut self, bytes: Bytes) -> Result<(), AssembleError> {
        self.dispatcher.raw(bytes.clone());
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
        // Ignored entries (the root, whiteouts of the lowest layer) may still have payload to pass over.
        let Some(placed) = self.place.entry(&entry, &mut self.dispatcher)? else { return Ok(()) };
        let len = entry.payload_len();
        if matches!(entry.kind, Kind::File { .. }) && len > 0 {
            self.open = Open::Small { placed, entry: Box::new(entry), data: Vec::new(), have: 0 };
            return Ok(());
        }
        let job = placed.job(entry, Content::none(), None);
        self.dispatcher.push(job, 0)
    }

    /// Payload bytes from the tar stream itself.
    fn data(&mut self, bytes: Bytes) -> Result<(), AssembleError> {
        match &mut self.open {
            Open::None => Ok(()),
            Open::Small { entry, data, have, .. } => {
                let len = entry.payload_len();
                *have += bytes.len() as u64;
                data.push(bytes);
                if *have == len {
                    return self.close();
                }
                if len > BIG_FILE { self.grow(len) } else { Ok(()) }
            }
            Open::Big { file, left } => {
                *left = left.saturating_sub(bytes.len() as u64);
                file.write(bytes, &self.dispatcher);
                if *left == 0 { self.close() } else { Ok(()) }
            }
        }
    }

    /// Turns the open small file into a streamed one.
    fn grow(&mut self, len: u64) -> Result<(), AssembleError> {
        if let Open::Small { placed, entry, data, have } = std::mem::replace(&mut self.open, Open::None) {
            let sparse = match &entry.kind {
                Kind::File { sparse, .. } => sparse.clone(),
                _ => None,
            };
            let real_size = sparse.as_ref().map_or(len, |sparse| sparse.real_size);
            let job = placed.job(*entry, Content::none(), None);
            let mut file = Box::new(Streamed::new(BigFile::create(job, real_size)?, sparse)?);
            for bytes in data {
                file.write(bytes, &self.dispatcher);
            }
            self.open = Open::Big { file, left: len - have };
        }
        Ok(())
    }

    /// Hands the open file on, complete or not (an incomplete one is the machine's error to report).
    fn close(&mut self) -> Result<(), AssembleError> {
        match std::mem::replace(&mut self.open, Open::None) {
            Open::None => Ok(()),
            Open::Small { placed, entry, data, have } => {
                let job = placed.job(*entry, Content::Inline { data, twin: None }, None);
                self.dispatcher.push(job, have)
            }
            Open::Big { file, .. } => {
                let digest = file.close(&self.dispatcher)?;
                self.dispatcher.pend(digest)
            }
        }
    }

    /// The file that awaits a payload of `size` bytes from outside the tar stream.
    fn awaiting(&mut self, size: u64) -> Result<(Placed, Entry), AssembleError> {
        self.machine.take_payload(size)?;
        match std::mem::replace(&mut self.open, Open::None) {
            Open::Small { placed, entry, .. } if !is_sparse(&entry) => Ok((placed, *entry)),
            Open::Small { entry, .. } => Err(AssembleError::NotChunked {
                path: crate::error::lossy(&entry.path),
                reason: "it is a sparse file, which the TOC cannot describe",
            }),
            _ => Err(AssembleError::NotChunked {
                path: String::new(),
                reason: "an entry that is no file has payload in the TOC",
            }),
        }
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
        let (placed, entry) = self.awaiting(size)?;
        self.dispatcher.charge(size.min(BIG_FILE))?;
        let job = placed.job(entry, Content::Donor(donor, spare), Some(digest));
        self.dispatcher.push(job, size)
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
        let (placed, entry) = self.awaiting(size)?;
        self.dispatcher.charge(size.min(BIG_FILE))?;
        let job = placed.job(entry, Content::Foreign(source, spare), Some(digest));
        self.dispatcher.push(job, size)
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
        let (placed, entry) = self.awaiting(size)?;
        // What is waited for may be in the unit being filled.
        self.dispatcher.flush()?;
        let (permit, slot) = (self.dispatcher.permit(size.min(BIG_FILE)), self.dispatcher.slot());
        self.dispatcher.progress.inodes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.dispatcher.later(promised, move |progress, made| {
            let mut parts = Vec::with_capacity(1);
            let done = match made {
                Some(made) => {
                    let donor = Donor {
                        root: made.root,
                        path: made.path.to_vec(),
                        may_link: false,
                        may_share: true,
                        fresh: true,
                        check: true,
                        lender: None,
                    };
                    placed.job(entry, Content::Donor(donor, spare), Some(digest)).run(&mut parts, progress)
                }
                None => placed.job(entry, Content::none(), Some(digest)).fetch(&spare, &mut parts, progress),
            };
            match done {
                Ok(()) => slot.fill(Done { parts, keep: Box::new(permit) }),
                Err(error) => progress.fail(error),
            }
        });
        Ok(())
    }

    /// The file just announced consists of pieces, all at hand, together `size` bytes; `promises` are kept when it
    /// is complete.
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
        let (placed, entry) = self.awaiting(size)?;
        self.dispatcher.charge(size)?;
        let job = placed.job(entry, Content::Pieces { pieces, promises }, Some(digest));
        self.dispatcher.push(job, size)
    }

    /// Begins the file just announced as one whose pieces come one by one. Its bytes are hashed in the order in
    /// which they are given.
    ///
    /// # Errors
    /// [`AssembleError`]; also when the headers announced no payload of `size` bytes here.
    pub fn long_file(&mut self, size: u64, digest: Digest) -> Result<LongFile<'_>, AssembleError> {
        let (placed, entry) = self.awaiting(size)?;
        self.dispatcher.flush()?;
        self.dispatcher.progress.inodes.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let job = placed.job(entry, Content::none(), Some(digest));
        let file = BigFile::create(job, size)?;
        Ok(LongFile::new(&mut self.dispatcher, file, digest))
    }

    /// The file just announced, of `size` bytes, could not be had. The layer can then only be
    /// [settled](Self::settle).
    ///
    /// # Errors
    /// [`AssembleError`]; also when the headers announced no payload of `size` bytes here.
    pub fn skip(&mut self, size: u64) -> Result<(), AssembleError> {
        self.awaiting(size).map(drop)
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
        self.dispatcher.barrier()?;
        // Before anything is linked to them, and before their directories get their times.
        let twins = self.dispatcher.progress.take_twins();
        if !twins.is_empty() {
            join_all(&self.place.root(), twins, |work| self.dispatcher.run(work));
            self.dispatcher.barrier()?;
        }
        self.place.links()?;
        for job in self.place.directory_jobs()? {
            self.dispatcher.push(job, 0)?;
        }
        self.dispatcher.barrier()?;
        let (diff_id, tar_bytes, progress) = self.dispatcher.finish()?;
        Ok(self.place.extracted(diff_id, tar_bytes, &progress))
    }
}

fn is_sparse(entry: &Entry) -> bool {
    matches!(entry.kind, Kind::File { sparse: Some(_), .. })
}

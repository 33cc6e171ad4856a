//! A zstd:chunked layer: headers from the tar-split, payloads from donors and fetched pieces.

use std::io::Read;
use std::sync::Arc;

use chunked_assemble::{
    AssembleError, BIG_FILE, Chunk, Extracted, Extractor, FetchedPiece, FilePiece, LocalPiece, Promise,
    Promised, ReadAhead, Spare, is_long,
};
use chunked_plan::{FileSource, PieceSource, Plan};
use chunked_toc::{FileCursor, Piece, PieceKind, SplitItem, TarSplit, Toc, TocError, TocFile};

use crate::in_flight::Claims;
use crate::opening::Opened;
use crate::repeats::Repeats;
use crate::reuse::{Donors, HostFile, NodeDonor};
use crate::source::{Source, SourceError};
use crate::spare::{BlobSpare, described, spare};

/// How a layer by ranges went wrong.
#[derive(Debug)]
pub(crate) enum ChunkedError {
    Fetch(chunked_fetch::FetchError),
    Toc(TocError),
    Assemble(AssembleError),
    /// A piece of the TOC lies before the one of an earlier tar entry.
    Order(u64),
    /// The transfer ended early.
    Ended(u64),
    /// This layer must be pulled whole.
    Whole(String),
}

impl ChunkedError {
    /// What was made until then can serve another try, which hashes what it takes: the network failed, another job
    /// did, or files of the node are bad.
    pub(crate) fn leaves_a_good_tree(&self) -> bool {
        self.is_transfer()
            || matches!(
                self,
                Self::Assemble(
                    AssembleError::Donors { .. } | AssembleError::Broken { .. } | AssembleError::Cancelled
                )
            )
    }

    /// The disk is full: what was made until then serves the next try, once there is room.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Assemble(error) if chunked_store::is_full(error))
    }

    /// The network's fault, not the layer's.
    pub(crate) fn is_transfer(&self) -> bool {
        matches!(self, Self::Fetch(_) | Self::Ended(_))
    }
}

impl From<AssembleError> for ChunkedError {
    fn from(error: AssembleError) -> Self {
        match error {
            AssembleError::NotChunked { .. } | AssembleError::Garbled { .. } => {
                Self::Whole(error.to_string())
            }
            error => Self::Assemble(error),
        }
    }
}

impl From<TocError> for ChunkedError {
    fn from(error: TocError) -> Self {
        Self::Toc(error)
    }
}

impl From<SourceError> for ChunkedError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Fetch(error) => Self::Fetch(error),
            SourceError::Order(offset) => Self::Order(offset),
            SourceError::Ended(offset) => Self::Ended(offset),
        }
    }
}

/// Everything one layer is built from.
pub(crate) struct Build<'a> {
    pub(crate) opened: &'a Opened,
    pub(crate) plan: &'a Plan<NodeDonor>,
    pub(crate) extractor: Extractor,
    pub(crate) supply: Supply,
}

/// Where pieces and files come from.
pub(crate) struct Supply {
    pub(crate) source: Source,
    pub(crate) donors: Arc<Donors>,
    pub(crate) claims: Arc<Claims>,
    pub(crate) refetch: Arc<BlobSpare>,
    pub(crate) repeats: Repeats,
    pub(crate) check: Check,
    /// Reads donors before their turn, if there are any.
    pub(crate) ahead: Option<ReadAhead>,
}

/// Which fetched pieces are compared with the digests that the TOC names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Check {
    /// Those that are a whole file: that proves a row of the index. The DiffID proves the bytes of all others, without
    /// hashing them a second time.
    Files,
    /// Each: the DiffID showed that some are wrong, and not which.
    All,
}

impl Check {
    /// The piece, which is one of so many of its file, as it is to be checked.
    fn of(self, piece: &Piece, pieces: usize) -> FetchedPiece {
        let described = described(piece);
        let digest = described.digest.filter(|_| self == Self::All || pieces == 1);
        FetchedPiece { digest, ..described }
    }

    /// Does a layer made by `plan` have bytes that are compared with nothing but the DiffID?
    pub(crate) fn leaves_out(self, toc: &Toc, plan: &Plan<NodeDonor>) -> bool {
        let fetched =
            |source: &FileSource<NodeDonor>| matches!(source, FileSource::Fetch | FileSource::Pieces(_));
        let mut files = toc.files.iter().zip(&plan.sources);
        self == Self::Files
            && (plan.reused_files > 0 || files.any(|(file, source)| fetched(source) && file.pieces.len() > 1))
    }
}

impl Build<'_> {
    /// Runs the layer through the extractor. Blocks on the network and the disk. When the transfer fails, or the disk is
    /// full, what came until then is in the tree, for another try, and nobody writes to the tree any more.
    pub(crate) fn run(mut self) -> Result<Extracted, ChunkedError> {
        match self.all() {
            Ok(()) => Ok(self.extractor.finish()?),
            Err(failed) => {
                if failed.is_transfer() || failed.is_full() {
                    self.extractor.settle();
                }
                Err(failed)
            }
        }
    }

    /// Hands everything to the extractor.
    fn all(&mut self) -> Result<(), ChunkedError> {
        let index = &*self.opened.index;
        let mut split = TarSplit::open_within(&index.tar_split, index.tar_split_len, self.opened.window)?;
        let mut cursor = FileCursor::new(&index.toc);
        while let Some(item) = split.next()? {
            match item {
                SplitItem::Segment(bytes) => self.extractor.raw(bytes.into())?,
                SplitItem::File { size: 0, .. } => {}
                SplitItem::File { name, size, .. } => {
                    let at = cursor.find(&name, size)?;
                    match self.file(&index.toc, at) {
                        Err(failed) if failed.is_transfer() => {
                            self.supply.refetch.give_up();
                            self.give_up(&index.toc, at, size);
                            // Nobody but the next try cares what goes wrong now.
                            let _ = self.salvage(&index.toc, &mut split, &mut cursor);
                            return Err(failed);
                        }
                        done => done?,
                    }
                }
            }
        }
        Ok(cursor.finish()?)
    }

    /// After the transfer failed: makes the files of which all pieces had arrived behind the one that did not.
    fn salvage(
        &mut self,
        toc: &Toc,
        split: &mut TarSplit<impl Read>,
        cursor: &mut FileCursor<'_>,
    ) -> Result<(), ChunkedError> {
        while self.supply.source.has_arrived()
            && let Some(item) = split.next()?
        {
            match item {
                SplitItem::Segment(bytes) => self.extractor.raw(bytes.into())?,
                SplitItem::File { size: 0, .. } => {}
                SplitItem::File { name, size, .. } => {
                    let at = cursor.find(&name, size)?;
                    // Not what waits for something that may never come.
                    let fetched = match self.plan.sources.get(at) {
                        Some(FileSource::Fetch) => true,
                        Some(FileSource::Pieces(sources)) => !sources.iter().any(is_promised),
                        _ => false,
                    };
                    match if fetched { self.file(toc, at) } else { Err(ChunkedError::Ended(0)) } {
                        Err(failed) if failed.is_transfer() => self.give_up(toc, at, size),
                        done => done?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Leaves out a file that could not be had, or not all of it; nobody waits for it any more.
    fn give_up(&mut self, toc: &Toc, at: usize, size: u64) {
        let Some(file) = toc.files.get(at) else { return };
        drop(self.supply.repeats.promise_file(at));
        drop(self.supply.claims.promise(&(file.digest, file.size)));
        file.pieces.clone().for_each(|number| drop(self.supply.repeats.promise_piece(number)));
        // A long file was begun, and has its place already.
        let _ = self.extractor.skip(size);
    }

    fn file(&mut self, toc: &Toc, at: usize) -> Result<(), ChunkedError> {
        let lost = || ChunkedError::Whole("its plan does not fit its TOC".into());
        self.supply.ahead.iter().for_each(|ahead| ahead.turn(at));
        let file = toc.files.get(at).ok_or_else(lost)?;
        let plan = self.plan;
        let (size, digest) = (file.size, file.digest);
        let spare = Spare { from: self.supply.refetch.clone(), file: at };
        let promised = match plan.sources.get(at).ok_or_else(lost)? {
            FileSource::Fetch => return self.by_pieces(toc, at, file, &[]),
            FileSource::Pieces(sources) => return self.by_pieces(toc, at, file, sources),
            FileSource::Donor(NodeDonor::Layer(donor)) => match self.supply.donors.open(donor) {
                Ok(donor) => return Ok(self.extractor.donor(size, digest, donor, spare)?),
                Err(_) => Promised::broken(),
            },
            FileSource::Donor(NodeDonor::Leftover(file)) => {
                let donor = self.supply.donors.leftover(file);
                return Ok(self.extractor.donor(size, digest, donor, spare)?);
            }
            FileSource::Donor(NodeDonor::Host(donor)) => {
                let source = Arc::new(HostFile(donor.clone()));
                return Ok(self.extractor.foreign(size, digest, source, spare)?);
            }
            FileSource::Donor(NodeDonor::InFlight(flying)) => flying.promised.clone(),
            FileSource::Repeat(first) => {
                self.supply.repeats.file(*first).ok_or(ChunkedError::Order(file.range.start))?
            }
        };
        Ok(self.extractor.promised(size, digest, &promised, spare)?)
    }

    /// A file of which at least some pieces are fetched. `sources` may be shorter than its pieces: those beyond
    /// are.
    fn by_pieces(
        &mut self,
        toc: &Toc,
        at: usize,
        file: &TocFile,
        sources: &[PieceSource<NodeDonor>],
    ) -> Result<(), ChunkedError> {
        let supply = &mut self.supply;
        let mut promises: Vec<Promise> = supply.repeats.promise_file(at).into_iter().collect();
        promises.extend(supply.claims.promise(&(file.digest, file.size)));
        let pieces = toc.pieces_of(file);
        let sources = sources.iter().chain(std::iter::repeat(&PieceSource::Fetch));
        let all = file.pieces.clone().zip(pieces).zip(sources);
        let long = |piece: &Piece| is_long(piece.len, piece.blob.len());
        let all_weigh = all.clone().map(|((_, piece), source)| weight(piece, source));
        let all_weigh = all_weigh.fold(0, u64::saturating_add);
        if file.size <= BIG_FILE && all_weigh <= MAX_AT_ONCE && !pieces.iter().any(long) {
            self.extractor.reserve(all_weigh)?;
            let count = pieces.len();
            let ready = all.map(|((number, piece), source)| supply.piece((number, count), piece, source));
            let ready = ready.collect::<Result<_, _>>()?;
            return Ok(self.extractor.pieces(file.size, file.digest, ready, promises)?);
        }
        let mut long_file = self.extractor.long_file(file.size, file.digest)?;
        let mut failed = None;
        for ((number, piece), source) in all {
            let fetched = matches!(source, PieceSource::Fetch) && piece.kind == PieceKind::Data;
            let done = if !fetched || !long(piece) {
                long_file.reserve(weight(piece, source))?;
                supply
                    .piece((number, pieces.len()), piece, source)
                    .and_then(|piece| long_file.piece(piece).map_err(ChunkedError::from))
            } else {
                let promise = supply.repeats.promise_piece(number);
                let mut reader = supply.source.reader(piece.blob);
                let described = supply.check.of(piece, pieces.len());
                let done = long_file.long_piece(&described, &mut reader, promise);
                // The decoder's error hides the transfer's.
                reader.error.map_or(done.map_err(ChunkedError::from), |error| Err(error.into()))
            };
            match done {
                Err(error) if error.is_transfer() => {
                    drop(supply.repeats.promise_piece(number));
                    long_file.skip(piece.len)?;
                    failed.get_or_insert(error);
                }
                done => done?,
            }
        }
        match failed {
            Some(failed) => long_file.leave().map_err(ChunkedError::from).and(Err(failed)),
            None => Ok(long_file.finish(promises)?),
        }
    }
}

/// Most that the pieces of a file may weigh which are handed on together.
const MAX_AT_ONCE: u64 = 2 << 20;

/// Bytes of memory that a piece holds.
fn weight(piece: &Piece, source: &PieceSource<NodeDonor>) -> u64 {
    match (piece.kind, source) {
        (PieceKind::Hole, PieceSource::Fetch) => FilePiece::weight(0, 0),
        (_, PieceSource::Fetch) => FilePiece::weight(piece.len, piece.blob.len()),
        _ => FilePiece::weight(piece.len, 0),
    }
}

/// Its content is made elsewhere.
fn is_promised(source: &PieceSource<NodeDonor>) -> bool {
    matches!(source, PieceSource::Repeat(_) | PieceSource::Donor(NodeDonor::InFlight(_), _))
}

impl Supply {
    /// The piece of this number, which is one of so many of its file.
    fn piece(
        &mut self,
        (number, count): (u32, usize),
        piece: &Piece,
        source: &PieceSource<NodeDonor>,
    ) -> Result<FilePiece, ChunkedError> {
        let chunk = match source {
            PieceSource::Fetch => {
                let mut fetched = self.check.of(piece, count);
                if piece.kind == PieceKind::Data {
                    fetched.frames = Some(self.source.take(piece.blob)?);
                    fetched.again = Some(self.refetch.clone());
                }
                return Ok(FilePiece::Fetched(fetched, self.repeats.promise_piece(number)));
            }
            PieceSource::Donor(NodeDonor::Layer(donor), offset) => match self.donors.root(donor) {
                Ok((root, lender)) => {
                    let (path, offset, may_share) = (donor.path.as_slice().into(), *offset, donor.may_link);
                    Chunk::Donor { root, path, offset, may_share, goes: false, lender: Some(lender) }
                }
                Err(_) => Chunk::Repeat(Promised::broken()),
            },
            PieceSource::Donor(NodeDonor::Leftover(file), offset) => {
                let (root, path) = (Arc::clone(&file.root), Arc::clone(&file.path));
                let (may_share, goes) = (file.settled, file.goes);
                Chunk::Donor { root, path, offset: *offset, may_share, goes, lender: None }
            }
            // The host's files are indexed whole.
            PieceSource::Donor(NodeDonor::Host(_), _) => Chunk::Repeat(Promised::broken()),
            PieceSource::Donor(NodeDonor::InFlight(flying), _) => Chunk::Repeat(flying.promised.clone()),
            PieceSource::Repeat(first) => {
                Chunk::Repeat(self.repeats.piece(*first).ok_or(ChunkedError::Order(piece.blob.start))?)
            }
        };
        let refetch = self.refetch.clone();
        Ok(FilePiece::Local(LocalPiece { spare: spare(piece), chunk, refetch }))
    }
}

//! Pieces of a file, fetched ones and local ones, to their place in it.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::Digest;
use chunked_linux::{Dir, copy_range};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::decode::{decode, decode_again};
use crate::source::donor::Lender;
use crate::source::file::{NewFile, Source};
use crate::source::file_piece::{Chunk, FilePiece, LocalPiece};
use crate::source::growing::{End, Growing};
use crate::source::piece::{FetchedPiece, SparePiece};
use crate::source::promise::{Made, Promise, Promised};
use crate::source::refetch::{refutes, write_piece};
use crate::work::budget::MAX_BUFFERED;
use crate::work::job::{Job, Ran};

/// What filesystems share is whole blocks of this many bytes (or more, and then nothing is shared).
const BLOCK: u64 = 4096;
/// Longest run, in bytes: a group of pieces that was nearly full, and one more piece.
const MAX_RUN: u64 = 2 * MAX_BUFFERED;

/// A file all of whose pieces are at hand; the promises are kept when it is complete.
#[derive(Debug)]
pub(crate) struct FromPieces {
    pub(crate) pieces: Vec<FilePiece>,
    pub(crate) promises: Vec<Promise>,
}

impl Source for FromPieces {
    fn make(self: Box<Self>, file: NewFile, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let known = match self.pieces.as_slice() {
            [only] => only.proven(),
            _ => None,
        };
        let file = Growing::create(file, End { promises: self.promises, known })?;
        if self.pieces.iter().any(FilePiece::may_leave_a_hole) {
            file.set_len()?;
        }
        Box::new(WritePieces::new(file, self.pieces, 0)).run(parts)
    }
}

/// Neighbouring pieces that come from neighbouring parts of one file.
#[derive(Debug)]
struct Run {
    made: Made,
    /// May its blocks be shared? Not those of a file that may have a writer, or was just written: that would wait for
    /// the disk.
    may_share: bool,
    /// The file goes as soon as the layer is there.
    goes: bool,
    /// Who says that the pieces are there.
    lender: Option<Arc<dyn Lender>>,
    len: u64,
    pieces: Vec<LocalPiece>,
}

impl Run {
    fn continues(&self, root: &Arc<Dir>, path: &[u8], offset: u64) -> bool {
        Arc::ptr_eq(&self.made.root, root)
            && *self.made.path == *path
            && self.made.offset + self.len == offset
    }

    fn refuted(&self, reason: &str) {
        if let Some(lender) = &self.lender {
            lender.refuted(&self.made.path, reason);
        }
    }
}

/// What is written at once.
#[derive(Debug)]
enum Step {
    Fetched(FetchedPiece, Option<Promise>),
    Run(Run),
    Repeat(Promised, LocalPiece),
    /// Of a run of which other pieces are bad.
    Good(Bytes),
    /// It is to be fetched, for this reason.
    Bad(LocalPiece, String),
}

fn steps(pieces: Vec<FilePiece>) -> VecDeque<Step> {
    let mut steps = VecDeque::with_capacity(pieces.len());
    for piece in pieces {
        let local = match piece {
            FilePiece::Fetched(piece, promise) => {
                steps.push_back(Step::Fetched(piece, promise));
                continue;
            }
            FilePiece::Local(local) => local,
        };
        match &local.chunk {
            Chunk::Repeat(promised) => steps.push_back(Step::Repeat(promised.clone(), local)),
            Chunk::Donor { root, path, offset, may_share, goes, lender } => match steps.back_mut() {
                Some(Step::Run(run)) if run.continues(root, path, *offset) => {
                    run.len += local.spare.described.len;
                    run.pieces.push(local);
                }
                _ => {
                    let (root, path) = (Arc::clone(root), Arc::clone(path));
                    let made = Made { root, path, offset: *offset, lease: None };
                    let (may_share, goes, lender) = (*may_share, *goes, lender.clone());
                    let len = local.spare.described.len;
                    let run = Run { made, may_share, goes, lender, len, pieces: vec![local] };
                    steps.push_back(Step::Run(run));
                }
            },
        }
    }
    steps
}

/// Writes neighbouring pieces of a file, as one of its users. Holes are left out: the file must have its length, or
/// get it from what follows.
#[derive(Debug)]
pub(crate) struct WritePieces {
    file: Arc<Growing>,
    steps: VecDeque<Step>,
    /// Where the next one goes.
    at: u64,
}

impl WritePieces {
    /// `pieces`, the first of which goes to `at`.
    pub(crate) fn new(file: Arc<Growing>, pieces: Vec<FilePiece>, at: u64) -> Self {
        Self { file, steps: steps(pieces), at }
    }
}

impl Job for WritePieces {
    fn path(&self) -> &[u8] {
        self.file.entry()
    }

    fn run(mut self: Box<Self>, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        while let Some(step) = self.steps.pop_front() {
            match step {
                Step::Fetched(piece, promise) => {
                    match decode(self.path(), &piece, &self.file.new.target.layer) {
                        Ok(bytes) => self.fetched(bytes, piece.len, promise, parts)?,
                        Err(error @ (AssembleError::Decode { .. } | AssembleError::Digest { .. }))
                            if piece.again.is_some() =>
                        {
                            return Ok(Ran::Fetch(Box::new(AskAgain { piece, promise, error, rest: self })));
                        }
                        Err(error) => return Err(error),
                    }
                }
                Step::Run(run) => self.run_of(run, parts)?,
                Step::Good(bytes) => self.bytes(bytes, parts)?,
                Step::Bad(piece, reason) => {
                    piece.refetch.spoiled(self.path(), &reason);
                    self.file.new.target.layer.count_refetch(self.path(), &reason)?;
                    return Ok(Ran::Fetch(Box::new(FetchPiece { piece, rest: self })));
                }
                Step::Repeat(promised, piece) => match promised.outcome() {
                    Some(made) => self.repeat(made, piece),
                    None => {
                        return Ok(Ran::Later(Box::new(move |resume| {
                            promised.then(move |made| {
                                self.repeat(made, piece);
                                resume(self);
                            });
                        })));
                    }
                },
            }
        }
        self.file.leave()?;
        Ok(Ran::Done)
    }
}

impl WritePieces {
    /// Writes the next `bytes`.
    fn bytes(&mut self, bytes: Bytes, parts: &mut Vec<Part>) -> Result<(), AssembleError> {
        self.file.write(&bytes, self.at)?;
        self.at += bytes.len() as u64;
        parts.push(Part::Bytes(bytes));
        Ok(())
    }

    /// Writes a fetched piece of `len` bytes: `bytes`, or a hole.
    fn fetched(
        &mut self,
        bytes: Option<Bytes>,
        len: u64,
        promise: Option<Promise>,
        parts: &mut Vec<Part>,
    ) -> Result<(), AssembleError> {
        let at = self.at;
        match bytes {
            Some(bytes) => self.bytes(bytes, parts)?,
            None => {
                parts.push(Part::Zeros(len));
                self.at += len;
            }
        }
        if let Some(promise) = promise {
            promise.keep(&self.file.made(at));
        }
        Ok(())
    }

    /// Goes on with a piece that repeats what was `made`, if it was.
    fn repeat(&mut self, made: Option<Made>, piece: LocalPiece) {
        let len = piece.spare.described.len;
        self.steps.push_front(match made {
            Some(made) => {
                Step::Run(Run { made, may_share: false, goes: false, lender: None, len, pieces: vec![piece] })
            }
            None => Step::Bad(piece, "what it repeats was not made".into()),
        });
    }

    /// Writes a run; what of it is not what the TOC says is to be fetched.
    fn run_of(&mut self, run: Run, parts: &mut Vec<Part>) -> Result<(), AssembleError> {
        let (donor, bytes) = match read(&run) {
            Ok(read) => read,
            Err(error) => {
                if refutes(&error) {
                    run.refuted(&error.to_string());
                }
                let bad = run.pieces.into_iter().map(|piece| Step::Bad(piece, error.to_string()));
                bad.rev().for_each(|step| self.steps.push_front(step));
                return Ok(());
            }
        };
        let mut from = 0;
        let mut good = Vec::with_capacity(run.pieces.len());
        for LocalPiece { spare: SparePiece { described, .. }, .. } in &run.pieces {
            let to = from + usize::try_from(described.len).unwrap_or(usize::MAX);
            let bytes = bytes.slice(from.min(bytes.len())..to.min(bytes.len()));
            good.push(Some(bytes).filter(|bytes| described.digest == Some(Digest::of(bytes))));
            from = to;
        }
        if good.iter().all(Option::is_some) {
            self.share(&run, &donor, &bytes)?;
            self.at += run.len;
            parts.push(Part::Bytes(bytes));
            return Ok(());
        }
        run.refuted("a part of it has another digest");
        for (piece, good) in run.pieces.into_iter().zip(good).rev() {
            let bad = || Step::Bad(piece, "it has another digest".into());
            self.steps.push_front(good.map_or_else(bad, Step::Good));
        }
        Ok(())
    }

    /// Puts `bytes`, which were read from `donor`, to the next place: by sharing the whole blocks among them where both
    /// files have them on blocks and the filesystem can, else by writing.
    fn share(&self, run: &Run, donor: &File, bytes: &[u8]) -> Result<(), AssembleError> {
        let (start, at, target) = (run.made.offset, self.at, &self.file.new.target);
        let head = at.next_multiple_of(BLOCK) - at;
        let whole = run.len.saturating_sub(head) / BLOCK * BLOCK;
        let shares = run.may_share && target.layer.reflinks;
        if !shares || start % BLOCK != at % BLOCK || whole == 0 {
            return self.file.write(bytes, at);
        }
        let copied = copy_range(&self.file.file, at + head, donor, start + head, whole)
            .map_err(target.io("sharing blocks with the donor"))?;
        if !run.goes {
            target.layer.shares(target.node, copied, false);
        }
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        self.file.write(&bytes[..index(head)], at)?;
        self.file.write(&bytes[index(head + copied)..], at + head + copied)
    }
}

/// The bytes of a run, and the file they are from.
fn read(run: &Run) -> std::io::Result<(File, Bytes)> {
    if run.len > MAX_RUN {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    let file = run.made.root.open_file(&run.made.path)?;
    let mut bytes = vec![0; usize::try_from(run.len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, run.made.offset)?;
    Ok((file, Bytes::from(bytes)))
}

/// Asks once more for a piece that came wrong, then goes on.
#[derive(Debug)]
struct AskAgain {
    piece: FetchedPiece,
    promise: Option<Promise>,
    error: AssembleError,
    rest: Box<WritePieces>,
}

impl Job for AskAgain {
    fn path(&self) -> &[u8] {
        self.rest.path()
    }

    fn run(self: Box<Self>, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let Self { piece, promise, error, mut rest } = *self;
        let bytes = decode_again(rest.path(), &piece, &rest.file.new.target.layer, error)?;
        rest.fetched(bytes, piece.len, promise, parts)?;
        Ok(Ran::Next(rest))
    }
}

/// Fetches a piece that no local file gave, then goes on.
#[derive(Debug)]
struct FetchPiece {
    piece: LocalPiece,
    rest: Box<WritePieces>,
}

impl Job for FetchPiece {
    fn path(&self) -> &[u8] {
        self.rest.path()
    }

    fn run(self: Box<Self>, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let Self { piece, mut rest } = *self;
        let (at, len) = (rest.at, piece.spare.described.len);
        let layer = &rest.file.new.target.layer;
        write_piece(&piece.spare, &*piece.refetch, rest.path(), &rest.file.file, at, layer)?;
        let file = rest.file.file.try_clone().map_err(rest.file.new.target.io("reading it back"))?;
        parts.push(Part::File { file, start: at, len });
        rest.at += len;
        Ok(Ran::Next(rest))
    }
}

//! Pieces of a file, fetched ones and local ones, to their place in it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::Digest;
use chunked_linux::{Dir, copy_range};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::content::{FetchedPiece, Lender};
use crate::source::decode::{MAX_BUFFERED, decode};
use crate::source::promise::{Made, Promise, Promised};
use crate::source::refetch::{Refetch, SparePiece};
use crate::source::taking::refutes;
use crate::work::job::Job;
use crate::work::progress::Progress;

/// What filesystems share is whole blocks of this many bytes (or more, and then nothing is shared).
const BLOCK: u64 = 4096;
/// Longest run, in bytes: a group of pieces that was nearly full, and one more piece.
const MAX_RUN: u64 = 2 * MAX_BUFFERED;

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
        /// See [`crate::Donor::may_share`].
        may_share: bool,
        /// See [`crate::Donor::lender`].
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

    /// Bytes that it holds in memory when it is decoded.
    pub(crate) fn weight(&self) -> u64 {
        match self {
            Self::Fetched(FetchedPiece { frames: None, .. }, _) => 0,
            piece => piece.size(),
        }
    }
}

/// Neighbouring pieces that come from neighbouring parts of one file.
#[derive(Debug)]
struct Run {
    made: Made,
    /// May its blocks be shared? Not those of a file that may have a writer, or was just written: that would wait for
    /// the disk.
    may_share: bool,
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
}

fn steps(pieces: Vec<FilePiece>) -> Vec<Step> {
    let mut steps = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let local = match piece {
            FilePiece::Fetched(piece, promise) => {
                steps.push(Step::Fetched(piece, promise));
                continue;
            }
            FilePiece::Local(local) => local,
        };
        match &local.chunk {
            Chunk::Repeat(promised) => steps.push(Step::Repeat(promised.clone(), local)),
            Chunk::Donor { root, path, offset, may_share, lender } => match steps.last_mut() {
                Some(Step::Run(run)) if run.continues(root, path, *offset) => {
                    run.len += local.spare.described.len;
                    run.pieces.push(local);
                }
                _ => {
                    let made = Made { root: Arc::clone(root), path: Arc::clone(path), offset: *offset };
                    let (len, may_share, lender) = (local.spare.described.len, *may_share, lender.clone());
                    steps.push(Step::Run(Run { made, may_share, lender, len, pieces: vec![local] }));
                }
            },
        }
    }
    steps
}

/// The file that pieces are written to.
pub(crate) struct Target<'a> {
    pub(crate) file: &'a File,
    pub(crate) job: &'a Job,
    pub(crate) progress: &'a Progress,
}

impl Target<'_> {
    /// Writes neighbouring `pieces`, the first of them at `at`; adds their bytes to `parts`. Holes are left out:
    /// the file must have its length, or get it from what follows.
    pub(crate) fn pieces(
        &self,
        pieces: Vec<FilePiece>,
        mut at: u64,
        parts: &mut Vec<Part>,
    ) -> Result<(), AssembleError> {
        for step in steps(pieces) {
            match step {
                Step::Fetched(piece, promise) => {
                    self.fetched(&piece, promise, at, parts)?;
                    at += piece.len;
                }
                Step::Run(run) => {
                    self.run(&run, at, parts)?;
                    at += run.len;
                }
                Step::Repeat(promised, piece) => {
                    let len = piece.spare.described.len;
                    // What it repeats was handed to the workers before, so that one of them is on it.
                    match promised.wait() {
                        Some(made) => {
                            let run = Run { made, may_share: false, lender: None, len, pieces: vec![piece] };
                            self.run(&run, at, parts)?;
                        }
                        None => self.refetch(&piece, at, "what it repeats was not made", parts)?,
                    }
                    at += len;
                }
            }
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<(), AssembleError> {
        self.file.write_all_at(bytes, at).map_err(AssembleError::io(&self.job.path, "writing the file"))
    }

    fn fetched(
        &self,
        piece: &FetchedPiece,
        promise: Option<Promise>,
        at: u64,
        parts: &mut Vec<Part>,
    ) -> Result<(), AssembleError> {
        match decode(&self.job.path, piece)? {
            Some(bytes) => {
                self.write(&bytes, at)?;
                parts.push(Part::Bytes(bytes));
            }
            None => parts.push(Part::Zeros(piece.len)),
        }
        if let Some(promise) = promise {
            promise.keep(&self.progress.made(&self.job.path, at));
        }
        Ok(())
    }

    /// Writes a run; what of it is not what the TOC says is fetched.
    fn run(&self, run: &Run, at: u64, parts: &mut Vec<Part>) -> Result<(), AssembleError> {
        let (donor, bytes) = match read(run) {
            Ok(read) => read,
            Err(error) => {
                let reason = error.to_string();
                if refutes(&error) {
                    run.refuted(&reason);
                }
                return self.each(run, at, parts, |_| Some(reason.clone()), &Bytes::new());
            }
        };
        let wrong =
            |piece: &LocalPiece, bytes: &[u8]| piece.spare.described.digest != Some(Digest::of(bytes));
        let mut from = 0;
        let mut bad = Vec::new();
        for piece in &run.pieces {
            let to = from + length(piece);
            bad.push(bytes.get(from..to).is_none_or(|bytes| wrong(piece, bytes)));
            from = to;
        }
        if bad.contains(&true) {
            run.refuted("a part of it has another digest");
            let reason = |index: usize| bad.get(index)?.then(|| "it has another digest".to_owned());
            return self.each(run, at, parts, reason, &bytes);
        }
        self.share(run, &donor, &bytes, at)?;
        parts.push(Part::Bytes(bytes));
        Ok(())
    }

    /// Writes the pieces of a run one by one, fetching those that `bad` gives a reason for.
    fn each(
        &self,
        run: &Run,
        mut at: u64,
        parts: &mut Vec<Part>,
        bad: impl Fn(usize) -> Option<String>,
        bytes: &Bytes,
    ) -> Result<(), AssembleError> {
        let mut from = 0;
        for (index, piece) in run.pieces.iter().enumerate() {
            let to = from + length(piece);
            match bad(index) {
                Some(reason) => self.refetch(piece, at, &reason, parts)?,
                None => {
                    let bytes = bytes.slice(from.min(bytes.len())..to.min(bytes.len()));
                    self.write(&bytes, at)?;
                    parts.push(Part::Bytes(bytes));
                }
            }
            from = to;
            at += piece.spare.described.len;
        }
        Ok(())
    }

    fn refetch(
        &self,
        piece: &LocalPiece,
        at: u64,
        reason: &str,
        parts: &mut Vec<Part>,
    ) -> Result<(), AssembleError> {
        piece.refetch.spoiled(&self.job.path, reason);
        self.progress.spend_spare(&self.job.path, reason)?;
        piece.spare.write(&*piece.refetch, &self.job.path, self.file, at)?;
        let file = self.file.try_clone().map_err(AssembleError::io(&self.job.path, "reading it back"))?;
        parts.push(Part::File { file, start: at, len: piece.spare.described.len });
        Ok(())
    }

    /// Puts `bytes`, which were read from `donor`, at `at`: by sharing the whole blocks among them where both
    /// files have them on blocks and the filesystem can, else by writing.
    fn share(&self, run: &Run, donor: &File, bytes: &[u8], at: u64) -> Result<(), AssembleError> {
        let start = run.made.offset;
        let head = at.next_multiple_of(BLOCK) - at;
        let whole = run.len.saturating_sub(head) / BLOCK * BLOCK;
        let shares = run.may_share && self.progress.reflinks;
        if !shares || start % BLOCK != at % BLOCK || whole == 0 {
            return self.write(bytes, at);
        }
        let copied = copy_range(self.file, at + head, donor, start + head, whole)
            .map_err(AssembleError::io(&self.job.path, "sharing blocks with the donor"))?;
        self.progress.shared(copied, false);
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        self.write(&bytes[..index(head)], at)?;
        self.write(&bytes[index(head + copied)..], at + head + copied)
    }
}

fn length(piece: &LocalPiece) -> usize {
    usize::try_from(piece.spare.described.len).unwrap_or(usize::MAX)
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

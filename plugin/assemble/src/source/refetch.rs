//! When a local file does not give what was expected of it: its bytes are fetched then and there, alone.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::decode::{decode, decode_stream};
use crate::source::file::NewFile;
use crate::source::piece::{Refetch, SparePiece};
use crate::work::budget::MAX_BUFFERED;
use crate::work::job::{Job, Ran};
use crate::work::layer::Layer;

/// A file that can be fetched, should the local one be bad.
#[derive(Debug, Clone)]
pub struct Spare {
    /// The blob.
    pub from: Arc<dyn Refetch>,
    /// Number of the file.
    pub file: usize,
}

/// A reader that remembers its error, which a decoder would hide.
struct Remembering<R> {
    inner: R,
    error: Option<io::Error>,
}

impl<R: Read> Read for Remembering<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.error = Some(error);
            }
            kind.into()
        })
    }
}

/// Fetches `piece` and writes it to `file` at `at`. Waits for the network.
pub(crate) fn write_piece(
    piece: &SparePiece,
    from: &dyn Refetch,
    entry: &[u8],
    file: &File,
    at: u64,
    layer: &Layer,
) -> Result<(), AssembleError> {
    let Some(range) = piece.blob else {
        return decode(entry, &piece.described, layer).map(drop);
    };
    let mut compressed = Remembering { inner: from.read(range), error: None };
    let mut offset = at;
    // A decoder fills no more of a window than the piece has bytes.
    let windows = layer.budget.windows_soon(piece.described.len.saturating_add(MAX_BUFFERED));
    let done = decode_stream(entry, &piece.described, &mut compressed, &windows, |bytes| {
        file.write_all_at(&bytes, offset).map_err(AssembleError::io(entry, "writing the file"))?;
        offset += bytes.len() as u64;
        Ok(())
    });
    match compressed.error {
        Some(error) => Err(AssembleError::io(entry, "fetching what no local file gave")(error)),
        None => done,
    }
}

/// Why a source gave nothing.
pub(crate) enum Failed {
    /// It does not hold what it was said to hold, for this reason.
    Refuted(String),
    /// It cannot be read just now, for this reason: that says nothing about what it holds.
    Unreadable(String),
    /// Our own file could not be made.
    Ours(AssembleError),
}

impl From<AssembleError> for Failed {
    fn from(error: AssembleError) -> Self {
        Self::Ours(error)
    }
}

/// Of the source: errors of our own files are [`AssembleError`]s.
impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        if refutes(&error) { Self::Refuted(error.to_string()) } else { Self::Unreadable(error.to_string()) }
    }
}

/// Does this error of opening or reading a source mean that it is not what it was? Running out of descriptors or memory
/// does not.
pub(crate) fn refutes(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound, UnexpectedEof};
    matches!(error.kind(), NotFound | NotADirectory | IsADirectory | UnexpectedEof | InvalidInput)
}

/// What becomes of `file`, which was to be made from a local source: of that came `taken`, or why it gave nothing, and then
/// the file goes on from `spare`. `refute` is called with the reason when the source does not hold what it was said to.
pub(crate) fn or_instead(
    taken: Result<Part, Failed>,
    file: NewFile,
    spare: &Spare,
    refute: impl FnOnce(&str),
    parts: &mut Vec<Part>,
) -> Result<Ran, AssembleError> {
    let reason = match taken {
        Ok(part) => {
            parts.push(part);
            file.complete(file.digest);
            return Ok(Ran::Done);
        }
        Err(Failed::Ours(error)) => return Err(error),
        Err(Failed::Refuted(reason)) => {
            refute(&reason);
            reason
        }
        Err(Failed::Unreadable(reason)) => reason,
    };
    instead(file, spare, &reason)
}

/// Goes on with `file` from the blob, because what it was to be made from is bad, for this `reason`; what that left of
/// the file is removed.
fn instead(new: NewFile, spare: &Spare, reason: &str) -> Result<Ran, AssembleError> {
    spare.from.spoiled(new.target.entry(), reason);
    new.target.layer.count_refetch(new.target.entry(), reason)?;
    new.target.remove()?;
    fill(new, spare)
}

/// Goes on with `file`, of which there is nothing yet, from the blob.
pub(crate) fn fill(new: NewFile, spare: &Spare) -> Result<Ran, AssembleError> {
    let file = new.target.create()?;
    file.set_len(new.size).map_err(new.target.io("setting the file's length"))?;
    Ok(Ran::Fetch(Box::new(FetchFile { new, file, spare: spare.clone() })))
}

/// Fetches a whole file.
#[derive(Debug)]
struct FetchFile {
    new: NewFile,
    /// Created, empty, with its length.
    file: File,
    spare: Spare,
}

impl Job for FetchFile {
    fn path(&self) -> &[u8] {
        self.new.target.entry()
    }

    fn run(self: Box<Self>, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let mut at = 0;
        let pieces = self.spare.from.pieces(self.spare.file);
        for piece in &pieces {
            write_piece(piece, &*self.spare.from, self.path(), &self.file, at, &self.new.target.layer)?;
            at += piece.described.len;
        }
        if at != self.new.size {
            return Err(AssembleError::entry(self.path(), "its pieces do not add up to its size"));
        }
        self.new.target.finish(&self.file)?;
        self.new.complete(match pieces.as_slice() {
            // The bytes of a hole are not looked at.
            [only] if only.blob.is_some() => only.described.digest,
            _ => None,
        });
        parts.push(Part::File { file: self.file, start: 0, len: self.new.size });
        Ok(Ran::Done)
    }
}

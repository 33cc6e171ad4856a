//! When a local file does not give what was expected of it: its bytes are fetched then and there, alone.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use chunked_core::{ByteRange, Digest};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::content::FetchedPiece;
use crate::source::decode::{decode, decode_stream};
use crate::work::job::Job;
use crate::work::progress::Progress;

/// What a layer's blob still offers while the layer is built. Called by workers, which it may hold up.
pub trait Refetch: fmt::Debug + Send + Sync {
    /// The pieces of the layer's file number `file`, in order.
    fn pieces(&self, file: usize) -> Vec<SparePiece>;

    /// The bytes of `range` of the blob, fetched now.
    fn read(&self, range: ByteRange) -> Box<dyn Read + Send>;

    /// The bytes of `range` of the blob once more, because those that came are wrong; from somebody else, if there is
    /// anybody. `None` when it was asked too often.
    fn again(&self, range: ByteRange) -> Option<Box<dyn Read + Send>>;

    /// Told of every local file that turned out unusable: the entry it was meant for, and what is wrong with it.
    fn spoiled(&self, path: &[u8], reason: &str);
}

/// A piece that can be fetched, should the local one be bad.
#[derive(Debug, Clone)]
pub struct SparePiece {
    /// Offset in the blob, decoded length and digest; without frames.
    pub described: FetchedPiece,
    /// Its frames in the blob; `None` for a hole.
    pub blob: Option<ByteRange>,
}

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

impl SparePiece {
    /// Fetches the piece and writes it to `file` at `at`.
    pub(crate) fn write(
        &self,
        from: &dyn Refetch,
        path: &[u8],
        file: &File,
        at: u64,
    ) -> Result<(), AssembleError> {
        let Some(range) = self.blob else {
            return decode(path, &self.described).map(drop);
        };
        let mut compressed = Remembering { inner: from.read(range), error: None };
        let mut offset = at;
        let done = decode_stream(path, &self.described, &mut compressed, |bytes| {
            file.write_all_at(&bytes, offset).map_err(AssembleError::io(path, "writing the file"))?;
            offset += bytes.len() as u64;
            Ok(())
        });
        match compressed.error {
            Some(error) => Err(AssembleError::io(path, "fetching what no local file gave")(error)),
            None => done,
        }
    }
}

impl Spare {
    /// Makes the file of `job` from fetched pieces; what a bad donor left of it is removed. `reason`: what was
    /// wrong with the donor. Gives the digest of its bytes, if they were hashed in one go.
    pub(crate) fn make(
        &self,
        job: &Job,
        size: u64,
        reason: &str,
        parts: &mut Vec<Part>,
        progress: &Progress,
    ) -> Result<Option<Digest>, AssembleError> {
        self.from.spoiled(&job.path, reason);
        progress.spend_spare(&job.path, reason)?;
        job.remove()?;
        let file = job.create()?;
        file.set_len(size).map_err(AssembleError::io(&job.path, "setting the file's length"))?;
        let mut at = 0;
        let pieces = self.from.pieces(self.file);
        for piece in &pieces {
            piece.write(&*self.from, &job.path, &file, at)?;
            at += piece.described.len;
        }
        if at != size {
            return Err(AssembleError::entry(&job.path, "its pieces do not add up to its size"));
        }
        job.finish(&file)?;
        parts.push(Part::File { file, start: 0, len: size });
        match pieces.as_slice() {
            // The bytes of a hole are not looked at.
            [only] if only.blob.is_some() => Ok(only.described.digest),
            _ => Ok(None),
        }
    }
}

//! A file taken from where it is not ours: others may write to it, or put another in its place, at any moment.
//!
//! So it is opened once, and what counts is the copy: the digest is that of the bytes that were written, or of the
//! clone, never of the source. A hard link is out of the question.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chunked_core::{Digest, Hasher};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::taking::{Failed, Taking};

/// Files from this many bytes on share the source's blocks where the filesystem can. Smaller ones are copied: the
/// clone has to be read from disk to be hashed, while the source is often in memory.
const CLONE: u64 = 64 * 1024;
/// Files up to this many bytes are copied through memory, and not read again for the DiffID.
const SMALL: u64 = 1 << 20;
const BUFFER: usize = 256 * 1024;

/// A file that is not ours. Called by workers.
pub trait Foreign: fmt::Debug + Send + Sync {
    /// Opens it for reading, if it still is what it is thought to be.
    ///
    /// # Errors
    /// Whatever opening gives, or that it changed.
    fn open(&self) -> io::Result<File>;

    /// Told that its content was not the wanted one.
    fn spoiled(&self);
}

impl Taking<'_, dyn Foreign> {
    /// Gives the digest of its bytes, if they were hashed in one go.
    pub(crate) fn run(&self, parts: &mut Vec<Part>) -> Result<Option<Digest>, AssembleError> {
        let reason = match self.take() {
            Ok(part) => {
                parts.push(part);
                return Ok(self.digest);
            }
            Err(Failed::Ours(error)) => return Err(error),
            Err(Failed::Refuted(reason)) => {
                self.source.spoiled();
                reason
            }
            Err(Failed::Unreadable(reason)) => reason,
        };
        self.spare.make(self.job, self.size, &reason, parts, self.progress)
    }

    fn take(&self) -> Result<Part, Failed> {
        let source = self.source.open()?;
        if let Some(clone) = self.clone_of(&source)? {
            self.prove(self.hash(&clone)?)?;
            self.job.finish(&clone)?;
            self.progress.shared(self.size, false);
            return Ok(Part::File { file: clone, start: 0, len: self.size });
        }
        if self.size <= SMALL { self.small(&source) } else { self.large(source) }
    }

    fn prove(&self, found: Digest) -> Result<(), Failed> {
        if self.digest == Some(found) {
            Ok(())
        } else {
            Err(Failed::Refuted("its copy has another digest".into()))
        }
    }

    fn clone_of(&self, source: &File) -> Result<Option<File>, AssembleError> {
        // What the pair of filesystems refused once it refuses for the whole layer.
        let refused = &self.progress.no_foreign_reflinks;
        if self.size < CLONE || !self.progress.reflinks || refused.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let clone = self.job.reflink(source)?;
        if clone.is_none() {
            refused.store(true, Ordering::Relaxed);
        }
        Ok(clone)
    }

    /// The digest of our own file, which must have the right length.
    fn hash(&self, file: &File) -> Result<Digest, Failed> {
        let io = || AssembleError::io(&self.job.path, "reading back the clone");
        let len = file.metadata().map_err(io())?.len();
        if len != self.size {
            return Err(Failed::Refuted(format!("it has {len} bytes, not {}", self.size)));
        }
        let (mut hasher, mut buffer, mut at) = (Hasher::new(), vec![0; BUFFER], 0);
        loop {
            match file.read_at(&mut buffer, at) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    at += n as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(io()(error).into()),
            }
        }
    }

    fn small(&self, source: &File) -> Result<Part, Failed> {
        let mut data = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0) + 1);
        source.take(self.size + 1).read_to_end(&mut data)?;
        self.prove(Digest::of(&data))?;
        let mut file = self.job.create()?;
        file.write_all(&data).map_err(AssembleError::io(&self.job.path, "writing the file"))?;
        self.job.finish(&file)?;
        Ok(Part::Bytes(Bytes::from(data)))
    }

    fn large(&self, source: File) -> Result<Part, Failed> {
        let mut file = self.job.create()?;
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; BUFFER]);
        // One byte more than wanted shows that it grew; an endless one does no harm.
        let mut source = source.take(self.size + 1);
        loop {
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    let write = AssembleError::io(&self.job.path, "writing the file");
                    file.write_all(&buffer[..n]).map_err(write)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.prove(hasher.finish())?;
        self.job.finish(&file)?;
        Ok(Part::File { file, start: 0, len: self.size })
    }
}

//! A file taken from where it is not ours: others may write to it, or put another in its place, at any moment.
//!
//! So it is opened once, and what counts is the copy: the digest is that of the bytes that were written, or of the
//! clone, never of the source. A hard link is out of the question.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chunked_core::{Digest, Hasher};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::file::{NewFile, Source};
use crate::source::refetch::{Failed, Spare, instead};
use crate::work::job::Ran;

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

/// A [`Foreign`] file, and what serves if that is bad.
#[derive(Debug)]
pub(crate) struct FromHost {
    pub(crate) source: Arc<dyn Foreign>,
    pub(crate) spare: Spare,
}

impl Source for FromHost {
    fn make(self: Box<Self>, file: NewFile, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
        let reason = match (Copying { file: &file }).take(&*self.source) {
            Ok(part) => {
                parts.push(part);
                file.complete(file.digest);
                return Ok(Ran::Done);
            }
            Err(Failed::Ours(error)) => return Err(error),
            Err(Failed::Refuted(reason)) => {
                self.source.spoiled();
                reason
            }
            Err(Failed::Unreadable(reason)) => reason,
        };
        instead(file, &self.spare, &reason)
    }
}

/// A file that is made as a copy, or a clone, which is then hashed.
struct Copying<'a> {
    file: &'a NewFile,
}

impl Copying<'_> {
    fn take(&self, source: &dyn Foreign) -> Result<Part, Failed> {
        let (file, source) = (self.file, source.open()?);
        if let Some(clone) = self.clone_of(&source)? {
            self.prove(self.hash(&clone)?)?;
            file.target.finish(&clone)?;
            file.target.layer.shares(file.target.node, file.size, false);
            return Ok(Part::File { file: clone, start: 0, len: file.size });
        }
        if file.size <= SMALL { self.small(&source) } else { self.large(source) }
    }

    fn prove(&self, found: Digest) -> Result<(), Failed> {
        if self.file.digest == Some(found) {
            Ok(())
        } else {
            Err(Failed::Refuted("its copy has another digest".into()))
        }
    }

    fn clone_of(&self, source: &File) -> Result<Option<File>, AssembleError> {
        // What the pair of filesystems refused once it refuses for the whole layer.
        let (target, layer) = (&self.file.target, &self.file.target.layer);
        let refused = &layer.no_host_reflinks;
        if self.file.size < CLONE || !layer.reflinks || refused.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let clone = target.reflink(source)?;
        if clone.is_none() {
            refused.store(true, Ordering::Relaxed);
        }
        Ok(clone)
    }

    /// The digest of our own file, which must have the right length.
    fn hash(&self, file: &File) -> Result<Digest, Failed> {
        let io = || self.file.target.io("reading back the clone");
        let len = file.metadata().map_err(io())?.len();
        if len != self.file.size {
            return Err(Failed::Refuted(format!("it has {len} bytes, not {}", self.file.size)));
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
        let mut data = Vec::with_capacity(usize::try_from(self.file.size).unwrap_or(0) + 1);
        source.take(self.file.size + 1).read_to_end(&mut data)?;
        self.prove(Digest::of(&data))?;
        let mut file = self.file.target.create()?;
        file.write_all(&data).map_err(self.file.target.io("writing the file"))?;
        self.file.target.finish(&file)?;
        Ok(Part::Bytes(Bytes::from(data)))
    }

    fn large(&self, source: File) -> Result<Part, Failed> {
        let mut file = self.file.target.create()?;
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; BUFFER]);
        // One byte more than wanted shows that it grew; an endless one does no harm.
        let mut source = source.take(self.file.size + 1);
        loop {
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    let write = self.file.target.io("writing the file");
                    file.write_all(&buffer[..n]).map_err(write)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.prove(hasher.finish())?;
        self.file.target.finish(&file)?;
        Ok(Part::File { file, start: 0, len: self.file.size })
    }
}

//! A file taken from where it is not ours: others may write to it, or put another in its place, at any moment.
//!
//! So it is opened once, and what counts is the copy: the digest is that of the bytes that were written, or of the
//! clone, never of the source. A hard link is out of the question.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chunked_core::Digest;
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::content::{self, SMALL};
use crate::source::file::{NewFile, Source};
use crate::source::refetch::{Failed, Spare, or_instead};
use crate::work::job::Ran;

/// Files from this many bytes on share the source's blocks where the filesystem can. Smaller ones are copied: the
/// clone has to be read from disk to be hashed, while the source is often in memory.
const CLONE: u64 = 64 * 1024;

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
        let taken = self.take(&file);
        or_instead(taken, file, &self.spare, |_| self.source.spoiled(), parts)
    }
}

impl FromHost {
    fn take(&self, file: &NewFile) -> Result<Part, Failed> {
        let (target, source) = (&file.target, self.source.open()?);
        if let Some(clone) = clone_of(file, &source)? {
            // Of the clone: the source may change at any moment.
            content::right_length(file, clone.metadata()?.len())?;
            content::right(file, content::each(&target.layer, &clone, |_| Ok(()))?)?;
            target.finish(&clone)?;
            target.layer.shares(target.node, file.size, false);
            return Ok(Part::File { file: clone, start: 0, len: file.size });
        }
        if file.size <= SMALL { small(file, &source) } else { large(file, &source) }
    }
}

fn clone_of(file: &NewFile, source: &File) -> Result<Option<File>, AssembleError> {
    // What the pair of filesystems refused once it refuses for the whole layer.
    let layer = &file.target.layer;
    let refused = &layer.no_host_reflinks;
    if file.size < CLONE || !layer.reflinks || refused.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let clone = file.target.reflink(source)?;
    if clone.is_none() {
        refused.store(true, Ordering::Relaxed);
    }
    Ok(clone)
}

fn small(file: &NewFile, source: &File) -> Result<Part, Failed> {
    let data = content::all(file, source)?;
    content::right(file, Digest::of(&data))?;
    let mut made = file.target.create()?;
    made.write_all(&data).map_err(file.target.io("writing the file"))?;
    file.target.finish(&made)?;
    Ok(Part::Bytes(Bytes::from(data)))
}

fn large(file: &NewFile, source: &File) -> Result<Part, Failed> {
    let mut made = file.target.create()?;
    // One byte more than wanted shows that it grew; an endless one does no harm.
    let source = source.take(file.size + 1);
    let written = content::each(&file.target.layer, source, |bytes| {
        made.write_all(bytes).map_err(file.target.io("writing the file"))
    });
    content::right(file, written?)?;
    file.target.finish(&made)?;
    Ok(Part::File { file: made, start: 0, len: file.size })
}

//! A file taken from another layer: reflink where the filesystem can, else a hard link where nothing could tell
//! the difference, else a copy.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chunked_core::{Digest, Hasher};
use chunked_verify::Part;

use crate::content::Donor;
use crate::error::{AssembleError, lossy};
use crate::job::Job;
use crate::report::Progress;

/// Files up to this many bytes are read into memory once, for copy and hash together.
const SMALL: u64 = 1 << 20;

pub(crate) struct Taking<'a> {
    pub(crate) job: &'a Job,
    pub(crate) donor: &'a Donor,
    pub(crate) size: u64,
    pub(crate) digest: Option<Digest>,
    pub(crate) progress: &'a Progress,
}

impl Taking<'_> {
    fn bad(&self, reason: impl Into<String>) -> AssembleError {
        // A donor is only ever found by digest.
        let digest = self.digest.unwrap_or_else(|| Digest::from_bytes([0; 32]));
        AssembleError::Donor { path: lossy(&self.job.path), reason: reason.into(), digest }
    }

    pub(crate) fn run(&self, parts: &mut Vec<Part>) -> Result<(), AssembleError> {
        let file = self.donor.root.open_file(&self.donor.path).map_err(|e| self.bad(e.to_string()))?;
        let meta = file.metadata().map_err(|e| self.bad(e.to_string()))?;
        if meta.len() != self.size {
            return Err(self.bad(format!("it has {} bytes, not {}", meta.len(), self.size)));
        }
        if self.size <= SMALL { self.small(file, &meta, parts) } else { self.large(&file, &meta, parts) }
    }

    fn small(
        &self,
        mut donor: File,
        meta: &std::fs::Metadata,
        parts: &mut Vec<Part>,
    ) -> Result<(), AssembleError> {
        let mut data = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0) + 1);
        (&mut donor).take(self.size + 1).read_to_end(&mut data).map_err(|e| self.bad(e.to_string()))?;
        if data.len() as u64 != self.size {
            return Err(self.bad("its length changed while it was read"));
        }
        if self.donor.check && self.digest != Some(Digest::of(&data)) {
            return Err(self.bad("it has another digest"));
        }
        if let Some(file) = self.share(&donor, meta)? {
            if let Some(file) = file {
                self.job.finish(&file)?;
            }
        } else {
            let mut file = self.job.create()?;
            file.write_all(&data).map_err(AssembleError::io(&self.job.path, "writing the file"))?;
            self.job.finish(&file)?;
        }
        parts.push(Part::Bytes(Bytes::from(data)));
        Ok(())
    }

    fn large(
        &self,
        donor: &File,
        meta: &std::fs::Metadata,
        parts: &mut Vec<Part>,
    ) -> Result<(), AssembleError> {
        if self.donor.check {
            let copy = donor.try_clone().map_err(|e| self.bad(e.to_string()))?;
            self.check_large(copy)?;
        }
        if let Some(file) = self.share(donor, meta)? {
            if let Some(file) = file {
                self.job.finish(&file)?;
            }
        } else {
            let mut file = self.job.create()?;
            let from = self.donor.root.open_file(&self.donor.path).map_err(|e| self.bad(e.to_string()))?;
            let copied = chunked_linux::copy_all(&mut file, &from, self.size)
                .map_err(AssembleError::io(&self.job.path, "copying the donor"))?;
            if copied != self.size {
                return Err(self.bad("its length changed while it was copied"));
            }
            self.job.finish(&file)?;
        }
        // Hashed from a fresh descriptor: the shared page cache of the donor is likely warm.
        let file = self.donor.root.open_file(&self.donor.path).map_err(|e| self.bad(e.to_string()))?;
        parts.push(Part::File { file, len: self.size });
        Ok(())
    }

    fn check_large(&self, mut file: File) -> Result<(), AssembleError> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.bad(e.to_string())),
            }
        }
        if self.digest == Some(hasher.finish()) { Ok(()) } else { Err(self.bad("it has another digest")) }
    }

    /// Shares the donor's blocks or inode. `Some(Some(file))`: a new file that still needs its metadata;
    /// `Some(None)`: a hard link, complete; `None`: a copy is needed.
    fn share(&self, donor: &File, meta: &std::fs::Metadata) -> Result<Option<Option<File>>, AssembleError> {
        // One store lies on one filesystem: what it refused once it refuses for the whole layer.
        if !self.progress.no_reflinks.load(Ordering::Relaxed) {
            if let Some(file) = self.job.reflink(donor)? {
                return Ok(Some(Some(file)));
            }
            self.progress.no_reflinks.store(true, Ordering::Relaxed);
        }
        if self.donor.may_link && self.same_metadata(meta) {
            let (parent, name) = match self.donor.path.iter().rposition(|&b| b == b'/') {
                Some(at) => (&self.donor.path[..at], &self.donor.path[at + 1..]),
                None => (&self.donor.path[..0], &self.donor.path[..]),
            };
            if let Ok(dir) = self.donor.root.open_dir(parent)
                && self.job.link_from(&dir, name).is_ok()
            {
                return Ok(Some(None));
            }
        }
        Ok(None)
    }

    fn same_metadata(&self, meta: &std::fs::Metadata) -> bool {
        let wanted = &self.job.meta;
        let mtime = wanted.times.modification;
        self.job.xattrs.is_empty()
            && meta.mode() & 0o7777 == wanted.mode
            && (meta.uid(), meta.gid()) == (wanted.uid, wanted.gid)
            && (meta.mtime(), meta.mtime_nsec()) == (mtime.seconds, i64::from(mtime.nanos))
            && !chunked_linux::has_xattrs(&self.donor.root, &self.donor.path)
    }
}

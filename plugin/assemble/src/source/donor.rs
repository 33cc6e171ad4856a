//! A file taken from another layer: reflink where the filesystem can, else a hard link where nothing could tell
//! the difference, else a copy. A bad one is fetched instead.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};

use bytes::Bytes;
use chunked_core::{Digest, Hasher, Xattr};
use chunked_linux::{Dir, copy_sparse};
use chunked_verify::Part;

use crate::error::AssembleError;
use crate::source::content::Donor;
use crate::source::taking::{Failed, Taking};
use crate::work::job::Job;
use crate::work::progress::Progress;

/// Files up to this many bytes are read into memory once, for copy and hash together.
const SMALL: u64 = 1 << 20;

impl Taking<'_, Donor> {
    /// Gives the digest of its bytes, if they were hashed in one go, now or before.
    pub(crate) fn run(&self, parts: &mut Vec<Part>) -> Result<Option<Digest>, AssembleError> {
        let reason = match self.take() {
            Ok(part) => {
                parts.push(part);
                return Ok(self.digest);
            }
            Err(Failed::Ours(error)) => return Err(error),
            Err(Failed::Refuted(reason)) => {
                self.source.refute(&reason);
                reason
            }
            Err(Failed::Unreadable(reason)) => reason,
        };
        self.spare.make(self.job, self.size, &reason, parts, self.progress)
    }

    fn take(&self) -> Result<Part, Failed> {
        let file = self.source.root.open_file(&self.source.path)?;
        let meta = file.metadata()?;
        if meta.len() != self.size {
            return Err(Failed::Refuted(format!("it has {} bytes, not {}", meta.len(), self.size)));
        }
        if self.size <= SMALL { self.small(&file, &meta) } else { self.large(file, &meta) }
    }

    fn wrong_digest(&self, found: Digest) -> Result<(), Failed> {
        if self.digest == Some(found) { Ok(()) } else { Err(Failed::Refuted("it has another digest".into())) }
    }

    fn small(&self, donor: &File, meta: &Metadata) -> Result<Part, Failed> {
        let mut data = Vec::with_capacity(usize::try_from(self.size).unwrap_or(0) + 1);
        (&mut &*donor).take(self.size + 1).read_to_end(&mut data)?;
        if data.len() as u64 != self.size {
            return Err(Failed::Refuted("its length changed while it was read".into()));
        }
        if self.source.check {
            self.wrong_digest(Digest::of(&data))?;
        }
        if !share(self.job, self.source, donor, meta, self.progress)? {
            let mut file = self.job.create()?;
            let io = AssembleError::io(&self.job.path, "writing the file");
            if is_sparse(meta) { write_sparse(&file, &data) } else { file.write_all(&data) }.map_err(io)?;
            self.job.finish(&file)?;
        }
        Ok(Part::Bytes(Bytes::from(data)))
    }

    fn large(&self, donor: File, meta: &Metadata) -> Result<Part, Failed> {
        if self.source.check {
            self.check_large(&donor)?;
        }
        if share(self.job, self.source, &donor, meta, self.progress)? {
            // The page cache of the donor is likely warm, and that of the new file is not.
            return Ok(Part::File { file: donor, start: 0, len: self.size });
        }
        let file = self.job.create()?;
        match copy_sparse(&file, &donor, self.size) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Failed::Refuted("its length changed while it was copied".into()));
            }
            done => done.map_err(AssembleError::io(&self.job.path, "copying the donor"))?,
        }
        self.job.finish(&file)?;
        Ok(Part::File { file, start: 0, len: self.size })
    }

    fn check_large(&self, mut file: &File) -> Result<(), Failed> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => hasher.update(&buffer[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.wrong_digest(hasher.finish())
    }
}

fn is_sparse(meta: &Metadata) -> bool {
    meta.blocks() * 512 < meta.len()
}

/// Writes `data`, leaving out whole blocks of zeros.
fn write_sparse(file: &File, data: &[u8]) -> io::Result<()> {
    const BLOCK: usize = 4096;
    file.set_len(data.len() as u64)?;
    for (block, at) in data.chunks(BLOCK).zip((0..).step_by(BLOCK)) {
        if block.iter().any(|&byte| byte != 0) {
            file.write_all_at(block, at)?;
        }
    }
    Ok(())
}

/// Makes the file of `job` by sharing the blocks of `file`, or by linking it where nothing could tell the
/// difference. `false`: neither is possible, and nothing was made.
pub(crate) fn share(
    job: &Job,
    donor: &Donor,
    file: &File,
    meta: &Metadata,
    progress: &Progress,
) -> Result<bool, AssembleError> {
    if !donor.may_share {
        return Ok(false);
    }
    if progress.reflinks {
        if donor.fresh && meta.len() <= SMALL {
            return Ok(false);
        }
        if let Some(file) = job.reflink(file)? {
            job.finish(&file)?;
            if !donor.fresh {
                progress.shared(meta.len(), false);
            }
            return Ok(true);
        }
    }
    if donor.may_link && same_metadata(&job.meta, &job.xattrs, donor, meta) && job.link_from(donor) {
        progress.shared(meta.len(), true);
        return Ok(true);
    }
    Ok(false)
}

/// Makes `name` in `dir` a hard link to the donor; `false` where that fails.
pub(crate) fn link(donor: &Donor, dir: &Dir, name: &[u8]) -> bool {
    let (parent, old) = match donor.path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&donor.path[..at], &donor.path[at + 1..]),
        None => (&donor.path[..0], &donor.path[..]),
    };
    donor.root.open_dir(parent).and_then(|from| dir.link_from(&from, old, name)).is_ok()
}

/// Would a link to the donor look like the file that `wanted` and `xattrs` describe?
pub(crate) fn same_metadata(
    wanted: &chunked_linux::Metadata,
    xattrs: &[Xattr],
    donor: &Donor,
    meta: &Metadata,
) -> bool {
    let mtime = wanted.times.modification;
    xattrs.is_empty()
        && meta.mode() & 0o7777 == wanted.mode
        && (meta.uid(), meta.gid()) == (wanted.uid, wanted.gid)
        && (meta.mtime(), meta.mtime_nsec()) == (mtime.seconds, i64::from(mtime.nanos))
        && !chunked_linux::has_xattrs(&donor.root, &donor.path)
}

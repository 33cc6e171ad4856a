//! Files of plain layers that the node has already: their content comes with the stream, so nothing is saved on
//! the way, but they need not take room on the disk twice.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::{Digest, Hasher, Xattr};
use chunked_linux::{Dir, Metadata, clone_file, set_fd_metadata};

use crate::error::AssembleError;
use crate::source::content::{Content, Donor};
use crate::source::donor::{link, same_metadata};
use crate::work::job::{Job, What};
use crate::work::progress::Progress;
use crate::work::unit::Step;

/// The node's files by content.
pub trait Known: fmt::Debug + Send + Sync {
    /// For each (digest, length in bytes) a file that may have this content.
    fn find(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Donor>>;
}

/// Computes the digests of the small files among `steps`, which are needed anyway, and marks those the node has.
/// One question for all of them.
pub(crate) fn mark(steps: &mut [Step], known: &dyn Known) {
    let mut wanted = Vec::new();
    let mut files = Vec::new();
    for step in steps {
        if let Step::Make(job) = step
            && let What::File { content: Content::Inline { data, twin }, digest, sparse: None, .. } =
                &mut job.what
            && !data.is_empty()
        {
            let (found, len) = (digest_of(data), data.iter().map(|part| part.len() as u64).sum());
            *digest = Some(found);
            wanted.push((found, len));
            files.push(twin);
        }
    }
    if wanted.is_empty() {
        return;
    }
    for (twin, donor) in files.into_iter().zip(known.find(&wanted)) {
        *twin = donor;
    }
}

pub(crate) fn digest_of(parts: &[Bytes]) -> Digest {
    let mut hasher = Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finish()
}

/// Makes the file of `job` out of `donor` if that has exactly the bytes of `data`, by sharing its blocks or its
/// inode. `false`: it could not, and nothing was made.
pub(crate) fn adopt(
    job: &Job,
    donor: &Donor,
    data: &[Bytes],
    progress: &Progress,
) -> Result<bool, AssembleError> {
    let Ok(file) = donor.root.open_file(&donor.path) else { return Ok(false) };
    let Ok(meta) = file.metadata() else { return Ok(false) };
    let len: u64 = data.iter().map(|part| part.len() as u64).sum();
    match equals(&file, data) {
        Ok(true) if meta.len() == len => {}
        Ok(_) => {
            donor.refute("it has other bytes");
            return Ok(false);
        }
        Err(_) => return Ok(false),
    }
    crate::source::donor::share(job, donor, &file, &meta, progress)
}

fn equals(mut file: &File, data: &[Bytes]) -> io::Result<bool> {
    let mut buffer = Vec::new();
    for part in data {
        buffer.resize(part.len(), 0);
        file.read_exact(&mut buffer)?;
        if buffer != *part {
            return Ok(false);
        }
    }
    Ok(file.read(&mut [0])? == 0)
}

/// A large file, written, of which the node has a twin.
#[derive(Debug)]
pub(crate) struct LargeTwin {
    path: Vec<u8>,
    meta: Metadata,
    xattrs: Vec<Xattr>,
    donor: Donor,
}

impl LargeTwin {
    pub(crate) fn new(job: &Job, donor: Donor) -> Self {
        Self { path: job.path.clone(), meta: job.meta, xattrs: job.xattrs.clone(), donor }
    }

    pub(crate) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Joins the two: on filesystems with reflinks they share their blocks, else the file is replaced by a link.
    /// Nothing changes when they differ, or cannot be joined.
    pub(crate) fn join(&self, root: &Dir, progress: &Progress) -> Result<(), AssembleError> {
        self.try_join(root, progress).map_err(AssembleError::io(&self.path, "joining it with its twin"))
    }

    fn try_join(&self, root: &Dir, progress: &Progress) -> io::Result<()> {
        let Ok(donor) = self.donor.root.open_file(&self.donor.path) else { return Ok(()) };
        let ours = root.open_file_to_write(&self.path)?;
        let (theirs, own) = (donor.metadata()?, ours.metadata()?);
        if theirs.ino() == own.ino() {
            return Ok(());
        }
        if theirs.len() != own.len() || !same_bytes(&ours, &donor)? {
            self.donor.refute("it has other bytes");
            return Ok(());
        }
        if !self.donor.may_share {
            return Ok(());
        }
        if clone_file(&ours, &donor)? {
            progress.shared(own.len(), false);
            // Sharing counts as a change.
            return set_fd_metadata(&ours, &self.meta, &self.xattrs, None);
        }
        if self.donor.may_link
            && own.nlink() == 1
            && same_metadata(&self.meta, &self.xattrs, &self.donor, &theirs)
        {
            let at = self.path.iter().rposition(|&byte| byte == b'/');
            let (parent, name) =
                at.map_or((&[][..], &self.path[..]), |at| (&self.path[..at], &self.path[at + 1..]));
            let parent = root.open_dir(parent)?;
            // A name that no image can foresee; it lives for a moment.
            let passing = format!(".{:032x}", nonce());
            if link(&self.donor, &parent, passing.as_bytes()) {
                let renamed = parent.rename(passing.as_bytes(), name);
                if renamed.is_err() {
                    parent.remove_all(passing.as_bytes())?;
                }
                renamed?;
                progress.shared(own.len(), true);
            }
        }
        Ok(())
    }
}

fn nonce() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(0));
    half() << 64 | half()
}

fn same_bytes(mut one: &File, mut other: &File) -> io::Result<bool> {
    let mut buffers = (vec![0; 256 * 1024], vec![0; 256 * 1024]);
    loop {
        let n = one.read(&mut buffers.0)?;
        if n == 0 {
            return Ok(true);
        }
        match other.read_exact(&mut buffers.1[..n]) {
            Ok(()) if buffers.0[..n] == buffers.1[..n] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}

/// Joins all large files with their twins.
pub(crate) fn join_all(
    root: &Arc<Dir>,
    twins: Vec<LargeTwin>,
    run: impl Fn(Box<dyn FnOnce(&Progress) + Send>),
) {
    for twin in twins {
        let root = Arc::clone(root);
        run(Box::new(move |progress| {
            if let Err(error) = twin.join(&root, progress) {
                progress.fail(error);
            }
        }));
    }
}

//! Work on one entry, done by any worker.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::{Digest, Sparse, Xattr};
use chunked_linux::{Dir, Metadata, NodeType, clone_file, set_fd_metadata};
use chunked_verify::Part;

use crate::error::{AssembleError, lossy};
use crate::source::content::{Content, Donor};
use crate::source::pieces::{FilePiece, Target};
use crate::source::refetch::Spare;
use crate::source::taking::Taking;
use crate::source::twin;
use crate::work::progress::{Progress, Proof, Stored};

/// One entry to make, in a directory that exists.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) place: At,
    /// Resolved path from the layer's root; its last component is the name in its directory.
    pub(crate) path: Vec<u8>,
    pub(crate) meta: Metadata,
    pub(crate) xattrs: Vec<Xattr>,
    pub(crate) what: What,
}

/// How a job reaches its place.
#[derive(Debug)]
pub(crate) enum At {
    /// In this open directory.
    In(Arc<Dir>),
    /// At its path beneath this root: for the last pass over directories, which would need them all open.
    Beneath(Arc<Dir>),
}

#[derive(Debug)]
pub(crate) enum What {
    File {
        content: Content,
        /// Payload bytes.
        size: u64,
        /// Digest of the content where it is known beforehand.
        digest: Option<Digest>,
        sparse: Option<Sparse>,
    },
    Symlink(Vec<u8>),
    Node {
        kind: NodeType,
        major: u32,
        minor: u32,
    },
    /// Overlay whiteout: a 0:0 character device.
    Whiteout,
    /// Final metadata of a directory, set when nothing more is made in it.
    Directory {
        opaque: bool,
    },
}

impl Job {
    fn name(&self) -> &[u8] {
        self.path.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    fn io(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> AssembleError {
        AssembleError::io(&self.path, doing)
    }

    fn dir(&self) -> &Dir {
        match &self.place {
            At::In(dir) | At::Beneath(dir) => dir,
        }
    }

    /// Does it; adds the payload's bytes to `parts`.
    pub(crate) fn run(mut self, parts: &mut Vec<Part>, progress: &Progress) -> Result<(), AssembleError> {
        match std::mem::replace(&mut self.what, What::Whiteout) {
            What::File { content, size, digest, sparse } => {
                self.file(content, size, digest, sparse.as_ref(), parts, progress)
            }
            What::Symlink(target) => {
                self.dir().create_symlink(self.name(), &target).map_err(self.io("creating the symlink"))?;
                self.node_metadata(true)
            }
            What::Node { kind, major, minor } => {
                let made = self.dir().create_node(self.name(), kind, self.meta.mode, major, minor);
                made.map_err(self.io("creating the device or FIFO"))?;
                self.node_metadata(false)
            }
            What::Whiteout => {
                let made = self.dir().create_node(self.name(), NodeType::Char, 0, 0, 0);
                made.map_err(self.io("creating the whiteout"))?;
                let owned = self.dir().chown(self.name(), self.meta.uid, self.meta.gid);
                owned.map_err(self.io("setting the whiteout's owner"))
            }
            What::Directory { opaque } => self.directory(opaque),
        }
    }

    fn directory(&self, opaque: bool) -> Result<(), AssembleError> {
        let dir = self.dir().open_dir(&self.path).map_err(self.io("opening the directory"))?;
        if opaque {
            dir.set_opaque().map_err(self.io("marking the directory opaque"))?;
        }
        let created = Some((0o755, 0, 0));
        set_fd_metadata(&dir, &self.meta, &self.xattrs, created)
            .map_err(self.io("setting the directory's metadata"))
    }

    fn node_metadata(&self, symlink: bool) -> Result<(), AssembleError> {
        let set = self.dir().set_node_metadata(self.name(), &self.meta, &self.xattrs, symlink);
        set.map_err(self.io("setting its metadata"))
    }

    /// Makes the file from its spare, because there is nothing else.
    pub(crate) fn fetch(
        self,
        spare: &Spare,
        parts: &mut Vec<Part>,
        progress: &Progress,
    ) -> Result<(), AssembleError> {
        let What::File { size, digest: Some(digest), .. } = self.what else { return Ok(()) };
        let known = spare.make(&self, size, "nobody made it", parts, progress)?;
        progress.stored(Stored { path: self.path.clone(), digest, size, proof: Proof::of(known, digest) });
        Ok(())
    }

    /// Creates the file, which must not be there yet.
    pub(crate) fn create(&self) -> Result<File, AssembleError> {
        self.dir().create_file(self.name(), self.meta.mode).map_err(self.io("creating the file"))
    }

    /// Sets the metadata of the complete file.
    pub(crate) fn finish(&self, file: &File) -> Result<(), AssembleError> {
        let created = Some((self.meta.mode, 0, 0));
        set_fd_metadata(file, &self.meta, &self.xattrs, created)
            .map_err(self.io("setting the file's metadata"))
    }

    fn file(
        &self,
        content: Content,
        size: u64,
        digest: Option<Digest>,
        sparse: Option<&Sparse>,
        parts: &mut Vec<Part>,
        progress: &Progress,
    ) -> Result<(), AssembleError> {
        // What its bytes were found to have, and what they are said to have.
        let (known, digest, promises) = match content {
            Content::Inline { data, .. } if data.is_empty() && sparse.is_none() => {
                let file = self.create()?;
                self.finish(&file)?;
                (None, None, Vec::new())
            }
            Content::Inline { data, twin } => {
                let adopted = match &twin {
                    Some(donor) => twin::adopt(self, donor, &data, progress)?,
                    None => false,
                };
                if !adopted {
                    let file = self.create()?;
                    write_inline(&file, &data, sparse).map_err(self.io("writing the file"))?;
                    self.finish(&file)?;
                }
                let digest = digest.or_else(|| sparse.is_none().then(|| twin::digest_of(&data)));
                (digest, digest, Vec::new())
            }
            Content::Pieces { pieces, promises } => {
                let file = self.create()?;
                let known = match pieces.as_slice() {
                    [only] => only.proven(),
                    _ => None,
                };
                if pieces.iter().any(FilePiece::may_leave_a_hole) {
                    file.set_len(size).map_err(self.io("setting the file's length"))?;
                }
                Target { file: &file, job: self, progress }.pieces(pieces, 0, parts)?;
                self.finish(&file)?;
                (known, digest, promises)
            }
            Content::Donor(donor, spare) => {
                let (source, spare) = (&donor, &spare);
                let known = Taking { job: self, source, spare, size, digest, progress }.run(parts)?;
                (known, digest, Vec::new())
            }
            Content::Foreign(source, spare) => {
                let (source, spare) = (&*source, &spare);
                let known = Taking { job: self, source, spare, size, digest, progress }.run(parts)?;
                (known, digest, Vec::new())
            }
        };
        if let (Some(digest), true) = (digest, size > 0) {
            progress.stored(Stored {
                path: self.path.clone(),
                digest,
                size,
                proof: Proof::of(known, digest),
            });
        }
        for promise in promises {
            promise.keep(&progress.made(&self.path, 0));
        }
        Ok(())
    }

    /// Makes it a hard link to `donor`; `false` where that fails.
    pub(crate) fn link_from(&self, donor: &Donor) -> bool {
        crate::source::donor::link(donor, self.dir(), self.name())
    }

    /// Removes what there is of it.
    pub(crate) fn remove(&self) -> Result<(), AssembleError> {
        self.dir().remove_all(self.name()).map_err(self.io("removing the incomplete file"))
    }

    /// Makes it a reflink of `donor`; `None` where that is not possible.
    pub(crate) fn reflink(&self, donor: &File) -> Result<Option<File>, AssembleError> {
        let file = self.create()?;
        match clone_file(&file, donor) {
            Ok(true) => Ok(Some(file)),
            Ok(false) => {
                self.remove()?;
                Ok(None)
            }
            Err(source) => {
                Err(AssembleError::Io { path: lossy(&self.path), doing: "reflinking the donor", source })
            }
        }
    }
}

fn write_inline(file: &File, data: &[Bytes], sparse: Option<&Sparse>) -> std::io::Result<()> {
    let Some(sparse) = sparse else {
        let mut file = file;
        for bytes in data {
            file.write_all(bytes)?;
        }
        return Ok(());
    };
    let mut data = data.iter().cloned();
    let mut have = Bytes::new();
    for &(mut offset, mut len) in &sparse.parts {
        while len > 0 {
            if have.is_empty() {
                have = data.next().ok_or(std::io::ErrorKind::UnexpectedEof)?;
                continue;
            }
            let n = usize::try_from(len).map_or(have.len(), |l| l.min(have.len()));
            file.write_all_at(&have.split_to(n), offset)?;
            offset += n as u64;
            len -= n as u64;
        }
    }
    file.set_len(sparse.real_size)
}

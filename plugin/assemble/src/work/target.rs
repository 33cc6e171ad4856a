//! A node to be made: where it lies, the metadata it gets, and the system calls that make it.

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use chunked_core::{Entry, Xattr};
use chunked_linux::{Dir, Metadata, clone_file, set_fd_metadata};

use crate::error::{AssembleError, lossy};
use crate::tree::metadata::metadata;
use crate::tree::model::NodeId;
use crate::tree::path::{clean, join, split};
use crate::work::budget::OVERHEAD;
use crate::work::layer::Layer;

/// See the module.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) layer: Arc<Layer>,
    pub(crate) node: NodeId,
    /// Its directory, open.
    dir: Arc<Dir>,
    /// Where it lies beneath the layer's root.
    path: Arc<[u8]>,
    /// The entry's path, where it lies elsewhere until the tree is tidied.
    entry: Option<Box<[u8]>>,
    pub(crate) meta: Metadata,
    pub(crate) xattrs: Vec<Xattr>,
}

impl Target {
    /// The node `node`, made for `entry`, which lies at `path` beneath the layer's root, in the open directory `dir`.
    pub(crate) fn new(layer: Arc<Layer>, node: NodeId, dir: Arc<Dir>, path: Vec<u8>, entry: &Entry) -> Self {
        let clean = join(clean(&entry.path));
        let elsewhere = clean != path;
        Self {
            layer,
            node,
            dir,
            path: path.into(),
            entry: elsewhere.then(|| clean.into()),
            meta: metadata(entry),
            xattrs: entry.xattrs.clone(),
        }
    }

    /// The entry's path, for errors.
    pub(crate) fn entry(&self) -> &[u8] {
        self.entry.as_deref().unwrap_or(&self.path)
    }

    /// Where it lies beneath the layer's root.
    pub(crate) fn path(&self) -> &Arc<[u8]> {
        &self.path
    }

    pub(crate) fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Bytes of memory that it holds.
    pub(crate) fn held(&self) -> u64 {
        let xattrs = self.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len());
        let entry = self.entry.as_ref().map_or(0, |entry| entry.len());
        OVERHEAD + (self.path.len() + entry + xattrs.sum::<usize>()) as u64
    }

    /// Its name in [`dir`](Self::dir).
    pub(crate) fn name(&self) -> &[u8] {
        split(&self.path).1
    }

    /// Makes an I/O error of it.
    pub(crate) fn io(&self, doing: &'static str) -> impl FnOnce(std::io::Error) -> AssembleError {
        AssembleError::io(self.entry(), doing)
    }

    /// Creates the file, which must not be there yet.
    pub(crate) fn create(&self) -> Result<File, AssembleError> {
        self.dir.create_file(self.name(), self.meta.mode).map_err(self.io("creating the file"))
    }

    /// Sets the metadata of the complete file, which [`create`](Self::create) made.
    pub(crate) fn finish(&self, file: &File) -> Result<(), AssembleError> {
        let created = Some((self.meta.mode, 0, 0));
        set_fd_metadata(file, &self.meta, &self.xattrs, created)
            .map_err(self.io("setting the file's metadata"))
    }

    /// Removes what there is of it.
    pub(crate) fn remove(&self) -> Result<(), AssembleError> {
        self.dir.remove_all(self.name()).map_err(self.io("removing the incomplete file"))
    }

    /// Makes it a reflink of `donor`, without metadata; `None` where that is not possible.
    pub(crate) fn reflink(&self, donor: &File) -> Result<Option<File>, AssembleError> {
        let file = self.create()?;
        match clone_file(&file, donor) {
            Ok(true) => Ok(Some(file)),
            Ok(false) => {
                self.remove()?;
                Ok(None)
            }
            Err(source) => {
                Err(AssembleError::Io { path: lossy(self.entry()), doing: "reflinking the donor", source })
            }
        }
    }

    /// Makes it a hard link to `donor`; `false` where that fails.
    pub(crate) fn link(&self, donor: &File) -> bool {
        self.dir.link_file(donor, self.name()).is_ok()
    }
}

/// A name that no image can foresee, for what lies in the tree only while it is being made.
pub(crate) fn passing_name() -> Vec<u8> {
    let half = || u128::from(RandomState::new().hash_one(0));
    format!(".{:032x}", half() << 64 | half()).into_bytes()
}

//! A layer being built.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chunked_core::Digest;

use crate::error::StoreError;
use crate::layout::make_dir;
use crate::partial;
use crate::store::Inner;

/// A tree that is not a layer yet. Dropping it deletes everything below it, or keeps it for a later try if it was
/// begun as resumable and is not spoilt; so drop it where blocking is fine.
#[derive(Debug)]
pub struct Staging {
    inner: Arc<Inner>,
    id: u64,
    dir: PathBuf,
    fs: PathBuf,
    kept: bool,
    resumable: bool,
}

impl Staging {
    pub(crate) fn new(inner: &Arc<Inner>) -> Result<Self, StoreError> {
        let id = inner.ids.next(&inner.database)?;
        let dir = inner.layout.staging().join(id.to_string());
        make_dir(&dir, 0o700)?;
        let staging =
            Self { inner: Arc::clone(inner), id, fs: dir.join("fs"), dir, kept: false, resumable: false };
        make_dir(&staging.fs, 0o755)?;
        Ok(staging)
    }

    /// Says for which layer the tree may be of use, should it not be finished.
    pub(crate) fn mark(&mut self, diff_id: Digest) -> Result<(), StoreError> {
        self.resumable = true;
        partial::mark(&self.dir, diff_id)
    }

    /// Says that the tree is of no use to anybody, if it does not become a layer.
    pub fn spoil(&mut self) {
        self.resumable = false;
    }

    /// Says that nobody writes to the tree any more, although it is not finished: the next try of its layer is on its way, and
    /// may link to its files. Until then it stays, also when room is made.
    pub fn settle(&self) {
        self.inner.settled.lock().insert(self.id);
    }

    /// The empty tree to fill: absolute path, mode 0755, owned by the daemon's user.
    pub fn fs(&self) -> &Path {
        &self.fs
    }

    /// The directory around the tree, for the layer's marker files.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The id the layer will have.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Says that the directory moved to its final place.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if self.resumable {
            match partial::keep(&self.inner.layout, &self.dir) {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "an unfinished tree is not kept"),
            }
        }
        // First out of the way in one step: a half-deleted tree must not look like anything else. Where a full or broken disk
        // does not even rename, at its place: a mark on it, if there was one, promises nothing about what is in it.
        let moved = self.inner.layout.discard(&self.dir, &self.id.to_string());
        let place = moved.unwrap_or_else(|error| {
            tracing::debug!(%error, "an unfinished tree is deleted where it is");
            self.dir.clone()
        });
        if let Err(error) = chunked_linux::remove_tree(&place) {
            tracing::warn!(path = %place.display(), %error, "left for a cleanup or the next start");
        }
    }
}

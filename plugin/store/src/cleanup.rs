//! Deletes what nobody needs: called after containerd's garbage collection, and beside everything else.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{StoreError, at};
use crate::evict::{Evicted, Prune};
use crate::store::Store;

/// A call stops starting new deletions after this time; the next call goes on.
const LIMIT: Duration = Duration::from_secs(60);

/// What a cleanup did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Layers dropped.
    pub layers: usize,
    /// What these occupied, in bytes: blocks that other layers share with them stay occupied.
    pub bytes: u64,
    /// The same for inodes.
    pub inodes: u64,
    /// Directories deleted, those of the layers included.
    pub directories: usize,
}

impl Store {
    /// Drops layers that no snapshot uses and no pin holds, oldest first, as far as [`crate::Keep`] says, and
    /// deletes everything in the trash. Blocks on the disk only, never on a download; when another call is at it
    /// already, returns at once.
    ///
    /// # Errors
    /// When the disk or the database fails; what was dropped until then stays dropped.
    pub fn cleanup(&self) -> Result<Cleaned, StoreError> {
        let Some(_one_at_a_time) = self.inner.cleaning.try_lock() else { return Ok(Cleaned::default()) };
        self.clean(Prune::Quota)
    }

    /// As [`Store::cleanup`], leaving what `what` says; waits for another call to end.
    ///
    /// # Errors
    /// As [`Store::cleanup`].
    pub fn prune(&self, what: Prune) -> Result<Cleaned, StoreError> {
        let _one_at_a_time = self.inner.cleaning.lock();
        self.clean(what)
    }

    fn clean(&self, what: Prune) -> Result<Cleaned, StoreError> {
        // First, so that its space counts as free.
        let before = self.empty_trash()?;
        let evicted = self.evict(what)?;
        let after = if evicted.layers > 0 { self.empty_trash()? } else { 0 };
        let Evicted { layers, bytes, inodes } = evicted;
        if layers > 0 {
            tracing::info!(layers, bytes, inodes, "unused layers dropped");
        }
        Ok(Cleaned { layers, bytes, inodes, directories: before + after })
    }

    fn empty_trash(&self) -> Result<usize, StoreError> {
        let started = Instant::now();
        let trash = self.inner.layout.trash();
        let mut deleted = 0;
        for entry in std::fs::read_dir(&trash).map_err(at("list", &trash))? {
            if started.elapsed() > LIMIT {
                break;
            }
            let path = entry.map_err(at("list", &trash))?.path();
            if let Some(id) = entry_id(&path) {
                // Still copied from: a snapshot that was removed without being a layer.
                if self.inner.pins.lock().contains_key(&id) {
                    continue;
                }
                // While its list is there: without, every row of the index would be looked at.
                self.inner.index.remove_known(id, &path);
            }
            // A dropped staging directory deletes itself at the same time.
            match chunked_linux::remove_tree(&path) {
                Ok(()) => deleted += 1,
                // One immutable file must not keep the rest on disk.
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot delete, next try later"),
            }
        }
        Ok(deleted)
    }
}

fn entry_id(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.parse().ok()
}

#[cfg(test)]
mod tests;

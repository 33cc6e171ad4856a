//! Deletes what nobody needs: called after containerd's garbage collection, and beside everything else.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::error::{StoreError, at};
use crate::evict::{Evicted, Prune};
use crate::orphans;
use crate::store::Store;
use crate::usage::Usage;

/// A call stops starting new deletions after this time; the next call goes on.
const LIMIT: Duration = Duration::from_secs(60);
/// How long blocks of deleted files may take to become free.
const SETTLE: Duration = Duration::from_secs(2);

/// What a cleanup did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Layers dropped.
    pub layers: usize,
    /// What became free with these, in bytes; [`Store::cleanup`] says what their rows say, which is more where layers that stay
    /// share blocks with them.
    pub bytes: u64,
    /// The same for inodes.
    pub inodes: u64,
    /// Trees of broken pulls dropped.
    pub partial: usize,
    /// Directories dropped that a lost state database had left.
    pub orphans: usize,
    /// Directories deleted, those of the layers included.
    pub directories: usize,
    /// By how many bytes the free space of the filesystem grew meanwhile, whoever else wrote or deleted. Only
    /// [`Store::prune`] looks.
    pub freed: u64,
}

impl Cleaned {
    /// Something was deleted.
    fn is_any(&self) -> bool {
        self.directories > 0 || self.layers > 0
    }
}

/// What a cleanup is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Prune(Prune),
    /// Something could not be written.
    Room,
}

impl Store {
    /// Drops layers that no snapshot uses and no pin holds, oldest first, as far as [`crate::Keep`] says, and
    /// deletes everything in the trash; while the filesystem has less free than it should, everything unused, and the
    /// trees of broken pulls. Blocks on the disk only, never on a download; when another call is at it already, returns at
    /// once.
    ///
    /// # Errors
    /// When the disk or the database fails; what was dropped until then stays dropped.
    pub fn cleanup(&self) -> Result<Cleaned, StoreError> {
        let Some(_one_at_a_time) = self.inner.cleaning.try_lock() else { return Ok(Cleaned::default()) };
        self.clean(For::Prune(Prune::Quota))
    }

    /// As [`Store::cleanup`], leaving what `what` says; waits for another call to end. [`Prune::All`] drops the trees of
    /// broken pulls, too, and what a lost state database left, unless a container has it mounted.
    ///
    /// # Errors
    /// As [`Store::cleanup`].
    pub fn prune(&self, what: Prune) -> Result<Cleaned, StoreError> {
        let _one_at_a_time = self.inner.cleaning.lock();
        let before = self.inner.free()?;
        let mut cleaned = self.clean(For::Prune(what))?;
        if cleaned.is_any() {
            self.settle_space(before.saturating_add(cleaned.bytes))?;
        }
        cleaned.freed = self.inner.free()?.saturating_sub(before);
        Ok(cleaned)
    }

    /// Drops everything unused, and the trees of broken pulls, because something could not be written. What was just
    /// pulled and waits for its snapshot stays, and so do trees whose next try is on its way. True if it is worth trying again.
    ///
    /// # Errors
    /// As [`Store::cleanup`].
    pub fn make_room(&self) -> Result<bool, StoreError> {
        let made = || self.inner.rooms.load(Ordering::Acquire);
        let before = made();
        self.inner.database.give_up_ballast();
        let _one_at_a_time = self.inner.cleaning.lock();
        let before_bytes = self.inner.free()?;
        let cleaned = self.clean(For::Room)?;
        if cleaned.is_any() {
            self.settle_space(before_bytes.saturating_add(cleaned.bytes))?;
            self.inner.rooms.fetch_add(1, Ordering::AcqRel);
        }
        // Another call may have made room while this one waited.
        Ok(made() > before)
    }

    /// Waits until deleted files' blocks are free, which should be so many bytes then: btrfs gives them back when it is
    /// flushed, xfs in the background. Others may write meanwhile, so not for long.
    fn settle_space(&self, expected: u64) -> Result<(), StoreError> {
        if !self.inner.options.sync {
            return Ok(());
        }
        self.inner.layout.sync_data()?;
        let started = Instant::now();
        while started.elapsed() < SETTLE && self.inner.free()? < expected {
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn clean(&self, what: For) -> Result<Cleaned, StoreError> {
        self.inner.bury_the_rest();
        // First, so that its space counts as free.
        let before = self.empty_trash()?;
        let partial = match what {
            For::Prune(Prune::All) => self.drop_partials(None)?,
            For::Prune(Prune::Quota) if !self.inner.short()?.is_any() => 0,
            For::Room | For::Prune(Prune::Quota) => self.drop_forsaken()?,
            For::Prune(Prune::To(_)) => 0,
        };
        let evicted = match what {
            For::Prune(what) => self.evict(what)?,
            For::Room => self.evict_for_room()?,
        };
        let Evicted { layers, mut bytes, mut inodes } = evicted;
        if layers > 0 && matches!(what, For::Prune(Prune::All | Prune::To(_))) {
            // Somebody asked, and is told what is true.
            Usage { bytes, inodes } = self.inner.freed_by(&self.inner.trash_dirs()?)?;
        }
        let older = (what != For::Prune(Prune::All)).then_some(orphans::MAX_AGE);
        let orphans = orphans::discard(&self.inner.layout, older)?;
        let after = if layers + orphans > 0 { self.empty_trash()? } else { 0 };
        if layers + partial + orphans > 0 {
            tracing::info!(layers, bytes, inodes, partial, orphans, "dropped what nobody needs");
        }
        self.inner.database.restore_ballast();
        let directories = before + after + partial;
        Ok(Cleaned { layers, bytes, inodes, partial, orphans, directories, freed: 0 })
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

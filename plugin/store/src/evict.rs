//! Which unused layers go: least recently used first, until the rest is within its quota; all of them while the
//! filesystem has less free than it should.
//!
//! A layer nobody needs is worth something: it gives files to others, and its own image is there at once. So it
//! stays as long as there is room. What counts is in the rows; no tree is looked at.
//!
//! A layer that was just made and that no snapshot has had yet is not unused: its pull is still busy with the layers above
//! it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rusqlite::params;

use crate::error::{StoreError, at};
use crate::mounted;
use crate::store::{Inner, Store, now};

/// Rows dropped in one transaction: Commit must never wait long for the writer.
const BATCH: usize = 16;

/// How much of what no snapshot uses is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// A layer used more recently than this stays, as long as the filesystem has enough free: all layers of an image are
    /// made at its first Prepare, and a cancelled pull is tried again.
    pub min_age: Duration,
    /// Bytes of all unused layers together.
    pub bytes: u64,
    /// Inodes of all unused layers together.
    pub inodes: u64,
    /// Free part of the filesystem, in per cent of its bytes and inodes, below which everything unused goes, whatever
    /// grace and quota say.
    pub free_percent: u8,
}

impl Default for Keep {
    fn default() -> Self {
        Self { min_age: Duration::from_secs(600), bytes: 10 << 30, inodes: 1_000_000, free_percent: 20 }
    }
}

/// What [`Store::prune`] leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// What the quota allows: as cleanup does.
    Quota,
    /// Nothing that is unused, however young.
    All,
    /// At most so many bytes of unused layers, however young.
    To(u64),
}

/// An unused layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unused {
    pub(crate) id: u64,
    bytes: u64,
    inodes: u64,
    used: i64,
    /// It serves nobody.
    damaged: bool,
}

/// Bytes and inodes that are wanted free beyond what is free now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Short {
    bytes: u64,
    inodes: u64,
}

impl Short {
    pub(crate) fn is_any(self) -> bool {
        self.bytes > 0 || self.inodes > 0
    }
}

/// How long a layer that no snapshot has had yet is kept for the pull that made it, once that is done with it.
const ADOPTED_WITHIN: Duration = Duration::from_secs(60);

/// A dropped layer: its directory is in the trash.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) layers: usize,
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
}

impl Store {
    /// Bytes of the filesystem that are free.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn free(&self) -> Result<u64, StoreError> {
        self.inner.free()
    }

    /// Layers dropped since the store was opened because nobody needed them, and bytes that came to the disk with them.
    pub fn evicted(&self) -> (u64, u64) {
        let (layers, bytes) = &self.inner.evicted;
        (layers.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }

    /// Drops the unused layers that are too much, without deleting their trees.
    pub(crate) fn evict(&self, what: Prune) -> Result<Evicted, StoreError> {
        self.inner.note_touched()?;
        let (damaged, unused): (Vec<_>, Vec<_>) =
            self.inner.unused()?.into_iter().partition(|layer| layer.damaged);
        let chosen = match what {
            Prune::Quota if self.inner.short()?.is_any() => self.inner.without_fresh(unused),
            Prune::Quota => choose(&unused, &self.inner.options.keep, now()),
            Prune::All => unused,
            Prune::To(bytes) => {
                let keep = Keep { min_age: Duration::ZERO, bytes, inodes: u64::MAX, free_percent: 0 };
                choose(&unused, &keep, i64::MAX)
            }
        };
        self.drop_all(&[damaged, chosen].concat())
    }

    /// Drops everything unused but what was just made.
    pub(crate) fn evict_for_room(&self) -> Result<Evicted, StoreError> {
        self.inner.note_touched()?;
        self.drop_all(&self.inner.without_fresh(self.inner.unused()?))
    }

    fn drop_all(&self, chosen: &[Unused]) -> Result<Evicted, StoreError> {
        let mut evicted = Evicted::default();
        for batch in chosen.chunks(BATCH) {
            let dropped = self.inner.drop_rows(batch)?;
            for layer in batch.iter().filter(|layer| dropped.contains(&layer.id)) {
                self.inner.bury(layer.id);
                evicted.layers += 1;
                evicted.bytes += layer.bytes;
                evicted.inodes += layer.inodes;
            }
        }
        let (layers, bytes) = &self.inner.evicted;
        layers.fetch_add(evicted.layers as u64, Ordering::Relaxed);
        bytes.fetch_add(evicted.bytes, Ordering::Relaxed);
        Ok(evicted)
    }
}

/// The layers to drop; `unused` has the least recently used first.
fn choose(unused: &[Unused], keep: &Keep, now: i64) -> Vec<Unused> {
    let before = now.saturating_sub(i64::try_from(keep.min_age.as_nanos()).unwrap_or(i64::MAX));
    let (mut bytes, mut inodes) = unused
        .iter()
        .fold((0u64, 0u64), |(b, i), layer| (b.saturating_add(layer.bytes), i.saturating_add(layer.inodes)));
    let mut chosen = Vec::new();
    for layer in unused.iter().take_while(|layer| layer.used <= before) {
        if bytes <= keep.bytes && inodes <= keep.inodes {
            break;
        }
        bytes = bytes.saturating_sub(layer.bytes);
        inodes = inodes.saturating_sub(layer.inodes);
        chosen.push(*layer);
    }
    chosen
}

impl Inner {
    /// Layers that no snapshot points to and no container has mounted, least recently used first.
    pub(crate) fn unused(&self) -> Result<Vec<Unused>, StoreError> {
        let mut unused = self.unpointed()?;
        if !unused.is_empty() {
            let mounted = mounted::directories(&self.layout.snapshots());
            unused.retain(|layer| !mounted.contains(&layer.id));
        }
        Ok(unused)
    }

    fn unpointed(&self) -> Result<Vec<Unused>, StoreError> {
        self.database.read(|db| {
            let mut statement = db.prepare_cached(
                "SELECT id, max(bytes - shared_bytes, 0), max(inodes - shared_inodes, 0), used, damaged \
                 FROM layers l \
                 WHERE NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.layer = l.id) ORDER BY used, id",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(Unused {
                    id: row.get(0)?,
                    bytes: row.get(1)?,
                    inodes: row.get(2)?,
                    used: row.get(3)?,
                    damaged: row.get(4)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Leaves out what was just made and is to be adopted.
    fn without_fresh(&self, mut layers: Vec<Unused>) -> Vec<Unused> {
        let pinned = self.pins.lock();
        let mut fresh = self.fresh.lock();
        fresh.retain(|id, made| pinned.contains_key(id) || made.elapsed() < ADOPTED_WITHIN);
        layers.retain(|layer| !fresh.contains_key(&layer.id));
        layers
    }

    /// Free bytes of the filesystem.
    pub(crate) fn free(&self) -> Result<u64, StoreError> {
        let root = self.layout.root();
        let stat = rustix::fs::statvfs(root).map_err(at("read free space of", root))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// How far the filesystem is from the free part it should have.
    pub(crate) fn short(&self) -> Result<Short, StoreError> {
        let root = self.layout.root();
        let stat = rustix::fs::statvfs(root).map_err(at("read free space of", root))?;
        let wanted = |total: u64| {
            u64::try_from(u128::from(total) * u128::from(self.options.keep.free_percent) / 100)
                .unwrap_or(u64::MAX)
        };
        Ok(Short {
            bytes: wanted(stat.f_blocks).saturating_sub(stat.f_bavail).saturating_mul(stat.f_frsize),
            // 0 of 0 on filesystems that make inodes as they need them.
            inodes: wanted(stat.f_files).saturating_sub(stat.f_favail),
        })
    }

    /// Drops the rows of those that are still unused, unpinned and not used since they were chosen.
    pub(crate) fn drop_rows(&self, layers: &[Unused]) -> Result<HashSet<u64>, StoreError> {
        // Held until the rows are gone: nobody can pin a layer between our look and our delete.
        let pins = self.pins.lock();
        let dropped = self.database.write(|db| {
            let mut delete = db.prepare_cached(
                "DELETE FROM layers WHERE id = ?1 AND used = ?2 \
                 AND NOT EXISTS (SELECT 1 FROM snapshots WHERE layer = ?1)",
            )?;
            let mut dropped = HashSet::new();
            for layer in layers.iter().filter(|layer| !pins.contains_key(&layer.id)) {
                if delete.execute(params![layer.id, layer.used])? > 0 {
                    dropped.insert(layer.id);
                }
            }
            Ok(dropped)
        })?;
        if !dropped.is_empty() {
            Arc::make_mut(&mut self.layers.write()).retain(|id, _| !dropped.contains(id));
            self.fresh.lock().retain(|id, _| !dropped.contains(id));
        }
        Ok(dropped)
    }

    /// Moves the directory of a dropped layer into the trash. Who empties that takes its files out of the index.
    pub(crate) fn bury(&self, id: u64) {
        if let Err(error) = self.layout.discard(&self.layout.snapshot(id), &id.to_string()) {
            tracing::warn!(%error, "a directory that nobody needs stays until the next cleanup");
            self.unburied.lock().insert(id);
        }
    }

    /// Tries again what could not be moved to the trash.
    pub(crate) fn bury_the_rest(&self) {
        let rest = std::mem::take(&mut *self.unburied.lock());
        rest.into_iter().for_each(|id| self.bury(id));
    }

    /// Writes down which layers were used as donors since the last time.
    pub(crate) fn note_touched(&self) -> Result<(), StoreError> {
        let touched = std::mem::take(&mut *self.touched.lock());
        let touched: Vec<(u64, i64)> = touched.into_iter().collect();
        for batch in touched.chunks(BATCH) {
            self.database.write(|db| {
                let mut update = db.prepare_cached("UPDATE layers SET used = MAX(used, ?2) WHERE id = ?1")?;
                for (id, used) in batch {
                    update.execute(params![id, used])?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Deletes what nobody needs: called after containerd's garbage collection, and beside everything else.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::params;

use crate::error::{StoreError, at};
use crate::store::{Store, now};

/// A call stops starting new deletions after this time; the next call goes on.
const LIMIT: Duration = Duration::from_secs(60);

/// What a cleanup did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaned {
    /// Layers dropped.
    pub layers: usize,
    /// Directories deleted, those of the layers included.
    pub directories: usize,
}

impl Store {
    /// Drops layers that no snapshot uses, no pin holds and nobody wanted for the grace time, and deletes
    /// everything in the trash. Blocks on the disk only, never on a download; when another call is at it
    /// already, returns at once.
    pub fn cleanup(&self) -> Result<Cleaned, StoreError> {
        let Some(_one_at_a_time) = self.inner.cleaning.try_lock() else { return Ok(Cleaned::default()) };
        let dropped = self.drop_unused_layers()?;
        for id in &dropped {
            self.inner.index.remove(*id, &self.inner.layout.trash().join(id.to_string()));
        }
        Ok(Cleaned { layers: dropped.len(), directories: self.empty_trash()? })
    }

    fn drop_unused_layers(&self) -> Result<HashSet<u64>, StoreError> {
        let grace = i64::try_from(self.inner.options.unused_grace.as_nanos()).unwrap_or(i64::MAX);
        let before = now().saturating_sub(grace);
        // Held until the rows are gone: nobody can pin a layer between our look and our delete.
        let pins = self.inner.pins.lock();
        let dropped = self.inner.database.write(|db| {
            let mut unused = db.prepare_cached(
                "SELECT id FROM layers l WHERE used <= ?1 \
                 AND NOT EXISTS (SELECT 1 FROM snapshots s WHERE s.layer = l.id)",
            )?;
            let ids = unused.query_map(params![before], |row| row.get(0))?;
            let mut ids = ids.collect::<Result<HashSet<u64>, _>>()?;
            ids.retain(|id| !pins.contains_key(id));
            for id in &ids {
                db.prepare_cached("DELETE FROM layers WHERE id = ?1")?.execute([id])?;
            }
            Ok(ids)
        })?;
        Arc::make_mut(&mut self.inner.layers.write()).retain(|id, _| !dropped.contains(id));
        drop(pins);
        for id in &dropped {
            let dir = self.inner.layout.snapshot(*id);
            if let Err(error) = self.inner.layout.discard(&dir, &id.to_string()) {
                tracing::warn!(%error, "directory of a dropped layer stays; the next start takes the layer in again");
            }
        }
        Ok(dropped)
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
            let removed = if path.is_dir() && !path.is_symlink() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            };
            match removed {
                Ok(()) => deleted += 1,
                // A dropped staging directory deletes itself at the same time.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // One immutable file must not keep the rest on disk.
                Err(error) => tracing::warn!(path = %path.display(), %error, "cannot delete, next try later"),
            }
        }
        Ok(deleted)
    }
}

#[cfg(test)]
mod tests;

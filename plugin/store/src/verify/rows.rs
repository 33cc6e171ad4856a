//! Rows of the databases against each other and against what is on the disk.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Run, Stop};
use crate::error::at;
use crate::rows;

/// A directory without a row may be one that a Prepare is just making; its row comes within this time.
pub(super) const MAKING: Duration = Duration::from_secs(10);

impl Run<'_> {
    /// Every row's parent, layer and directory is there.
    pub(super) fn snapshots(&mut self) -> Result<(), Stop> {
        let lost: Vec<(u64, String, String)> = self.inner.database.read(|db| {
            let mut statement = db.prepare(
                "SELECT id, name, 'its parent ' || parent || ' is not there' FROM snapshots s \
                 WHERE parent IS NOT NULL AND NOT EXISTS (SELECT 1 FROM snapshots p WHERE p.name = s.parent AND p.kind = 3) \
                 UNION ALL \
                 SELECT id, name, 'its layer ' || layer || ' is not there' FROM snapshots s \
                 WHERE layer IS NOT NULL AND NOT EXISTS (SELECT 1 FROM layers l WHERE l.id = s.layer)",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        for (id, name, text) in lost {
            self.problem(id, name, format!("{text}; remove it and pull its image again"), false)?;
        }
        let dirs: Vec<(u64, String)> = self.inner.database.read(|db| {
            let mut statement = db.prepare("SELECT dir, name FROM snapshots")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        for (dir, name) in dirs {
            let gone = !self.inner.layout.fs(dir).is_dir();
            if gone && self.inner.database.read(|db| Ok(crate::snapshot::find(db, &name)?.is_some()))? {
                let text =
                    "its directory is missing: remove the images and containers that use it, and pull again";
                self.problem(dir, name, text.into(), false)?;
            }
        }
        Ok(())
    }

    /// Every layer's row has a directory, every directory a row.
    pub(super) fn directories(&mut self) -> Result<(), Stop> {
        let path = self.inner.layout.snapshots();
        let mut there = HashSet::new();
        for entry in std::fs::read_dir(&path).map_err(at("list", &path))? {
            let name = entry.map_err(at("list", &path))?.file_name();
            match name.to_str().and_then(|name| name.parse::<u64>().ok()) {
                Some(id) => drop(there.insert(id)),
                None => {
                    self.problem(0, name.to_string_lossy().into(), "does not belong here".into(), false)?;
                }
            }
        }
        let rows = self.inner.database.read(|db| {
            let mut statement = db.prepare("SELECT id FROM layers UNION SELECT dir FROM snapshots")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<HashSet<u64>, _>>()?)
        })?;
        // They go to the trash as soon as something can be moved there.
        let unburied = self.inner.unburied.lock().clone();
        for id in there.difference(&rows).filter(|id| !unburied.contains(id)) {
            let dir = self.inner.layout.snapshot(*id);
            let young = dir
                .metadata()
                .and_then(|meta| meta.modified())
                .map(|time| time.elapsed().unwrap_or_default() < MAKING);
            if matches!(young, Ok(false)) {
                let text = "a directory without a row: the daemon's next start takes care of it";
                self.problem(*id, dir.display().to_string(), text.into(), false)?;
            }
        }
        let layers = self.inner.database.read(rows::all_origins)?;
        for (id, _) in layers.iter().filter(|(id, _)| !there.contains(id)) {
            self.lost_layer(*id)?;
        }
        Ok(())
    }

    fn lost_layer(&mut self, id: u64) -> Result<(), Stop> {
        // Dropped or just made meanwhile?
        let Some(row) = self.inner.database.read(|db| rows::layer(db, id))? else { return Ok(()) };
        if self.inner.layout.snapshot(id).exists() {
            return Ok(());
        }
        let what = row.diff_id.to_string();
        if self.options.repair && self.inner.drop_layer(id)? {
            return self.problem(id, what, "its directory was missing; its row is gone now".into(), true);
        }
        self.problem(id, what, "the layer's directory is missing; pull its image again".into(), false)
    }

    /// The index has no rows of layers that are gone, and lacks no layer.
    pub(super) fn index_rows(&mut self) -> Result<(), Stop> {
        let known = Arc::clone(&self.inner.layers.read());
        for (id, rows) in self.inner.index.strays() {
            // On its way out, or in.
            if known.contains_key(&id) || self.inner.layout.trash().join(id.to_string()).exists() {
                continue;
            }
            if self.options.repair {
                self.inner.index.remove(id, &self.inner.layout.trash());
            }
            let text = format!("{rows} rows of the index are of a layer that is gone");
            self.problem(id, "index".into(), text, self.options.repair)?;
        }
        Ok(())
    }
}

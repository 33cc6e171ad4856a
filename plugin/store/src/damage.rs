//! Layers whose contents verification found wrong, while snapshots have them. These keep what they have, since a
//! container may have it mounted; no pull gets it, also after a restart or when the database is lost. Within a namespace
//! containerd does not ask us for a chain of which it knows a snapshot: there it goes on giving that one to images.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::sync::Arc;

use chunked_core::Digest;
use chunked_core::labels::SNAPSHOT_REF;
use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::marker;
use crate::store::Inner;

/// True for a layer that [`Inner::outlaw`] was called for.
pub(crate) fn is_damaged(db: &Connection, id: u64) -> Result<bool, StoreError> {
    Ok(db.prepare_cached("SELECT 1 FROM layers WHERE id = ?1 AND damaged <> 0")?.exists([id])?)
}

/// All such layers.
pub(crate) fn all(db: &Connection) -> Result<Vec<u64>, StoreError> {
    let mut statement = db.prepare("SELECT id FROM layers WHERE damaged <> 0 ORDER BY id")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Those of one DiffID.
pub(crate) fn of(db: &Connection, diff_id: &Digest) -> Result<Vec<u64>, StoreError> {
    let mut statement =
        db.prepare("SELECT id FROM layers WHERE diff_id = ?1 AND damaged <> 0 ORDER BY id")?;
    let rows = statement.query_map([diff_id.as_bytes()], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl Inner {
    /// Takes a layer out of all look-ups, for good: the next pull that wants it fetches it anew.
    pub(crate) fn outlaw(&self, id: u64) -> Result<(), StoreError> {
        self.database.write(|db| {
            db.execute("UPDATE layers SET damaged = 1 WHERE id = ?1", [id])?;
            // By this label Prepare finds what it needs not pull: a snapshot on a damaged layer is not that.
            let path = format!("$.\"{SNAPSHOT_REF}\"");
            let sql = "UPDATE snapshots SET ref = NULL, labels = json_remove(labels, ?2) WHERE layer = ?1";
            db.execute(sql, params![id, path])?;
            Ok(())
        })?;
        self.database.sync()?;
        Arc::make_mut(&mut self.layers.write()).remove(&id);
        let dir = self.layout.snapshot(id);
        // A new database does not take it in either.
        if let Err(error) = std::fs::remove_file(dir.join(marker::LAYER))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(layer = id, %error, "marker of a damaged layer stays");
        }
        self.index.remove(id, &dir);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

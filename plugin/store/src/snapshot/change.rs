//! Commit, Update and Remove: one short transaction each, no tree walk, no waiting for the disk.

use rusqlite::{OptionalExtension, params};

use super::{Kind, LabelChange, Labels, Snapshot, encode, find, reference, require};
use crate::error::StoreError;
use crate::rows;
use crate::store::{Store, now};

impl Store {
    /// Turns the active snapshot `key` into the committed snapshot `name`, with exactly these labels. A
    /// `parent` may be given for a snapshot that has none yet (containerd.md §3.7, "rebase").
    pub fn commit(
        &self,
        name: &str,
        key: &str,
        labels: &Labels,
        parent: Option<&str>,
    ) -> Result<(), StoreError> {
        if name.is_empty() {
            return Err(StoreError::Invalid("the name of a snapshot is empty".to_owned()));
        }
        self.inner.database.write(|db| {
            if find(db, name)?.is_some() {
                return Err(StoreError::Exists { name: name.to_owned() });
            }
            let active = require(db, key)?;
            if active.kind != Kind::Active {
                return Err(StoreError::WrongKind { name: active.name, kind: active.kind, what: "commit" });
            }
            let parent = settle_parent(db, active, parent)?;
            let sql = "UPDATE snapshots SET name = ?2, kind = 3, parent = ?3, labels = ?4, ref = ?5, created = ?6, \
                       updated = ?6, bytes = NULL, inodes = NULL WHERE name = ?1";
            let values = params![key, name, parent, encode(labels)?, reference(labels), now()];
            db.prepare_cached(sql)?.execute(values)?;
            Ok(())
        })?;
        self.inner.indexing.work();
        Ok(())
    }

    /// Changes labels of the snapshot called `name` and returns it as it is then.
    #[allow(clippy::needless_pass_by_value, reason = "cloned only for a full disk's second try")]
    pub fn update(&self, name: &str, change: LabelChange) -> Result<Snapshot, StoreError> {
        self.inner.database.write(|db| {
            let mut snapshot = require(db, name)?;
            let mut labels = change.replace.clone().unwrap_or(snapshot.labels);
            labels.extend(change.set.clone());
            labels.retain(|_, value| !value.is_empty());
            snapshot.updated = now();
            let sql = "UPDATE snapshots SET labels = ?2, ref = ?3, updated = ?4 WHERE name = ?1";
            let values = params![name, encode(&labels)?, reference(&labels), snapshot.updated];
            db.prepare_cached(sql)?.execute(values)?;
            snapshot.labels = labels;
            Ok(snapshot)
        })
    }

    /// Removes the snapshot called `name`. Its own directory goes to the trash; a layer it points to stays
    /// until `cleanup` finds it unused for long enough.
    pub fn remove(&self, name: &str) -> Result<(), StoreError> {
        let removed = self.inner.database.write(|db| {
            let snapshot = require(db, name)?;
            let mut child = db.prepare_cached("SELECT name FROM snapshots WHERE parent = ?1 LIMIT 1")?;
            if let Some(child) = child.query_row([name], |row| row.get(0)).optional()? {
                return Err(StoreError::HasChild { name: name.to_owned(), child });
            }
            db.prepare_cached("DELETE FROM snapshots WHERE name = ?1")?.execute([name])?;
            if let Some(layer) = snapshot.layer {
                rows::touch_layer(db, layer.get())?;
            }
            Ok(snapshot)
        })?;
        if removed.layer.is_none() {
            self.inner.forget(removed.dir);
            // The row is gone and stays gone.
            self.inner.bury(removed.dir);
        }
        Ok(())
    }
}

/// The parent after a commit: the one there is, or the one the commit brings.
fn settle_parent(
    db: &rusqlite::Connection,
    active: Snapshot,
    wanted: Option<&str>,
) -> Result<Option<String>, StoreError> {
    match (active.parent, wanted.filter(|name| !name.is_empty())) {
        (parent, None) => Ok(parent),
        (Some(parent), Some(wanted)) if parent == wanted => Ok(Some(parent)),
        (Some(parent), Some(wanted)) => {
            Err(StoreError::OtherParent { name: active.name, parent, wanted: wanted.to_owned() })
        }
        (None, Some(wanted)) => match find(db, wanted)? {
            None => Err(StoreError::ParentNotFound { name: wanted.to_owned() }),
            Some(parent) if parent.kind != Kind::Committed => {
                Err(StoreError::RebaseNotCommitted { name: wanted.to_owned() })
            }
            Some(_) => Ok(Some(wanted.to_owned())),
        },
    }
}

//! Questions about snapshots.

use std::collections::HashSet;
use std::path::PathBuf;

use chunked_linux::Dir;
use rusqlite::params;

use super::{COLUMNS, Kind, Mountable, Snapshot, all_for, find, parse, require, require_parent};
use crate::error::StoreError;
use crate::store::Store;
use crate::usage::{self, Usage};

impl Store {
    /// The snapshot called `name`.
    pub fn snapshot(&self, name: &str) -> Result<Snapshot, StoreError> {
        self.inner.database.read(|db| require(db, name))
    }

    /// All snapshots, oldest first. Layers without a snapshot are not among them.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, StoreError> {
        self.inner.database.read(|db| {
            let mut statement = db.prepare_cached(&format!("SELECT {COLUMNS} FROM snapshots ORDER BY id"))?;
            statement.query_and_then([], parse)?.collect()
        })
    }

    /// Snapshots whose label `containerd.io/snapshot.ref` is `target`, oldest first.
    pub fn snapshots_for(&self, target: &str) -> Result<Vec<Snapshot>, StoreError> {
        self.inner.database.read(|db| all_for(db, target))
    }

    /// The snapshot called `name` if it can be a parent: committed, and neither it nor anything below it
    /// damaged.
    pub fn committed_parent(&self, name: &str) -> Result<Snapshot, StoreError> {
        let parent = self.inner.database.read(|db| require_parent(db, name))?;
        self.chain(name)?;
        Ok(parent)
    }

    /// A committed, undamaged snapshot of `target` on exactly this parent: what makes containerd's look-up
    /// after AlreadyExists succeed.
    pub fn adopted(&self, target: &str, parent: Option<&str>) -> Result<Option<Snapshot>, StoreError> {
        let missing = self.inner.missing.read().clone();
        let mut all = self.snapshots_for(target)?.into_iter();
        Ok(all.find(|snapshot| {
            snapshot.kind == Kind::Committed
                && snapshot.parent.as_deref() == parent
                && !missing.contains(&snapshot.dir)
        }))
    }

    /// What mounts the snapshot called `name`. Fails for a committed one.
    pub fn mount(&self, name: &str) -> Result<Mountable, StoreError> {
        let snapshot = self.snapshot(name)?;
        if snapshot.kind == Kind::Committed {
            return Err(StoreError::WrongKind { name: snapshot.name, kind: snapshot.kind, what: "mount" });
        }
        let mut parents = self.chain(name)?;
        parents.remove(0);
        Ok(self.mountable(snapshot, parents))
    }

    /// What the snapshot called `name` occupies. Known for layers; measured once for other committed
    /// snapshots, because Commit must not walk a tree inside containerd's transaction; measured each time
    /// for active ones.
    pub fn usage(&self, name: &str) -> Result<Usage, StoreError> {
        let snapshot = self.snapshot(name)?;
        if let Some(usage) = snapshot.usage {
            return Ok(usage);
        }
        if self.inner.missing.read().contains(&snapshot.dir) {
            return Ok(Usage::default());
        }
        let usage = match usage::measure(&self.inner.layout.fs(snapshot.dir)) {
            Ok(usage) => usage,
            // Removed while it was measured?
            Err(error) => {
                self.snapshot(name)?;
                return Err(error);
            }
        };
        if snapshot.kind == Kind::Committed {
            self.inner.database.write(|db| {
                let sql = "UPDATE snapshots SET bytes = ?2, inodes = ?3 WHERE name = ?1 AND dir = ?4";
                db.prepare_cached(sql)?.execute(params![name, usage.bytes, usage.inodes, snapshot.dir])?;
                Ok(())
            })?;
        }
        Ok(usage)
    }

    /// Trees of the snapshot called `name` and of its parents, itself first. Fails when one of them is
    /// damaged.
    pub(crate) fn chain(&self, name: &str) -> Result<Vec<PathBuf>, StoreError> {
        const CHAIN: &str = "
            WITH RECURSIVE chain (depth, name, parent, dir) AS (
                SELECT 0, name, parent, dir FROM snapshots WHERE name = ?1
                UNION ALL
                SELECT depth + 1, s.name, s.parent, s.dir FROM chain c JOIN snapshots s ON s.name = c.parent
            )
            SELECT name, dir FROM chain ORDER BY depth";
        let rows: Vec<(String, u64)> = self.inner.database.read(|db| {
            let mut statement = db.prepare_cached(CHAIN)?;
            let rows = statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        if rows.is_empty() {
            return Err(StoreError::NotFound { name: name.to_owned() });
        }
        let missing = self.inner.missing.read();
        if let Some((name, dir)) = rows.iter().find(|(_, dir)| missing.contains(dir)) {
            return Err(StoreError::Damaged { name: name.clone(), path: self.inner.layout.snapshot(*dir) });
        }
        Ok(rows.into_iter().map(|(_, dir)| self.inner.layout.fs(dir)).collect())
    }

    pub(crate) fn mountable(&self, snapshot: Snapshot, parents: Vec<PathBuf>) -> Mountable {
        let layout = &self.inner.layout;
        let all = parents.len();
        let visible = visible(parents);
        let cut = visible.len() < all;
        let mut parents = distinct(visible);
        if snapshot.kind == Kind::View && parents.len() == 1 && cut {
            // A bind mount of the layer alone would show overlay's mark on its root: the view's own directory is empty.
            parents.push(layout.fs(snapshot.dir));
        }
        Mountable { fs: layout.fs(snapshot.dir), work: layout.work(snapshot.dir), parents, snapshot }
    }

    /// True when a snapshot of any kind has this name.
    pub fn exists(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.inner.database.read(|db| find(db, name))?.is_some())
    }
}

/// Leaves out what lies below a layer whose root is opaque: overlayfs looks at opaque directories everywhere but at the
/// root (OCI image-spec, layer.md, "Opaque Whiteout").
fn visible(mut parents: Vec<PathBuf>) -> Vec<PathBuf> {
    // What cannot be read is for the mount to report.
    let is_opaque = |path: &PathBuf| Dir::open(path).and_then(|root| root.is_opaque()).unwrap_or(false);
    if let Some(last) = parents.iter().position(is_opaque) {
        parents.truncate(last + 1);
    }
    parents
}

/// Leaves out a layer's lower occurrences. Overlay refuses one directory twice (ELOOP, "conflicting lowerdir
/// path"), and the merged tree is the same: everything a lower occurrence has, the upper one has, too, and
/// covers.
fn distinct(parents: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    parents.into_iter().filter(|path| seen.insert(path.clone())).collect()
}

//! Prepare and View without remote layers: a fresh directory on a parent.

use std::path::Path;

use chunked_linux::Dir;

use super::{Kind, Mountable, NewSnapshot, Snapshot, insert, kept, require_parent};
use crate::error::{StoreError, at};
use crate::layout::make_dir;
use crate::store::{Store, now};

impl Store {
    /// Creates an active snapshot or a view and returns what mounts it.
    ///
    /// Directory first, row last: the row is the commit point, a directory without one is swept at the next
    /// start.
    pub fn create(&self, new: &NewSnapshot<'_>) -> Result<Mountable, StoreError> {
        // Cheap refusals before anything is made. Decided again, for good, when the row is inserted.
        let below = self.inner.database.read(|db| {
            if super::find(db, new.name)?.is_some() {
                return Err(StoreError::Exists { name: new.name.to_owned() });
            }
            new.parent.map(|parent| require_parent(db, parent)).transpose()
        })?;
        let parents = match new.parent {
            Some(parent) => self.chain(parent)?,
            None => Vec::new(),
        };
        let owner = match (new.owner, &below) {
            (None, Some(parent)) => {
                let owner = owner_of(&self.inner.layout.fs(parent.dir));
                // Removed a moment ago? Then say that.
                Some(owner.or_else(|error| self.committed_parent(&parent.name).and(Err(error)))?)
            }
            (owner, _) => owner,
        };
        let id = self.inner.ids.next(&self.inner.database)?;
        let made = self.make(id, new, owner);
        let snapshot = made.and_then(|()| self.record(id, new)).inspect_err(|_| {
            if let Err(error) = chunked_linux::remove_tree(&self.inner.layout.snapshot(id)) {
                tracing::debug!(id, %error, "left for the next start to sweep");
            }
        })?;
        Ok(self.mountable(snapshot, parents))
    }

    fn make(&self, id: u64, new: &NewSnapshot<'_>, owner: Option<(u32, u32)>) -> Result<(), StoreError> {
        make_dir(&self.inner.layout.snapshot(id), 0o700)?;
        let fs = self.inner.layout.fs(id);
        make_dir(&fs, 0o755)?;
        if let Some((uid, gid)) = owner {
            let owned = Dir::open(&self.inner.layout.snapshot(id)).and_then(|dir| dir.chown(b"fs", uid, gid));
            owned.map_err(at("set owner of", &fs))?;
        }
        if new.kind == Kind::Active && new.parent.is_some() {
            make_dir(&self.inner.layout.work(id), 0o711)?;
        }
        Ok(())
    }

    fn record(&self, id: u64, new: &NewSnapshot<'_>) -> Result<Snapshot, StoreError> {
        let time = now();
        let snapshot = Snapshot {
            name: new.name.to_owned(),
            kind: new.kind,
            parent: new.parent.map(str::to_owned),
            labels: kept(new.labels),
            created: time,
            updated: time,
            layer: None,
            dir: id,
            usage: None,
        };
        self.inner.database.write(|db| {
            if let Some(parent) = new.parent {
                require_parent(db, parent)?;
            }
            insert(db, id, &snapshot)
        })?;
        Ok(snapshot)
    }
}

fn owner_of(fs: &Path) -> Result<(u32, u32), StoreError> {
    let stat = Dir::open(fs).and_then(|dir| dir.status()).map_err(at("read owner of", fs))?;
    Ok((stat.st_uid, stat.st_gid))
}

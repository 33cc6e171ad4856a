//! Mending a damaged layer that is in use: the layer is pulled once more beside it, and its right files take the places
//! of the wrong ones, by rename. Mounts stay; who has a file open keeps what it has.
//!
//! While that is done the damaged layer, and others of its DiffID, are out of every look-up, so that nobody gets them for
//! the layer pulled again. Its right files serve that pull like what an earlier try left: hashed before they count.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::io::{self, Read as _};
use std::sync::Arc;

use chunked_core::Digest;
use chunked_core::labels::SNAPSHOT_REF;
use chunked_linux::{Dir, Metadata, Mounts};
use rusqlite::params;

use crate::error::{StoreError, at};
use crate::layer::LayerPin;
use crate::list::List;
use crate::store::Inner;
use crate::{marker, rows};

/// What `damaged` says of a layer that is being mended. A daemon that dies meanwhile leaves a damaged layer.
const IN_WORK: i64 = 2;
/// Bytes compared at a time.
const BUFFER: usize = 256 << 10;
/// Name of a file before it takes its place.
const NEW: &[u8] = b".chunked-snapshotter-mending";

/// A layer whose files are wrong, and that snapshots use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedLayer {
    /// What its tar must hash to.
    pub diff_id: Digest,
    /// ChainIDs of the snapshots on it: by them its images can be found.
    pub chains: Vec<Digest>,
}

/// Pulls damaged layers again.
pub trait Repairer {
    /// The same layer, proven, in another directory; or why it cannot be had, for a person to read. Right files of the
    /// damaged one are among its [`partials`](crate::Store::partials).
    fn pull_again(&mut self, damaged: &DamagedLayer) -> Result<LayerPin, String>;
}

impl Inner {
    /// Mends the layer `id`. `Err` in `Ok` says why that was not possible; then the layer is as damaged as before, and
    /// out of look-ups.
    pub(crate) fn mend(
        self: &Arc<Self>,
        id: u64,
        repairer: &mut dyn Repairer,
    ) -> Result<Result<u64, String>, StoreError> {
        let Some(row) = self.database.read(|db| rows::layer(db, id))? else {
            return Ok(Err("it is gone".to_owned()));
        };
        let targets = self.database.read(|db| targets(db, id))?;
        let mut chains: Vec<Digest> = targets.into_iter().map(|(_, chain)| chain).collect();
        chains.dedup();
        let suspended = self.suspend(id, &row.diff_id)?;
        let pulled = repairer.pull_again(&DamagedLayer { diff_id: row.diff_id, chains });
        let result = match &pulled {
            Ok(pin) if suspended.contains(&pin.id().get()) => {
                Err("the pull gave the damaged layer".to_owned())
            }
            Ok(pin) => self.replace_files(id, pin).map_err(|error| error.to_string()),
            Err(reason) => Err(reason.clone()),
        };
        let good: Vec<u64> = suspended.into_iter().filter(|other| *other != id || result.is_ok()).collect();
        self.resume(&good)?;
        if let Ok(pin) = pulled {
            let number = pin.id().get();
            drop(pin);
            // It shares its files with the mended one, and would only count twice.
            self.drop_layer(number)?;
        }
        Ok(result)
    }

    /// Takes all layers of `diff_id` out of look-ups, for as long as `id`, one of them, is mended.
    fn suspend(&self, id: u64, diff_id: &Digest) -> Result<Vec<u64>, StoreError> {
        let ids: Vec<u64> = self.database.write(|db| {
            let sql =
                "UPDATE layers SET damaged = ?2 WHERE diff_id = ?1 AND (damaged = 0 OR id = ?3) RETURNING id";
            let mut statement = db.prepare(sql)?;
            let ids = statement.query_map(params![diff_id.as_bytes(), IN_WORK, id], |row| row.get(0))?;
            Ok(ids.collect::<Result<_, _>>()?)
        })?;
        let mut layers = self.layers.write();
        ids.iter().for_each(|id| drop(Arc::make_mut(&mut layers).remove(id)));
        drop(layers);
        ids.iter().for_each(|id| self.index.remove(*id, &self.layout.snapshot(*id)));
        Ok(ids)
    }

    /// Undoes [`Inner::suspend`], and what [`Inner::outlaw`] did before.
    fn resume(&self, ids: &[u64]) -> Result<(), StoreError> {
        let rows = self.database.write(|db| {
            let mut back = Vec::new();
            for id in ids.iter().copied() {
                db.execute(
                    "UPDATE layers SET damaged = 0 WHERE id = ?1 AND damaged = ?2",
                    params![id, IN_WORK],
                )?;
                for (name, chain) in targets(db, id)? {
                    let sql =
                        "UPDATE snapshots SET ref = ?2, labels = json_set(labels, ?3, ?2) WHERE name = ?1";
                    db.execute(sql, params![name, chain.to_string(), format!("$.\"{SNAPSHOT_REF}\"")])?;
                }
                back.extend(rows::layer(db, id)?);
            }
            Ok(back)
        })?;
        for row in rows {
            let dir = self.layout.snapshot(row.id);
            if !dir.join(marker::LAYER).exists() {
                marker::write(&dir, &row, self.options.sync)?;
            }
            Arc::make_mut(&mut self.layers.write()).insert(row.id, row.origins.clone());
            self.index.take_in(&self.layout, row.id);
        }
        Ok(())
    }

    /// Puts files of `right` into the places of those in the layer `id` that differ from them. Gives their number.
    fn replace_files(&self, id: u64, right: &LayerPin) -> Result<u64, StoreError> {
        let (from, to) = (right.fs(), self.layout.fs(id));
        let list_dir = self.layout.snapshot(right.id().get());
        let list = List::read(&list_dir).map_err(at("read the list in", &list_dir))?;
        let (source, target) =
            (Dir::open(&from).map_err(at("open", &from))?, Dir::open(&to).map_err(at("open", &to))?);
        let mut replaced = 0;
        for (_, file) in list.files() {
            if !same(&source, &target, &file.path).map_err(at("compare files below", &to))? {
                replace(&source, &target, &file.path).map_err(at("replace a file below", &to))?;
                replaced += 1;
            }
        }
        if self.options.sync {
            self.layout.sync_data()?;
        }
        Ok(replaced)
    }
}

/// Snapshots on the layer `id` that were adopted for a chainID, with that: their label says so, or, if it was taken from
/// them, their name.
fn targets(db: &rusqlite::Connection, id: u64) -> Result<Vec<(String, Digest)>, StoreError> {
    let mut statement =
        db.prepare("SELECT name, coalesce(ref, name) FROM snapshots WHERE layer = ?1 ORDER BY id")?;
    let named = statement.query_map([id], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    let named = named.collect::<Result<Vec<(String, String)>, _>>()?;
    // A second snapshot of a target has a number behind it.
    let chain = |text: &str| text.split('#').next().and_then(|chain| chain.parse().ok());
    Ok(named.into_iter().filter_map(|(name, target)| Some((name, chain(&target)?))).collect())
}

/// True when `path` is the same file in both trees, content and attributes.
fn same(source: &Dir, target: &Dir, path: &[u8]) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let right = source.open_file_beneath(path, Mounts::One)?;
    // Whatever is there instead, the right file takes its place.
    let Ok(found) = target.open_file_beneath(path, Mounts::One) else { return Ok(false) };
    let (right_meta, found_meta) = (right.metadata()?, found.metadata()?);
    if (right_meta.dev(), right_meta.ino()) == (found_meta.dev(), found_meta.ino()) {
        return Ok(true);
    }
    let attributes = |meta: &std::fs::Metadata| {
        (meta.len(), meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec())
    };
    Ok(attributes(&right_meta) == attributes(&found_meta) && same_bytes(&right, &found)?)
}

fn same_bytes(one: &std::fs::File, other: &std::fs::File) -> io::Result<bool> {
    let (mut one, mut other) =
        (io::BufReader::with_capacity(BUFFER, one), io::BufReader::with_capacity(BUFFER, other));
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    loop {
        let n = one.read(&mut left)?;
        if n == 0 {
            return Ok(other.read(&mut right)? == 0);
        }
        match other.read_exact(&mut right[..n]) {
            Ok(()) if left[..n] == right[..n] => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => return Ok(false),
        }
    }
}

/// Makes `path` in `target` a name of `source`'s file, in place of what has that name: both trees are only ever lower
/// directories, so nobody writes through either.
fn replace(source: &Dir, target: &Dir, path: &[u8]) -> io::Result<()> {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = cut.map_or((&path[..0], path), |cut| (&path[..cut], &path[cut + 1..]));
    let (from, to) = (source.open_dir(parent)?, target.open_dir(parent)?);
    // Changing a directory's entries changes its times, which are part of the layer.
    let modified = Metadata::from(&to.status()?).times.modification;
    match to.link_from(&from, name, NEW) {
        // A daemon died in the middle of this.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            to.remove_all(NEW)?;
            to.link_from(&from, name, NEW)?;
        }
        done => done?,
    }
    to.rename(NEW, name)?;
    to.set_modified(modified)
}

#[cfg(test)]
mod tests;

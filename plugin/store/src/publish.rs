//! From a staging tree to a layer.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::sync::Arc;
use std::time::Instant;

use rusqlite::params;

use crate::error::{StoreError, at};
use crate::layer::{LayerPin, NewLayer};
use crate::looks::{self, Looks};
use crate::rows::{LayerRow, Serves};
use crate::staging::Staging;
use crate::store::{Inner, now};
use crate::{list, marker, origins, partial, rows};

pub(crate) fn commit(
    inner: &Arc<Inner>,
    mut staging: Staging,
    layer: &NewLayer,
) -> Result<LayerPin, StoreError> {
    // It becomes a layer now, or is not needed.
    staging.spoil();
    partial::unmark(staging.dir())?;
    check(layer)?;
    if let Some(pin) = known(inner, layer)? {
        return Ok(pin);
    }
    let row = LayerRow {
        id: staging.id(),
        diff_id: layer.diff_id,
        serves: Serves::of(layer.flavour, layer.has_whiteouts),
        context: layer.implied.is_empty().then(Vec::new),
        bytes: 0,
        inodes: 0,
        has_whiteouts: layer.has_whiteouts,
        implied: layer.implied.clone(),
        created: now(),
        origins: layer.origin.iter().cloned().collect(),
        shared: layer.shared,
        metadata: None,
    };
    let entries = list::write(staging.dir(), &layer.files, layer.chunks.as_deref())
        .map_err(at("write list of files in", staging.dir()))?;
    let Looks { usage, metadata } = look_and_write_out(inner, &staging, &row.implied)?;
    let row = LayerRow { bytes: usage.bytes, inodes: usage.inodes, metadata: Some(metadata), ..row };
    marker::write(staging.dir(), &row, inner.options.sync)?;
    // Another job may have finished the same layer meanwhile, for the other place in the stack.
    let one_at_a_time = inner.publishing.lock();
    if let Some(pin) = known(inner, layer)? {
        return Ok(pin);
    }
    let pin = publish(inner, staging, &row)?;
    drop(one_at_a_time);
    inner.database.sync()?;
    let cut = entries.cut;
    inner.index.insert(row.id, entries);
    if !cut {
        inner.indexing.work();
    }
    Ok(pin)
}

fn known(inner: &Arc<Inner>, layer: &NewLayer) -> Result<Option<LayerPin>, StoreError> {
    let pin = inner.pin_layer(&layer.diff_id, layer.flavour)?;
    if let Some(pin) = &pin {
        inner.database.write(|db| rows::touch_layer(db, pin.id().get()))?;
        if let Some(origin) = &layer.origin {
            inner.add_origin(pin.id(), origin)?;
        }
    }
    Ok(pin)
}

/// Commits a second directory of a layer that is known, for another context.
pub(crate) fn commit_twin(
    inner: &Arc<Inner>,
    staging: Staging,
    row: &LayerRow,
) -> Result<LayerPin, StoreError> {
    write_out(inner)?;
    let pin = publish(inner, staging, row)?;
    inner.database.sync()?;
    Ok(pin)
}

/// Puts the staging tree's data on disk, and meanwhile looks through the tree, whose inodes are still in memory.
fn look_and_write_out(inner: &Inner, staging: &Staging, implied: &[Vec<u8>]) -> Result<Looks, StoreError> {
    std::thread::scope(|scope| {
        let looking = scope.spawn(|| looks::look(staging.fs(), implied));
        let written = write_out(inner);
        let panicked = |_| StoreError::Invalid("looking through a layer ended abnormally".into());
        let looks = looking.join().map_err(panicked)?;
        written.and(looks)
    })
}

/// Puts the staging tree's data on disk.
fn write_out(inner: &Inner) -> Result<(), StoreError> {
    if inner.options.sync { inner.layout.sync_data() } else { Ok(()) }
}

/// Rename and row, after the data; the marker files are written already.
fn publish(inner: &Arc<Inner>, mut staging: Staging, row: &LayerRow) -> Result<LayerPin, StoreError> {
    let dir = inner.layout.snapshot(row.id);
    std::fs::rename(staging.dir(), &dir).map_err(at("publish", &dir))?;
    staging.keep();
    // A crash from here on leaves a directory with a marker: the next start writes the row itself.
    record(inner, row).inspect_err(|_| withdraw(inner, row.id))
}

fn record(inner: &Arc<Inner>, row: &LayerRow) -> Result<LayerPin, StoreError> {
    if inner.options.sync {
        inner.layout.sync_names()?;
    }
    let pin = inner.pin(row.id);
    inner.fresh.lock().insert(row.id, Instant::now());
    Arc::make_mut(&mut inner.layers.write()).insert(row.id, row.origins.clone());
    inner.database.write(|db| {
        rows::insert_layer(db, row)?;
        heal(inner, db, row)
    })?;
    Ok(pin)
}

/// Takes a directory away that got no row, because the disk is full or broken: nobody would find it until the next start.
fn withdraw(inner: &Inner, id: u64) {
    inner.forget(id);
    // Where it cannot be told, the directory stays: a row without one would be worse.
    if matches!(inner.database.read(|db| rows::layer(db, id)), Ok(None)) {
        inner.bury(id);
    }
}

/// Snapshots whose layer directory was lost get the new one, when it is certainly the same tree.
fn heal(inner: &Inner, db: &rusqlite::Connection, row: &LayerRow) -> Result<(), StoreError> {
    let missing = inner.missing.read().clone();
    if missing.is_empty() || row.context.as_deref() != Some(&[]) {
        return Ok(());
    }
    let mut statement =
        db.prepare("SELECT id FROM layers WHERE diff_id = ?1 AND id <> ?2 AND has_whiteouts = ?3")?;
    let same =
        statement.query_map(params![row.diff_id.as_bytes(), row.id, row.has_whiteouts], |row| row.get(0))?;
    for id in same {
        let id: u64 = id?;
        let usable = rows::layer(db, id)?.is_some_and(|old| old.serves == row.serves);
        if missing.contains(&id) && usable {
            db.execute("UPDATE snapshots SET dir = ?2, layer = ?2 WHERE layer = ?1", params![id, row.id])?;
            db.execute("DELETE FROM layers WHERE id = ?1", [id])?;
            tracing::info!(layer = row.id, damaged = id, "layer pulled again, damaged snapshots repaired");
        }
    }
    Ok(())
}

fn check(layer: &NewLayer) -> Result<(), StoreError> {
    layer.origin.as_deref().map_or(Ok(()), origins::check)?;
    let clean = |path: &[u8]| {
        !path.contains(&0) && path.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
    };
    match layer.implied.iter().find(|path| !clean(path)) {
        Some(path) => {
            let path = String::from_utf8_lossy(path).into_owned();
            Err(StoreError::Invalid(format!(
                "layer {}: implied directory {path:?} is not a clean path",
                layer.diff_id
            )))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;

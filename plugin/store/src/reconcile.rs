//! Start-up: makes rows and directories agree again after a crash.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::collections::HashSet;
use std::path::Path;

use crate::database::Database;
use crate::error::{StoreError, at};
use crate::layout::Layout;
use crate::origins::{Known, LOCAL};
use crate::rows::LayerRow;
use crate::{marker, orphans, partial, rows, snapshot};

/// What is really there.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Layers with row and directory, and where they came from.
    pub(crate) layers: Known,
    /// Directories that rows of snapshots name and that are gone.
    pub(crate) missing: HashSet<u64>,
    /// The state database was lost, and layers were taken in again from their markers.
    pub(crate) lost_state: bool,
}

/// Rows and directories, as found.
struct State {
    layers: HashSet<u64>,
    snapshots: HashSet<u64>,
    directories: HashSet<u64>,
    /// Names in `snapshots` that no version of the store makes.
    strangers: Vec<String>,
}

pub(crate) fn run(layout: &Layout, database: &Database) -> Result<Found, StoreError> {
    for name in names(&layout.staging())? {
        let dir = layout.staging().join(&name);
        // A killed job's tree may serve the next try; one that cannot be kept is no loss.
        if !partial::keep(layout, &dir).unwrap_or_default() {
            layout.discard(&dir, &name)?;
        }
    }
    partial::trim(layout)?;
    let state = read(layout, database)?;
    let recovered = unowned(layout, database, &state)?;
    let lost_state = database.is_new() && !recovered.is_empty();
    if lost_state {
        tracing::warn!(
            layers = recovered.len(),
            "the state database was lost; layers are taken in again, and images' snapshots when containerd asks for them"
        );
    }
    // Their numbers must not be given again.
    let orphans: HashSet<u64> = orphans::names(layout)?.iter().filter_map(|name| name.parse().ok()).collect();
    let highest =
        [&state.directories, &state.snapshots, &state.layers, &orphans].into_iter().flatten().copied().max();
    database.write(|db| {
        for row in &recovered {
            rows::insert_layer(db, row)?;
        }
        db.execute("UPDATE ids SET next = MAX(next, ?1)", [highest.unwrap_or(0) + 1])?;
        // A layer that is gone and that no snapshot needs is no loss.
        for id in state.layers.difference(&state.directories) {
            if !rows::layer_is_used(db, *id)? {
                db.execute("DELETE FROM layers WHERE id = ?1", [id])?;
            }
        }
        Ok(())
    })?;
    let missing: HashSet<u64> = state.snapshots.difference(&state.directories).copied().collect();
    for id in &missing {
        tracing::error!(path = %layout.snapshot(*id).display(), "directory of a snapshot is missing, it is marked damaged");
    }
    let mut layers: Known = database.read(rows::all_origins)?.into_iter().collect();
    for id in database.read(snapshot::committed_directories)? {
        layers.insert(id, vec![LOCAL.to_owned()]);
    }
    layers.retain(|id, _| state.directories.contains(id));
    Ok(Found { layers, missing, lost_state })
}

fn read(layout: &Layout, database: &Database) -> Result<State, StoreError> {
    let ids = |sql: &str| {
        database.read(|db| {
            let mut statement = db.prepare(sql)?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<HashSet<u64>, _>>()?)
        })
    };
    let mut state = State {
        layers: ids("SELECT id FROM layers")?,
        snapshots: ids("SELECT dir FROM snapshots")?,
        directories: HashSet::new(),
        strangers: Vec::new(),
    };
    for name in names(&layout.snapshots())? {
        match name.parse::<u64>() {
            Ok(id) if id.to_string() == name => drop(state.directories.insert(id)),
            _ => state.strangers.push(name),
        }
    }
    Ok(state)
}

/// Finds the directories without a row: layers get their row back, the rest goes to the trash.
fn unowned(layout: &Layout, database: &Database, state: &State) -> Result<Vec<LayerRow>, StoreError> {
    let mut recovered: Vec<LayerRow> = Vec::new();
    for id in &state.directories {
        if state.layers.contains(id) || state.snapshots.contains(id) && !is_layer(layout, *id) {
            continue;
        }
        let row = marker::read_layer(&layout.snapshot(*id), *id);
        match row {
            Some(row) if state.snapshots.contains(id) || !is_known(database, &recovered, &row)? => {
                tracing::info!(layer = id, diff_id = %row.diff_id, "row of a layer written again from its marker");
                recovered.push(row);
            }
            _ => abandon(layout, database, &id.to_string())?,
        }
    }
    for name in &state.strangers {
        abandon(layout, database, name)?;
    }
    Ok(recovered)
}

fn is_layer(layout: &Layout, id: u64) -> bool {
    layout.snapshot(id).join(marker::LAYER).exists()
}

fn is_known(database: &Database, recovered: &[LayerRow], row: &LayerRow) -> Result<bool, StoreError> {
    let same = |other: &LayerRow| other.diff_id == row.diff_id && other.serves == row.serves;
    let flavours = [crate::Flavour::Base, crate::Flavour::Upper];
    for flavour in flavours.into_iter().filter(|flavour| row.serves.allows(*flavour)) {
        if database.read(|db| rows::layers_of(db, &row.diff_id, flavour))?.iter().any(same) {
            return Ok(true);
        }
    }
    Ok(recovered.iter().any(same))
}

/// A directory nobody owns goes to the trash. But if the whole database is new, it was lost, and the
/// directory may be a running container's: that one is only moved aside.
fn abandon(layout: &Layout, database: &Database, name: &str) -> Result<(), StoreError> {
    if database.is_new() {
        return orphans::keep(layout, name);
    }
    let path = layout.snapshots().join(name);
    tracing::info!(path = %path.display(), "directory without a row goes to the trash");
    layout.discard(&path, name).map(drop)
}

fn names(path: &Path) -> Result<Vec<String>, StoreError> {
    let list = || -> std::io::Result<Vec<String>> {
        let entries = std::fs::read_dir(path)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    };
    list().map_err(at("list", path))
}

#[cfg(test)]
mod tests;

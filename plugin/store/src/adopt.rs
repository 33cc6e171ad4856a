//! A layer becomes a committed snapshot without any download.
//!
//! One layer directory serves every parent, except that containerd's own unpack gives directories which the
//! tar needs but does not describe the attributes they have in the layers below (function `mkparent` in its
//! `pkg/archive/tar.go`). Those *implied* directories are settled here, when the parents are known: the
//! *context* of a layer directory is the digest of the attributes it was given, and another context needs
//! another directory.

mod again;
mod implied;
mod twin;

pub use again::ChainLayer;

use std::path::PathBuf;

use chunked_core::labels::SNAPSHOT_REF;
use rusqlite::{Transaction, params};

use crate::damage;
use crate::error::StoreError;
use crate::layer::{Flavour, LayerId, LayerPin};
use crate::rows::{self, LayerRow};
use crate::snapshot::{self, Kind, Labels, Snapshot};
use crate::store::{Store, now};

/// Labels of a request that an adopted snapshot keeps. containerd copies labels of ours that its request
/// did not have, and there `containerd.io/gc.*` means something (containerd.md §5.1).
const KEPT_LABELS: &str = "containerd.io/snapshot/";

/// What a layer is adopted as.
#[derive(Debug, Clone, Copy)]
pub struct Adoption<'a> {
    /// The chainID, value of `containerd.io/snapshot.ref`.
    pub target: &'a str,
    /// Name of the committed parent.
    pub parent: Option<&'a str>,
    /// Labels of the request.
    pub labels: &'a Labels,
}

impl Store {
    /// Makes `layer` a committed snapshot of `adoption.target` on `adoption.parent`, or returns the one
    /// there is. On disk when this returns.
    ///
    /// The name is the target, made unique with `#` and a number where it is taken (the same chain on
    /// another parent row). A damaged snapshot of the same target and parent is repaired instead.
    pub fn adopt(&self, layer: &LayerPin, adoption: &Adoption<'_>) -> Result<Snapshot, StoreError> {
        self.adopt_as(layer, adoption, None)
    }

    /// As [`Store::adopt`], under the name `name` if there is one.
    fn adopt_as(
        &self,
        layer: &LayerPin,
        adoption: &Adoption<'_>,
        name: Option<&str>,
    ) -> Result<Snapshot, StoreError> {
        let parents = match adoption.parent {
            Some(parent) => {
                self.inner.database.read(|db| snapshot::require_parent(db, parent))?;
                self.chain(parent)?
            }
            None => Vec::new(),
        };
        let settled = self.settle(layer, &parents)?;
        let id = self.inner.ids.next(&self.inner.database)?;
        let missing = self.inner.missing.read().clone();
        let adopted = self.inner.database.write(|db| {
            let row = require_layer(db, settled.id())?;
            rows::touch_layer(db, row.id)?;
            if let Some(parent) = adoption.parent {
                snapshot::require_parent(db, parent)?;
            }
            for mut same in snapshot::all_for(db, adoption.target)? {
                let other_name = name.is_some_and(|name| name != same.name);
                if same.kind != Kind::Committed || same.parent.as_deref() != adoption.parent || other_name {
                    continue;
                }
                if missing.contains(&same.dir) {
                    repair(db, &mut same, &row)?;
                }
                return Ok(same);
            }
            insert(db, id, &row, adoption, name)
        })?;
        self.inner.fresh.lock().remove(&settled.id().get());
        self.inner.database.sync()?;
        Ok(adopted)
    }

    /// The layer directory whose implied directories have the attributes they get on these parents
    /// (top-most first): the one given, another one, or a new one.
    fn settle(&self, layer: &LayerPin, parents: &[PathBuf]) -> Result<LayerPin, StoreError> {
        let row = self.inner.database.read(|db| require_layer(db, layer.id()))?;
        let flavour = if parents.is_empty() { Flavour::Base } else { Flavour::Upper };
        if !row.serves.allows(flavour) {
            let place = if parents.is_empty() { "lowest" } else { "upper" };
            return Err(StoreError::Invalid(format!("layer {} was not built as {place} layer", row.diff_id)));
        }
        if row.implied.is_empty() {
            return Ok(layer.clone());
        }
        let _one_at_a_time = self.inner.settling.lock();
        let wanted = implied::resolve(parents, &row.implied)?;
        let context = implied::context(&row.implied, &wanted);
        if let Some(same) = self.find_settled(&row, &context)? {
            return Ok(same);
        }
        let (row, used) = self
            .inner
            .database
            .read(|db| Ok((require_layer(db, layer.id())?, rows::layer_is_used(db, layer.id().get())?)))?;
        if row.context.is_none() && !used {
            implied::apply(&layer.fs(), &row.implied, &wanted, self.inner.options.sync)?;
            self.inner.database.write(|db| rows::set_context(db, row.id, context.as_bytes()))?;
            return Ok(layer.clone());
        }
        twin::create(&self.inner, &row, |fs| implied::apply(fs, &row.implied, &wanted, false), &context)
    }

    fn find_settled(
        &self,
        row: &LayerRow,
        context: &chunked_core::Digest,
    ) -> Result<Option<LayerPin>, StoreError> {
        let mut pins = self.inner.pins.lock();
        let all = self.inner.database.read(|db| rows::layers_with(db, &row.diff_id))?;
        let known = self.inner.layers.read();
        let same = all.into_iter().find(|other| {
            other.serves == row.serves
                && other.context.as_deref() == Some(context.as_bytes())
                && known.contains_key(&other.id)
        });
        Ok(same.map(|other| LayerPin::new(&self.inner, &mut pins, LayerId(other.id))))
    }
}

fn require_layer(db: &rusqlite::Connection, id: LayerId) -> Result<LayerRow, StoreError> {
    let row =
        rows::layer(db, id.get())?.ok_or_else(|| StoreError::NotFound { name: format!("layer {id}") })?;
    // A job has had it pinned since before that was found.
    if damage::is_damaged(db, id.get())? {
        return Err(StoreError::DamagedLayer { diff_id: row.diff_id });
    }
    Ok(row)
}

fn insert(
    db: &Transaction<'_>,
    id: u64,
    row: &LayerRow,
    adoption: &Adoption<'_>,
    name: Option<&str>,
) -> Result<Snapshot, StoreError> {
    let free = || match snapshot::find(db, adoption.target)? {
        None => Ok(adoption.target.to_owned()),
        Some(_) => Ok(format!("{}#{id}", adoption.target)),
    };
    let name = name.map_or_else(free, |name| Ok::<_, StoreError>(name.to_owned()))?;
    let mut labels = adoption.labels.clone();
    labels.retain(|key, value| key.starts_with(KEPT_LABELS) && !value.is_empty());
    labels.insert(SNAPSHOT_REF.to_owned(), adoption.target.to_owned());
    let time = now();
    let snapshot = Snapshot {
        name,
        kind: Kind::Committed,
        parent: adoption.parent.map(str::to_owned),
        labels,
        created: time,
        updated: time,
        layer: Some(LayerId(row.id)),
        dir: row.id,
        usage: Some(row.own()),
    };
    snapshot::insert(db, id, &snapshot)?;
    Ok(snapshot)
}

/// Gives a snapshot whose directory was lost the layer's directory; its name, which containerd knows,
/// stays.
fn repair(db: &Transaction<'_>, damaged: &mut Snapshot, row: &LayerRow) -> Result<(), StoreError> {
    let sql = "UPDATE snapshots SET dir = ?2, layer = ?2, bytes = ?3, inodes = ?4 WHERE name = ?1";
    db.execute(sql, params![damaged.name, row.id, row.own().bytes, row.own().inodes])?;
    tracing::info!(snapshot = damaged.name, layer = row.id, "damaged snapshot repaired");
    damaged.dir = row.id;
    damaged.layer = Some(LayerId(row.id));
    damaged.usage = Some(row.own());
    Ok(())
}

#[cfg(test)]
mod tests;

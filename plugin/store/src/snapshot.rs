//! Snapshots: what containerd names, parents, commits and removes.

mod change;
mod create;
mod read;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use rusqlite::{Connection, Row};

use crate::error::StoreError;
use crate::layer::LayerId;
use crate::usage::Usage;

/// Labels of a snapshot.
pub type Labels = BTreeMap<String, String>;

/// What a snapshot is, numbered as on containerd's wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Read-only look at its parent.
    View,
    /// Writable.
    Active,
    /// Immutable; the only kind that can be a parent.
    Committed,
}

impl Kind {
    fn code(self) -> i64 {
        match self {
            Self::View => 1,
            Self::Active => 2,
            Self::Committed => 3,
        }
    }

    fn from_code(code: i64) -> Option<Self> {
        [Self::View, Self::Active, Self::Committed].into_iter().find(|kind| kind.code() == code)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::View => "a view",
            Self::Active => "active",
            Self::Committed => "committed",
        })
    }
}

/// A snapshot as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Key, or name once committed.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Name of the committed snapshot below.
    pub parent: Option<String>,
    /// Its labels.
    pub labels: Labels,
    /// Nanoseconds since the epoch.
    pub created: i64,
    /// Nanoseconds since the epoch.
    pub updated: i64,
    /// The layer it points to, when it was adopted.
    pub layer: Option<LayerId>,
    /// Number of its directory.
    pub(crate) dir: u64,
    /// What it occupies, when that is known already.
    pub(crate) usage: Option<Usage>,
}

/// A snapshot to create, see [`crate::Store::create`].
#[derive(Debug, Clone, Copy)]
pub struct NewSnapshot<'a> {
    /// Its key; any non-empty text.
    pub name: &'a str,
    /// [`Kind::Active`] or [`Kind::View`].
    pub kind: Kind,
    /// Name of a committed snapshot.
    pub parent: Option<&'a str>,
    /// Its labels.
    pub labels: &'a Labels,
    /// Owner (uid, gid) of the fresh tree; `None` takes the parent's, or root.
    pub owner: Option<(u32, u32)>,
}

/// What to change in a snapshot's labels. An empty value deletes its label.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelChange {
    /// Replaces the whole map first.
    pub replace: Option<Labels>,
    /// Then sets these, one by one.
    pub set: Labels,
}

/// A snapshot with the directories a mount of it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mountable {
    /// The snapshot.
    pub snapshot: Snapshot,
    /// Its own tree: upper directory of an overlay, or source of a bind mount.
    pub fs: PathBuf,
    /// Its overlay work directory.
    pub work: PathBuf,
    /// Trees of its parents, the direct one first. A layer that is in the chain several times is here once, at
    /// its highest place.
    pub parents: Vec<PathBuf>,
}

pub(crate) const COLUMNS: &str = "name, kind, parent, labels, created, updated, layer, dir, bytes, inodes";

pub(crate) fn parse(row: &Row<'_>) -> Result<Snapshot, StoreError> {
    let name: String = row.get(0)?;
    let broken = |what| StoreError::BrokenRow { what, name: row.get(0).unwrap_or_default() };
    let labels = row.get_ref(3)?.as_str().map_err(|_| broken("labels"))?;
    let (bytes, inodes): (Option<u64>, Option<u64>) = (row.get(8)?, row.get(9)?);
    Ok(Snapshot {
        kind: Kind::from_code(row.get(1)?).ok_or_else(|| broken("kind"))?,
        parent: row.get(2)?,
        labels: serde_json::from_str(labels).map_err(|_| broken("labels"))?,
        created: row.get(4)?,
        updated: row.get(5)?,
        layer: row.get::<_, Option<u64>>(6)?.map(LayerId),
        dir: row.get(7)?,
        usage: bytes.zip(inodes).map(|(bytes, inodes)| Usage { bytes, inodes }),
        name,
    })
}

/// The snapshot called `name`.
pub(crate) fn find(db: &Connection, name: &str) -> Result<Option<Snapshot>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM snapshots WHERE name = ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query_and_then([name], parse)?;
    rows.next().transpose()
}

/// All snapshots with this `containerd.io/snapshot.ref`, oldest first.
pub(crate) fn all_for(db: &Connection, target: &str) -> Result<Vec<Snapshot>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM snapshots WHERE ref = ?1 ORDER BY id");
    db.prepare_cached(&sql)?.query_and_then([target], parse)?.collect()
}

/// Directories of committed snapshots that are no layers of ours.
pub(crate) fn committed_directories(db: &Connection) -> Result<HashSet<u64>, StoreError> {
    let mut statement = db.prepare_cached("SELECT dir FROM snapshots WHERE layer IS NULL AND kind = 3")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// True for one of [`committed_directories`]. A snapshot that was created here has its directory's number.
pub(crate) fn is_committed_directory(db: &Connection, dir: u64) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM snapshots WHERE id = ?1 AND dir = ?1 AND layer IS NULL AND kind = 3";
    Ok(db.prepare_cached(sql)?.exists([dir])?)
}

/// The snapshot called `name`, which must exist.
pub(crate) fn require(db: &Connection, name: &str) -> Result<Snapshot, StoreError> {
    find(db, name)?.ok_or_else(|| StoreError::NotFound { name: name.to_owned() })
}

/// The parent called `name`, which must exist and be committed.
pub(crate) fn require_parent(db: &Connection, name: &str) -> Result<Snapshot, StoreError> {
    match find(db, name)? {
        None => Err(StoreError::ParentNotFound { name: name.to_owned() }),
        Some(parent) if parent.kind != Kind::Committed => {
            Err(StoreError::ParentNotCommitted { name: name.to_owned() })
        }
        Some(parent) => Ok(parent),
    }
}

/// Adds a row; `id` is new, `dir` is `id` or the layer's.
pub(crate) fn insert(db: &Connection, id: u64, snapshot: &Snapshot) -> Result<(), StoreError> {
    if snapshot.name.is_empty() {
        return Err(StoreError::Invalid("the name of a snapshot is empty".to_owned()));
    }
    if find(db, &snapshot.name)?.is_some() {
        return Err(StoreError::Exists { name: snapshot.name.clone() });
    }
    let sql = format!(
        "INSERT INTO snapshots ({COLUMNS}, id, ref) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)"
    );
    db.prepare_cached(&sql)?.execute(rusqlite::params![
        snapshot.name,
        snapshot.kind.code(),
        snapshot.parent,
        encode(&snapshot.labels)?,
        snapshot.created,
        snapshot.updated,
        snapshot.layer.map(LayerId::get),
        snapshot.dir,
        snapshot.usage.map(|usage| usage.bytes),
        snapshot.usage.map(|usage| usage.inodes),
        id,
        reference(&snapshot.labels),
    ])?;
    Ok(())
}

/// Labels as stored. Empty values are dropped, as containerd's own stores do.
fn encode(labels: &Labels) -> Result<String, StoreError> {
    let kept: BTreeMap<_, _> = labels.iter().filter(|(_, value)| !value.is_empty()).collect();
    serde_json::to_string(&kept).map_err(|error| StoreError::Invalid(format!("labels: {error}")))
}

fn kept(labels: &Labels) -> Labels {
    labels.iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.clone(), v.clone())).collect()
}

fn reference(labels: &Labels) -> Option<&String> {
    labels.get(chunked_core::labels::SNAPSHOT_REF).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;

//! Rows of the layer table, and the id counter.

use chunked_core::Digest;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::StoreError;
use crate::layer::Flavour;
use crate::usage::Usage;

/// For which places a layer's tree serves, as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Serves {
    Any,
    Base,
    Upper,
}

impl Serves {
    pub(crate) fn of(flavour: Flavour, has_whiteouts: bool) -> Self {
        match flavour {
            _ if !has_whiteouts => Self::Any,
            Flavour::Base => Self::Base,
            Flavour::Upper => Self::Upper,
        }
    }

    pub(crate) fn allows(self, flavour: Flavour) -> bool {
        match self {
            Self::Any => true,
            Self::Base => flavour == Flavour::Base,
            Self::Upper => flavour == Flavour::Upper,
        }
    }

    fn code(self) -> i64 {
        match self {
            Self::Any => 0,
            Self::Base => 1,
            Self::Upper => 2,
        }
    }

    fn from_code(code: i64) -> Option<Self> {
        [Self::Any, Self::Base, Self::Upper].into_iter().find(|serves| serves.code() == code)
    }
}

/// One row of `layers`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerRow {
    pub(crate) id: u64,
    pub(crate) diff_id: Digest,
    pub(crate) serves: Serves,
    /// Which implied directories the tree has: `None` not settled, empty for a layer without any.
    pub(crate) context: Option<Vec<u8>>,
    pub(crate) bytes: u64,
    pub(crate) inodes: u64,
    pub(crate) has_whiteouts: bool,
    pub(crate) implied: Vec<Vec<u8>>,
    pub(crate) created: i64,
    /// Registries it came from, as host or host:port.
    pub(crate) origins: Vec<String>,
    /// What of bytes and inodes other layers had, too, when it was made.
    pub(crate) shared: Usage,
    /// What its tree looked like then, see [`crate::looks`]; not known of layers that earlier versions made.
    pub(crate) metadata: Option<Digest>,
}

impl LayerRow {
    /// What came to the disk with this layer.
    pub(crate) fn own(&self) -> Usage {
        Usage { bytes: self.bytes, inodes: self.inodes }.without(self.shared)
    }
}

const COLUMNS: &str = "id, diff_id, flavour, context, bytes, inodes, has_whiteouts, implied, created, origins, shared_bytes, \
                       shared_inodes, metadata";

fn parse(row: &Row<'_>) -> Result<LayerRow, StoreError> {
    let id: u64 = row.get(0)?;
    let broken = |what| StoreError::BrokenRow { what, name: format!("layer {id}") };
    let implied: Vec<u8> = row.get(7)?;
    Ok(LayerRow {
        id,
        diff_id: Digest::from_bytes(row.get(1).map_err(|_| broken("diff_id"))?),
        serves: Serves::from_code(row.get(2)?).ok_or_else(|| broken("flavour"))?,
        context: row.get(3)?,
        bytes: row.get(4)?,
        inodes: row.get(5)?,
        has_whiteouts: row.get(6)?,
        implied: split(&implied),
        created: row.get(8)?,
        origins: split_hosts(row.get_ref(9)?.as_str().map_err(|_| broken("origins"))?),
        shared: Usage { bytes: row.get(10)?, inodes: row.get(11)? },
        metadata: row.get::<_, Option<_>>(12)?.map(Digest::from_bytes),
    })
}

/// All rows of one DiffID that are not known to be damaged, oldest first.
pub(crate) fn layers_with(db: &Connection, diff_id: &Digest) -> Result<Vec<LayerRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM layers WHERE diff_id = ?1 AND damaged = 0 ORDER BY id");
    let mut statement = db.prepare_cached(&sql)?;
    statement.query_and_then([diff_id.as_bytes()], parse)?.collect()
}

/// All rows of one DiffID that serve in this place, oldest first.
pub(crate) fn layers_of(
    db: &Connection,
    diff_id: &Digest,
    flavour: Flavour,
) -> Result<Vec<LayerRow>, StoreError> {
    let rows = layers_with(db, diff_id)?;
    Ok(rows.into_iter().filter(|row| row.serves.allows(flavour)).collect())
}

/// One layer's row.
pub(crate) fn layer(db: &Connection, id: u64) -> Result<Option<LayerRow>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM layers WHERE id = ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let mut rows = statement.query_and_then([id], parse)?;
    rows.next().transpose()
}

/// Adds a row.
pub(crate) fn insert_layer(db: &Connection, row: &LayerRow) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO layers ({COLUMNS}, used) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
    );
    db.prepare_cached(&sql)?.execute(params![
        row.id,
        row.diff_id.as_bytes(),
        row.serves.code(),
        row.context,
        row.bytes,
        row.inodes,
        row.has_whiteouts,
        join(&row.implied),
        row.created,
        row.origins.join(" "),
        row.shared.bytes,
        row.shared.inodes,
        row.metadata.as_ref().map(Digest::as_bytes),
        crate::store::now(),
    ])?;
    Ok(())
}

/// Notes that a layer was wanted just now.
pub(crate) fn touch_layer(db: &Connection, id: u64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE layers SET used = ?2 WHERE id = ?1")?
        .execute(params![id, crate::store::now()])?;
    Ok(())
}

/// Records which implied directories a layer's tree has.
pub(crate) fn set_context(db: &Connection, id: u64, context: &[u8]) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE layers SET context = ?2 WHERE id = ?1")?.execute(params![id, context])?;
    Ok(())
}

/// True when a snapshot points to the layer.
pub(crate) fn layer_is_used(db: &Connection, id: u64) -> Result<bool, StoreError> {
    let mut statement = db.prepare_cached("SELECT 1 FROM snapshots WHERE layer = ?1 LIMIT 1")?;
    Ok(statement.query_row([id], |_| Ok(())).optional()?.is_some())
}

/// Reserves `count` ids and returns the end of the block.
pub(crate) fn take_ids(db: &Connection, count: u64) -> Result<u64, StoreError> {
    let mut statement = db.prepare_cached("UPDATE ids SET next = next + ?1 RETURNING next")?;
    Ok(statement.query_row([count], |row| row.get(0))?)
}

/// Replaces the registries a layer came from.
pub(crate) fn set_origins(db: &Connection, id: u64, origins: &[String]) -> Result<(), StoreError> {
    let sql = "UPDATE layers SET origins = ?2 WHERE id = ?1";
    db.prepare_cached(sql)?.execute(params![id, origins.join(" ")])?;
    Ok(())
}

/// Every layer that is not known to be damaged, with the registries it came from.
pub(crate) fn all_origins(db: &Connection) -> Result<Vec<(u64, Vec<String>)>, StoreError> {
    let mut statement = db.prepare("SELECT id, origins FROM layers WHERE damaged = 0")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, split_hosts(row.get_ref(1)?.as_str()?))))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn split_hosts(joined: &str) -> Vec<String> {
    joined.split_ascii_whitespace().map(str::to_owned).collect()
}

fn join(paths: &[Vec<u8>]) -> Vec<u8> {
    paths.iter().flat_map(|path| path.iter().copied().chain([0])).collect()
}

fn split(joined: &[u8]) -> Vec<Vec<u8>> {
    joined.split_inclusive(|b| *b == 0).map(|path| path.strip_suffix(&[0]).unwrap_or(path).to_vec()).collect()
}

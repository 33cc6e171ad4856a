//! The layers, one by one, for people.

use chunked_core::Digest;

use crate::error::StoreError;
use crate::layer::LayerId;
use crate::store::Store;
use crate::usage::Usage;

/// A layer as `store ls` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerInfo {
    /// Its directory's number.
    pub id: LayerId,
    /// Digest of its tar.
    pub diff_id: Digest,
    /// What it occupies, shared or not.
    pub usage: Usage,
    /// What came to the disk with it; see [`Usage`].
    pub own: Usage,
    /// When it was made, nanoseconds since the epoch.
    pub created: i64,
    /// When it was last committed, adopted, released by a snapshot or used as a donor; nanoseconds since the epoch.
    pub used: i64,
    /// Snapshots that point to it.
    pub snapshots: u64,
    /// Something is using it just now.
    pub pinned: bool,
    /// Verification found it damaged: no pull reuses it.
    pub damaged: bool,
    /// Registries it came from, as host or host:port.
    pub origins: Vec<String>,
}

impl Store {
    /// All layers, least recently used first: the order in which unused ones go.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn layers(&self) -> Result<Vec<LayerInfo>, StoreError> {
        self.inner.note_touched()?;
        let pinned: Vec<u64> = self.inner.pins.lock().keys().copied().collect();
        self.inner.database.read(|db| {
            let sql = "SELECT l.id, l.diff_id, l.bytes, l.inodes, l.shared_bytes, l.shared_inodes, l.created, l.used, \
                       l.origins, (SELECT count(*) FROM snapshots s WHERE s.layer = l.id), l.damaged \
                       FROM layers l ORDER BY l.used, l.id";
            let mut statement = db.prepare(sql)?;
            let rows = statement.query_map([], |row| {
                let id: u64 = row.get(0)?;
                let usage = Usage { bytes: row.get(2)?, inodes: row.get(3)? };
                let shared = Usage { bytes: row.get(4)?, inodes: row.get(5)? };
                Ok(LayerInfo {
                    id: LayerId(id),
                    diff_id: Digest::from_bytes(row.get(1)?),
                    usage,
                    own: usage.without(shared),
                    created: row.get(6)?,
                    used: row.get(7)?,
                    snapshots: row.get(9)?,
                    pinned: pinned.contains(&id),
                    damaged: row.get(10)?,
                    origins: row.get::<_, String>(8)?.split_ascii_whitespace().map(str::to_owned).collect(),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

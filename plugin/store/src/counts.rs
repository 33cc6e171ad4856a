//! What the store holds, in numbers.

use crate::error::StoreError;
use crate::store::Store;

/// Numbers for `status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Layers.
    pub layers: u64,
    /// Their bytes on disk, shared blocks once.
    pub layer_bytes: u64,
    /// Layers that no snapshot points at.
    pub unused_layers: u64,
    /// Bytes that came to the disk with these.
    pub unused_bytes: u64,
    /// Snapshots of every kind.
    pub snapshots: u64,
    /// Files that can be found by digest.
    pub indexed_files: u64,
    /// Chunks of them that can.
    pub indexed_chunks: u64,
}

impl Store {
    /// Counts what is here. Reads each table once: not for hot paths.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let mut counts = self.inner.database.read(|db| {
            let layers = "WITH l AS (SELECT max(bytes - shared_bytes, 0) AS own, \
                              id NOT IN (SELECT layer FROM snapshots WHERE layer IS NOT NULL) AS unused FROM layers) \
                          SELECT count(*), coalesce(sum(own), 0), coalesce(sum(unused), 0), \
                                 coalesce(sum(own) FILTER (WHERE unused), 0) FROM l";
            let (layers, layer_bytes, unused_layers, unused_bytes) =
                db.query_row(layers, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
            let snapshots = db.query_row("SELECT count(*) FROM snapshots", [], |row| row.get(0))?;
            Ok::<_, StoreError>(Counts { layers, layer_bytes, unused_layers, unused_bytes, snapshots, ..Counts::default() })
        })?;
        (counts.indexed_files, counts.indexed_chunks) = self.inner.index.len();
        Ok(counts)
    }
}

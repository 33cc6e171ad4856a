//! What the store holds, in numbers.

use crate::error::StoreError;
use crate::held::Held;
use crate::orphans;
use crate::store::Store;
use crate::usage::Usage;

/// Numbers for `status`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Layers.
    pub layers: u64,
    /// What they occupy, shared blocks and inodes once.
    pub layer_usage: Usage,
    /// Layers that no snapshot points at.
    pub unused_layers: u64,
    /// What came to the disk with these.
    pub unused_usage: Usage,
    /// Trees that broken pulls left for the next try.
    pub partial: Held,
    /// What waits for deletion.
    pub trash: Held,
    /// Directories that a lost state database left without an owner.
    pub orphans: Held,
    /// Snapshots of every kind.
    pub snapshots: u64,
    /// Files that can be found by digest.
    pub indexed_files: u64,
    /// Chunks of them that can.
    pub indexed_chunks: u64,
}

impl Store {
    /// Counts what is here. Reads each table once, and looks through what broken pulls left: not for hot paths.
    ///
    /// # Errors
    /// When the database does not answer.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        let mut counts = self.inner.database.read(|db| {
            let layers = "WITH l AS (SELECT max(bytes - shared_bytes, 0) AS own, max(inodes - shared_inodes, 0) AS inodes, \
                              id NOT IN (SELECT layer FROM snapshots WHERE layer IS NOT NULL) AS unused FROM layers) \
                          SELECT count(*), coalesce(sum(own), 0), coalesce(sum(inodes), 0), coalesce(sum(unused), 0), \
                                 coalesce(sum(own) FILTER (WHERE unused), 0), \
                                 coalesce(sum(inodes) FILTER (WHERE unused), 0) FROM l";
            let mut counts = db.query_row(layers, [], |row| {
                Ok(Counts {
                    layers: row.get(0)?,
                    layer_usage: Usage { bytes: row.get(1)?, inodes: row.get(2)? },
                    unused_layers: row.get(3)?,
                    unused_usage: Usage { bytes: row.get(4)?, inodes: row.get(5)? },
                    ..Counts::default()
                })
            })?;
            counts.snapshots = db.query_row("SELECT count(*) FROM snapshots", [], |row| row.get(0))?;
            Ok::<_, StoreError>(counts)
        })?;
        (counts.partial, counts.trash) = (self.inner.partial()?, self.inner.trash()?);
        counts.orphans = orphans::held(&self.inner.layout)?;
        (counts.indexed_files, counts.indexed_chunks) = self.inner.index.len();
        Ok(counts)
    }
}

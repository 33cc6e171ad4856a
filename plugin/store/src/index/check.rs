//! What `verify` asks the index. On a connection of its own: nobody who plans waits for it.

use std::collections::BTreeMap;

use rusqlite::{Connection, OpenFlags, params};

use super::Index;
use crate::database::open_alone;
use crate::list::Entries;

impl Index {
    /// Layers that have rows without being among the complete ones, each with the number of its rows. Looks at
    /// every row.
    pub(crate) fn strays(&self) -> BTreeMap<u64, u64> {
        let mut strays = BTreeMap::new();
        let result = self.check(|db| {
            for table in ["files", "chunks"] {
                let sql = format!(
                    "SELECT layer, count(*) FROM {table} WHERE layer NOT IN (SELECT id FROM layers) GROUP BY layer"
                );
                let mut statement = db.prepare(&sql)?;
                for row in statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, u64>(1)?)))? {
                    let (layer, rows) = row?;
                    *strays.entry(layer).or_insert(0) += rows;
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            self.failed("be verified", &error);
        }
        strays
    }

    /// How many of these entries of a layer are not here. A layer that was never indexed lacks nothing: the indexer
    /// comes to it, and to chunks that are only in the list; nor does one that is kept out, nor what nobody proved, which
    /// is forgotten when some of it turns out wrong.
    pub(crate) fn lacking(&self, layer: u64, mut entries: Entries) -> usize {
        let mut lacking = 0;
        let result = self.check(|db| {
            let row = db
                .prepare("SELECT files + chunks, cut FROM layers WHERE id = ?1")?
                .query_row([layer], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, bool>(1)?)));
            if matches!(row, Err(rusqlite::Error::QueryReturnedNoRows) | Ok((0, _))) {
                return Ok(());
            }
            let (_, cut) = row?;
            if !cut {
                entries.chunks.clear();
            }
            for (table, entries) in [("files", &mut entries.files), ("chunks", &mut entries.chunks)] {
                entries.retain(|entry| !entry.unproven);
                entries.sort_unstable();
                let sql = format!(
                    "SELECT 1 FROM {table} WHERE key = ?1 AND unproven IN (0, 1) AND layer = ?2 AND at = ?3"
                );
                let mut statement = db.prepare(&sql)?;
                for entry in entries.iter() {
                    lacking += usize::from(!statement.exists(params![entry.key, layer, entry.at])?);
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            self.failed("be verified", &error);
        }
        lacking
    }

    fn check(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> rusqlite::Result<()> {
        if self.read.lock().is_none() {
            return Ok(());
        }
        let connection = open_alone(&self.path, OpenFlags::empty())?;
        let transaction = connection.unchecked_transaction()?;
        work(&transaction)
    }
}

//! Tables of `index.db`, and opening it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::database::open_alone;

const VERSION: i64 = 5;
/// Bytes of the write-ahead log that are kept for later.
const LOG: i64 = 4 << 20;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS files (
    key      INTEGER NOT NULL,
    unproven INTEGER NOT NULL, -- 1: nobody computed the digest; so those that somebody did come first
    layer    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (key, unproven, layer, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (
    key      INTEGER NOT NULL,
    unproven INTEGER NOT NULL,
    layer    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    PRIMARY KEY (key, unproven, layer, at)
) STRICT, WITHOUT ROWID;
-- Layers whose files and chunks are all here, with their numbers.
CREATE TABLE IF NOT EXISTS layers (
    id       INTEGER PRIMARY KEY,
    files    INTEGER NOT NULL,
    chunks   INTEGER NOT NULL,
    cut      INTEGER NOT NULL, -- 0: large files of it have no chunks here yet
    unproven INTEGER NOT NULL  -- entries of its list that nobody proved
) STRICT;
";

/// Up to version 4 nothing said which rows are proven: none of them counts as such until the layer's list was looked
/// through.
const FROM_4: &str = "
ALTER TABLE files RENAME TO files_4;
ALTER TABLE chunks RENAME TO chunks_4;
ALTER TABLE layers RENAME TO layers_4;
";
const FILL_FROM_4: &str = "
INSERT INTO files SELECT key, 1, layer, at FROM files_4;
INSERT INTO chunks SELECT key, 1, layer, at FROM chunks_4;
INSERT INTO layers SELECT id, files, chunks, cut, files + chunks FROM layers_4;
DROP TABLE files_4; DROP TABLE chunks_4; DROP TABLE layers_4;
";
const FROM_3: &str = "ALTER TABLE layers ADD COLUMN cut INTEGER NOT NULL DEFAULT 0";
const DROP: &str = "DROP TABLE IF EXISTS files; DROP TABLE IF EXISTS chunks; DROP TABLE IF EXISTS layers";

/// Connections for writing and for reading.
pub(super) fn open_both(path: &Path) -> rusqlite::Result<(Connection, Connection)> {
    let mut write = open_alone(path, OpenFlags::SQLITE_OPEN_CREATE)?;
    write.pragma_update(None, "journal_mode", "WAL")?;
    write.pragma_update(None, "synchronous", "OFF")?;
    // A layer with many files makes a long log; the file is cut when it starts anew.
    write.pragma_update(None, "journal_size_limit", LOG)?;
    let transaction = write.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        VERSION => {}
        4 => transaction.execute_batch(FROM_4)?,
        3 => {
            transaction.execute_batch(FROM_3)?;
            transaction.execute_batch(FROM_4)?;
        }
        _ => transaction.execute_batch(DROP)?,
    }
    transaction.execute_batch(SCHEMA)?;
    if matches!(version, 3 | 4) {
        transaction.execute_batch(FILL_FROM_4)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    write.query_row("SELECT key FROM files LIMIT 1", [], |_| Ok(())).or_else(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(error),
    })?;
    let read = open_alone(path, OpenFlags::empty())?;
    Ok((write, read))
}

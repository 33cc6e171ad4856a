//! `index.db`: what layers hold, by content. A cache: nothing waits for its disk, any error costs downloads
//! only, and a file that cannot be read is written anew from the layers' lists.
//!
//! Files and chunks are two key spaces. A row is a key (see [`list::key`]), a layer and a position in that
//! layer's list, 15 to 20 bytes; digest, length and path are read from the list, and compared there.

mod check;
mod lookup;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use crate::layout::Layout;
use crate::list::{Entries, Entry, List};

pub(crate) use lookup::Hit;

const VERSION: i64 = 4;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS files (
    key   INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (key, layer, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (
    key   INTEGER NOT NULL,
    layer INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (key, layer, at)
) STRICT, WITHOUT ROWID;
-- Layers whose files and chunks are all here, with their numbers.
CREATE TABLE IF NOT EXISTS layers (
    id     INTEGER PRIMARY KEY,
    files  INTEGER NOT NULL,
    chunks INTEGER NOT NULL,
    cut    INTEGER NOT NULL -- 0: large files of it have no chunks here yet
) STRICT;
";
/// From version 3 on only this was added.
const FROM_3: &str = "ALTER TABLE layers ADD COLUMN cut INTEGER NOT NULL DEFAULT 0";
const DROP: &str = "DROP TABLE IF EXISTS files; DROP TABLE IF EXISTS chunks; DROP TABLE IF EXISTS layers";

/// The index, with one connection for writing and one for reading. `None`: it could not be opened, work
/// without it.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    /// Lock order: `write` before `read`.
    write: Mutex<Option<Connection>>,
    read: Mutex<Option<Connection>>,
}

impl Index {
    /// Opens, or creates, or replaces the index. Never fails: without an index everything is fetched.
    pub(crate) fn open(path: &Path) -> Self {
        let mut opened = open_both(path);
        if let Err(error) = &opened {
            tracing::warn!(path = %path.display(), %error, "index is unreadable and will be built anew");
            remove(path);
            opened = open_both(path);
        }
        match opened {
            Ok((write, read)) => {
                Self { path: path.to_owned(), write: Mutex::new(Some(write)), read: Mutex::new(Some(read)) }
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "working without an index: nothing is reused");
                Self { path: path.to_owned(), write: Mutex::default(), read: Mutex::default() }
            }
        }
    }

    /// The layers whose files are all here, and whether the chunks of their large files are, too.
    pub(crate) fn layers(&self) -> HashMap<u64, bool> {
        let mut indexed = HashMap::new();
        self.change("list layers", |connection| {
            let mut statement = connection.prepare("SELECT id, cut FROM layers")?;
            indexed =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
            Ok(())
        });
        indexed
    }

    /// Adds a layer from the list in its directory.
    pub(crate) fn take_in(&self, layout: &Layout, layer: u64) {
        match List::read(&layout.snapshot(layer)) {
            Ok(list) => self.insert(layer, list.entries()),
            Err(error) => tracing::warn!(layer, %error, "files of this layer are not reused"),
        }
    }

    /// Numbers of files and chunks; 0 without an index.
    pub(crate) fn len(&self) -> (u64, u64) {
        let read = self.read.lock();
        let sql = "SELECT coalesce(sum(files), 0), coalesce(sum(chunks), 0) FROM layers";
        let count = |db: &Connection| db.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
        read.as_ref().and_then(|db| count(db).ok()).unwrap_or_default()
    }

    /// Adds the files and chunks of a layer in one transaction.
    pub(crate) fn insert(&self, layer: u64, mut entries: Entries) {
        self.change("add files", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            put(&transaction, "INSERT OR IGNORE INTO files VALUES (?1, ?2, ?3)", layer, &mut entries.files)?;
            put(
                &transaction,
                "INSERT OR IGNORE INTO chunks VALUES (?1, ?2, ?3)",
                layer,
                &mut entries.chunks,
            )?;
            let counts = params![layer, entries.files.len(), entries.chunks.len(), entries.cut];
            transaction.execute("INSERT OR REPLACE INTO layers VALUES (?1, ?2, ?3, ?4)", counts)?;
            transaction.commit()
        });
    }

    /// Adds the chunks of a layer whose files are here; nothing if they are not, or not any more.
    pub(crate) fn insert_chunks(&self, layer: u64, mut chunks: Vec<Entry>) {
        self.change("add chunks", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let counts = params![layer, chunks.len()];
            if transaction.execute("UPDATE layers SET chunks = ?2, cut = 1 WHERE id = ?1", counts)? == 0 {
                return Ok(());
            }
            put(&transaction, "INSERT OR IGNORE INTO chunks VALUES (?1, ?2, ?3)", layer, &mut chunks)?;
            transaction.commit()
        });
    }

    /// As [`Index::remove`], if there is anything of the layer.
    pub(crate) fn remove_known(&self, layer: u64, dir: &Path) {
        let mut there = false;
        self.change("look for a layer", |connection| {
            there = connection.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([layer])?;
            Ok(())
        });
        if there {
            self.remove(layer, dir);
        }
    }

    /// Drops the files and chunks of a layer that was deleted: by the list in `dir`, where its directory is
    /// now; if that is gone, by looking at every row.
    pub(crate) fn remove(&self, layer: u64, dir: &Path) {
        let list = List::read(dir);
        self.change("drop files", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Ok(list) = list {
                let mut entries = list.entries();
                for (table, entries) in [("files", &mut entries.files), ("chunks", &mut entries.chunks)] {
                    let sql = format!("DELETE FROM {table} WHERE key = ?1 AND layer = ?2 AND at = ?3");
                    put(&transaction, &sql, layer, entries)?;
                }
            } else {
                transaction.execute("DELETE FROM files WHERE layer = ?1", [layer])?;
                transaction.execute("DELETE FROM chunks WHERE layer = ?1", [layer])?;
            }
            transaction.execute("DELETE FROM layers WHERE id = ?1", [layer])?;
            transaction.commit()
        });
    }

    fn change(&self, what: &str, work: impl FnOnce(&mut Connection) -> rusqlite::Result<()>) {
        let result = match self.write.lock().as_mut() {
            Some(connection) => work(connection),
            None => Ok(()),
        };
        if let Err(error) = result {
            self.failed(what, &error);
        }
    }

    /// Reports an error; a broken file is deleted, so that the next start builds it anew.
    fn failed(&self, what: &str, error: &rusqlite::Error) {
        tracing::warn!(path = %self.path.display(), %error, "index: cannot {what}");
        if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            let mut write = self.write.lock();
            let mut read = self.read.lock();
            (*write, *read) = (None, None);
            remove(&self.path);
        }
    }
}

/// Runs `sql` for each entry, in key order, so that each page of the tree is visited once.
fn put(transaction: &Transaction<'_>, sql: &str, layer: u64, entries: &mut [Entry]) -> rusqlite::Result<()> {
    entries.sort_unstable();
    let mut statement = transaction.prepare_cached(sql)?;
    for entry in entries {
        statement.execute(params![entry.key, layer, entry.at])?;
    }
    Ok(())
}

fn open_both(path: &Path) -> rusqlite::Result<(Connection, Connection)> {
    let mut write = Connection::open(path)?;
    write.pragma_update(None, "journal_mode", "WAL")?;
    write.pragma_update(None, "synchronous", "OFF")?;
    let transaction = write.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    match version {
        VERSION => {}
        3 => transaction.execute_batch(FROM_3)?,
        _ => transaction.execute_batch(DROP)?,
    }
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    write.query_row("SELECT key FROM files LIMIT 1", [], |_| Ok(())).or_else(|error| match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        error => Err(error),
    })?;
    let read = Connection::open(path)?;
    Ok((write, read))
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        if let Err(error) = std::fs::remove_file(&name)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = ?name, %error, "cannot delete the broken index");
        }
    }
}

#[cfg(test)]
mod tests;

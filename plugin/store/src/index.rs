//! `index.db`: what layers hold, by content. A cache: nothing waits for its disk, any error costs downloads
//! only, and a file that cannot be read is written anew from the layers' lists.
//!
//! Files and chunks are two key spaces. A row is a key (see [`crate::list::key`]), a layer and a position in that
//! layer's list, 16 to 21 bytes; digest, length and path are read from the list, and compared there. A row says whether
//! somebody computed its digest from the bytes; those come first in a look-up.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

mod check;
mod lookup;
mod schema;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};

use crate::layout::Layout;
use crate::list::{Entries, List};

pub(crate) use lookup::Hit;
use schema::open_both;

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

    /// The layers whose files are all here; false for one of which something is still to be read: chunks of its large
    /// files, or digests that nobody computed.
    pub(crate) fn layers(&self) -> HashMap<u64, bool> {
        let mut indexed = HashMap::new();
        self.change("list layers", |connection| {
            let mut statement = connection.prepare("SELECT id, cut AND unproven = 0 FROM layers")?;
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

    /// Adds the files and chunks of a layer in one transaction, in place of what is here of it.
    pub(crate) fn insert(&self, layer: u64, mut entries: Entries) {
        self.change("add files", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            // A removal that a bad disk prevented left them. The list may have other positions by now, so that it does not
            // tell which they are.
            if is_here(&transaction, layer)? {
                delete_all(&transaction, layer)?;
            }
            for (table, entries) in [("files", &mut entries.files), ("chunks", &mut entries.chunks)] {
                entries.sort_unstable();
                let sql = format!("INSERT OR IGNORE INTO {table} VALUES (?1, ?2, ?3, ?4)");
                let mut statement = transaction.prepare_cached(&sql)?;
                for entry in entries {
                    statement.execute(params![entry.key, entry.unproven, layer, entry.at])?;
                }
            }
            let (files, chunks) = (entries.files.len(), entries.chunks.len());
            let counts = params![layer, files, chunks, entries.cut, entries.unproven()];
            transaction.execute("INSERT OR REPLACE INTO layers VALUES (?1, ?2, ?3, ?4, ?5)", counts)?;
            transaction.commit()
        });
    }

    /// Drops these rows of a layer, which goes on counting as one whose files and chunks are here.
    pub(crate) fn forget(&self, layer: u64, mut entries: Entries) {
        self.change("forget files", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            delete(&transaction, layer, &mut entries)?;
            transaction.commit()
        });
    }

    /// As [`Index::remove`], if there is anything of the layer.
    pub(crate) fn remove_known(&self, layer: u64, dir: &Path) {
        let mut there = false;
        self.change("look for a layer", |connection| {
            there = is_here(connection, layer)?;
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
                delete(&transaction, layer, &mut list.entries())?;
            } else {
                delete_all(&transaction, layer)?;
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

/// Is there anything of the layer?
fn is_here(connection: &Connection, layer: u64) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM layers WHERE id = ?1")?.exists([layer])
}

/// Drops all rows of a layer's files and chunks, by looking at every row.
fn delete_all(transaction: &Transaction<'_>, layer: u64) -> rusqlite::Result<()> {
    transaction.execute("DELETE FROM files WHERE layer = ?1", [layer])?;
    transaction.execute("DELETE FROM chunks WHERE layer = ?1", [layer]).map(drop)
}

/// Drops these rows of a layer, whatever they say of being proven; in key order, so that each page of the tree is
/// visited once.
fn delete(transaction: &Transaction<'_>, layer: u64, entries: &mut Entries) -> rusqlite::Result<()> {
    for (table, entries) in [("files", &mut entries.files), ("chunks", &mut entries.chunks)] {
        entries.sort_unstable();
        let sql =
            format!("DELETE FROM {table} WHERE key = ?1 AND unproven IN (0, 1) AND layer = ?2 AND at = ?3");
        let mut statement = transaction.prepare_cached(&sql)?;
        for entry in entries {
            statement.execute(params![entry.key, layer, entry.at])?;
        }
    }
    Ok(())
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

//! `index.db`: files of layers by content. A cache: nothing waits for its disk, any error costs downloads
//! only, and a file that cannot be read is written anew from the layers' lists.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use chunked_core::Digest;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params};

use crate::layer::NewFile;
use crate::layout::Layout;
use crate::marker;

const VERSION: i64 = 2;

/// `kind`: what `digest` and `size` describe. 0 is the whole file; chunks come later.
const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS files (
    digest BLOB NOT NULL,
    size   INTEGER NOT NULL,
    layer  INTEGER NOT NULL,
    path   BLOB NOT NULL,
    kind   INTEGER NOT NULL,
    PRIMARY KEY (digest, size, layer, path)
) STRICT, WITHOUT ROWID;
-- Layers whose files are all here.
CREATE TABLE IF NOT EXISTS layers (id INTEGER PRIMARY KEY) STRICT;
";
const WHOLE_FILE: i64 = 0;

type Hit = Option<(u64, Vec<u8>)>;

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

    /// Adds the files of layers that a crash kept out, from the lists in the layers' directories, and drops
    /// those of layers that are gone.
    pub(crate) fn reconcile(&self, layout: &Layout, layers: &HashSet<u64>) {
        let mut indexed = HashSet::new();
        self.change("list layers", |connection| {
            let mut statement = connection.prepare("SELECT id FROM layers")?;
            indexed = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(())
        });
        let gone: HashSet<u64> = indexed.difference(layers).copied().collect();
        if !gone.is_empty() {
            self.remove(&gone);
        }
        for id in layers.difference(&indexed) {
            match marker::read_files(&layout.snapshot(*id)) {
                Ok(files) => self.insert(*id, &files),
                Err(error) => tracing::warn!(layer = id, %error, "files of this layer are not reused"),
            }
        }
    }

    /// Number of rows; 0 without an index.
    pub(crate) fn len(&self) -> u64 {
        let read = self.read.lock();
        let count = |db: &Connection| db.query_row("SELECT count(*) FROM files", [], |row| row.get(0));
        read.as_ref().and_then(|db| count(db).ok()).unwrap_or(0)
    }

    /// Adds the files of a layer in one transaction.
    pub(crate) fn insert(&self, layer: u64, files: &[NewFile]) {
        self.change("add files", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let sql =
                "INSERT OR IGNORE INTO files (digest, size, layer, path, kind) VALUES (?1, ?2, ?3, ?4, ?5)";
            let mut statement = transaction.prepare_cached(sql)?;
            // In key order, so that each page of the tree is visited once.
            let mut sorted: Vec<&NewFile> =
                files.iter().filter(|file| i64::try_from(file.size).is_ok()).collect();
            sorted.sort_unstable_by_key(|file| file.digest);
            for file in sorted {
                statement.execute(params![
                    file.digest.as_bytes(),
                    file.size,
                    layer,
                    file.path,
                    WHOLE_FILE
                ])?;
            }
            drop(statement);
            transaction.execute("INSERT OR IGNORE INTO layers VALUES (?1)", [layer])?;
            transaction.commit()
        });
    }

    /// Drops the files of deleted layers: one scan for all of them.
    pub(crate) fn remove(&self, layers: &HashSet<u64>) {
        let list = layers.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let sql =
            format!("DELETE FROM files WHERE layer IN ({list}); DELETE FROM layers WHERE id IN ({list});");
        self.change("drop files", |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute_batch(&sql)?;
            transaction.commit()
        });
    }

    /// For each wanted content a file in one of the `known` layers.
    pub(crate) fn lookup(&self, wanted: &[(Digest, u64)], known: &HashSet<u64>) -> Vec<Hit> {
        let mut result = Ok(Vec::new());
        if let Some(connection) = self.read.lock().as_ref() {
            result = look_up(connection, wanted, known);
        }
        let mut hits = result.unwrap_or_else(|error| {
            self.failed("look up files", &error);
            Vec::new()
        });
        hits.resize(wanted.len(), None);
        hits
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

fn look_up(
    connection: &Connection,
    wanted: &[(Digest, u64)],
    known: &HashSet<u64>,
) -> rusqlite::Result<Vec<Hit>> {
    let transaction = connection.unchecked_transaction()?;
    let sql = "SELECT layer, path FROM files WHERE digest = ?1 AND size = ?2";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut hits = Vec::with_capacity(wanted.len());
    for (digest, size) in wanted {
        let mut hit = None;
        if let Ok(size) = i64::try_from(*size) {
            let mut rows = statement.query(params![digest.as_bytes(), size])?;
            while let Some(row) = rows.next()? {
                let layer: u64 = row.get(0)?;
                if known.contains(&layer) {
                    hit = Some((layer, row.get(1)?));
                    break;
                }
            }
        }
        hits.push(hit);
    }
    Ok(hits)
}

fn open_both(path: &Path) -> rusqlite::Result<(Connection, Connection)> {
    let mut write = Connection::open(path)?;
    write.pragma_update(None, "journal_mode", "WAL")?;
    write.pragma_update(None, "synchronous", "OFF")?;
    let transaction = write.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        transaction.execute_batch("DROP TABLE IF EXISTS files; DROP TABLE IF EXISTS layers")?;
    }
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    write.query_row("SELECT digest FROM files LIMIT 1", [], |_| Ok(())).or_else(|error| match error {
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

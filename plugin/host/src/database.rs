//! `host.db`: one row for each directory and each file. A cache: nothing waits for its disk.
//!
//! Several processes may have it open, a command beside the daemon. So it is not in WAL mode, in which SQLite shares a mapped file
//! between them: where a filesystem is full to the brim, btrfs finds no block for a write to that, and the kernel kills the
//! process (SIGBUS). Transactions are short enough for readers and writers to wait for each other.

#![allow(clippy::disallowed_methods, reason = "our own database")]

use std::collections::HashMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use chunked_core::Digest;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params};

use crate::stamp::Stamp;

const VERSION: i64 = 1;
/// How long to wait for another process's transaction. They are short.
const PATIENCE: Duration = Duration::from_secs(5);
/// Files of equal content that a look-up considers.
const CANDIDATES: usize = 8;

/// `key` is the digest's first 8 bytes: the tree that finds files by content stays small. `rules` is the
/// fingerprint of the settings under which all rows of a directory were made.
const SCHEMA: &str = "
CREATE TABLE directories (
    id     INTEGER PRIMARY KEY,
    root   BLOB NOT NULL,
    path   BLOB NOT NULL,
    device INTEGER NOT NULL,
    rules  INTEGER NOT NULL,
    UNIQUE (root, path)
) STRICT;
CREATE TABLE files (
    directory INTEGER NOT NULL,
    name   BLOB NOT NULL,
    key    INTEGER NOT NULL,
    digest BLOB NOT NULL,
    size   INTEGER NOT NULL,
    inode  INTEGER NOT NULL,
    ctime  INTEGER NOT NULL,
    mtime  INTEGER NOT NULL,
    PRIMARY KEY (directory, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX files_by_content ON files (key);
CREATE TABLE state (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
";

/// A file found by content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) directory: i64,
    pub(crate) root: Vec<u8>,
    /// The directory below the root.
    pub(crate) path: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) device: u64,
    pub(crate) stamp: Stamp,
}

/// A file with its digest, to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Indexed {
    pub(crate) name: Vec<u8>,
    pub(crate) digest: Digest,
    pub(crate) stamp: Stamp,
}

/// A directory as it is known.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) device: u64,
    pub(crate) rules: i64,
    pub(crate) files: HashMap<Vec<u8>, Stamp>,
}

/// An open `host.db`.
#[derive(Debug)]
pub(crate) struct Database(Connection);

fn key(digest: &Digest) -> i64 {
    let mut first = [0; 8];
    first.copy_from_slice(&digest.as_bytes()[..8]);
    i64::from_le_bytes(first)
}

/// Earlier versions used WAL mode, which stays with the file. One that another process has open keeps it until the next time.
fn leave_wal(database: &Connection) -> rusqlite::Result<()> {
    let mode = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0));
    if mode("PRAGMA journal_mode")? == "wal" {
        database.busy_timeout(Duration::ZERO)?;
        match mode("PRAGMA journal_mode = DELETE") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {}
            left => drop(left?),
        }
    }
    Ok(())
}

impl Database {
    /// Opens the index for use, if there is one of this version.
    pub(crate) fn open(path: &Path) -> rusqlite::Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        leave_wal(&database)?;
        database.busy_timeout(PATIENCE)?;
        let version: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok((version == VERSION).then_some(Self(database)))
    }

    /// Opens the index for a pass: one that is missing, of another version, or broken is made anew. The caller
    /// holds the lock of passes.
    pub(crate) fn create(path: &Path) -> rusqlite::Result<Self> {
        if let Ok(Some(database)) = Self::open(path).and_then(Self::checked) {
            return Ok(database);
        }
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            if let Err(error) = std::fs::remove_file(&name)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(path = ?name, %error, "cannot delete the old host index");
            }
        }
        let mut database = Connection::open(path)?;
        // The directory is root's alone already; this says so once more.
        if let Err(error) = std::fs::set_permissions(path, Permissions::from_mode(0o600)) {
            tracing::warn!(path = %path.display(), %error, "cannot restrict the host index to root");
        }
        database.busy_timeout(PATIENCE)?;
        database.pragma_update(None, "synchronous", "OFF")?;
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
        Ok(Self(database))
    }

    /// Tries each table, so that a broken file is found before a pass relies on it.
    fn checked(database: Option<Self>) -> rusqlite::Result<Option<Self>> {
        if let Some(Self(database)) = &database {
            database.pragma_update(None, "synchronous", "OFF")?;
            for table in ["directories", "files", "state"] {
                let first = format!("SELECT 1 FROM {table} LIMIT 1");
                database.query_row(&first, [], |_| Ok(())).optional()?;
            }
        }
        Ok(database)
    }

    /// For each wanted (digest, length) the files that had it, under `rules`: at most a few.
    pub(crate) fn find(&self, wanted: &[(Digest, u64)], rules: i64) -> rusqlite::Result<Vec<Vec<Row>>> {
        let transaction = self.0.unchecked_transaction()?;
        let sql = "SELECT d.id, d.root, d.path, d.device, f.name, f.digest, f.size, f.inode, f.ctime, f.mtime
            FROM files f JOIN directories d ON d.id = f.directory WHERE f.key = ?1 AND d.rules = ?2";
        let mut statement = transaction.prepare_cached(sql)?;
        let mut found = Vec::with_capacity(wanted.len());
        for (digest, size) in wanted {
            let mut candidates = Vec::new();
            let mut rows = statement.query(params![key(digest), rules])?;
            while let Some(row) = rows.next()? {
                let length: u64 = row.get(6)?;
                if row.get_ref(5)?.as_blob()? == digest.as_bytes() && length == *size {
                    candidates.push(Row {
                        directory: row.get(0)?,
                        root: row.get(1)?,
                        path: row.get(2)?,
                        device: row.get(3)?,
                        name: row.get(4)?,
                        stamp: Stamp {
                            inode: row.get(7)?,
                            size: length,
                            ctime: row.get(8)?,
                            mtime: row.get(9)?,
                        },
                    });
                }
                if candidates.len() == CANDIDATES {
                    break;
                }
            }
            found.push(candidates);
        }
        Ok(found)
    }

    /// Forgets files that are not what their rows say.
    pub(crate) fn forget(&mut self, rows: &[(i64, Vec<u8>)]) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (directory, name) in rows {
            transaction
                .execute("DELETE FROM files WHERE directory = ?1 AND name = ?2", params![directory, name])?;
        }
        transaction.commit()
    }

    /// Forgets all files with this content.
    pub(crate) fn forget_content(&self, digest: &Digest) -> rusqlite::Result<usize> {
        let sql = "DELETE FROM files WHERE key = ?1 AND digest = ?2";
        self.0.execute(sql, params![key(digest), digest.as_bytes()])
    }

    /// What is known of a directory, and its id.
    pub(crate) fn directory(&self, root: &[u8], path: &[u8]) -> rusqlite::Result<Option<(i64, Directory)>> {
        let sql = "SELECT id, device, rules FROM directories WHERE root = ?1 AND path = ?2";
        let known = self
            .0
            .prepare_cached(sql)?
            .query_row(params![root, path], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((id, device, rules)) = known else { return Ok(None) };
        let sql = "SELECT name, inode, size, ctime, mtime FROM files WHERE directory = ?1";
        let mut statement = self.0.prepare_cached(sql)?;
        let files = statement.query_map([id], |row| {
            let stamp =
                Stamp { inode: row.get(1)?, size: row.get(2)?, ctime: row.get(3)?, mtime: row.get(4)? };
            Ok((row.get(0)?, stamp))
        })?;
        let files = files.collect::<rusqlite::Result<_>>()?;
        Ok(Some((id, Directory { device, rules, files })))
    }

    /// Drops files of a directory, and notes its device and rules: what is left was made, or would be, under them.
    pub(crate) fn settle_directory(
        &mut self,
        root: &[u8],
        path: &[u8],
        device: u64,
        rules: i64,
        drop: &[Vec<u8>],
    ) -> rusqlite::Result<i64> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sql = "INSERT INTO directories (root, path, device, rules) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (root, path) DO UPDATE SET device = ?3, rules = ?4 RETURNING id";
        let id = transaction.query_row(sql, params![root, path, device, rules], |row| row.get(0))?;
        for name in drop {
            transaction.execute("DELETE FROM files WHERE directory = ?1 AND name = ?2", params![id, name])?;
        }
        transaction.commit()?;
        Ok(id)
    }

    /// Writes files of a directory. What an inode or a length cannot be stored for is left out.
    pub(crate) fn insert(&mut self, directory: i64, files: &[Indexed]) -> rusqlite::Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let sql = "INSERT OR REPLACE INTO files (directory, name, key, digest, size, inode, ctime, mtime)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
            let mut statement = transaction.prepare_cached(sql)?;
            let fits = |file: &&Indexed| {
                i64::try_from(file.stamp.inode).is_ok() && i64::try_from(file.stamp.size).is_ok()
            };
            for file in files.iter().filter(fits) {
                let Stamp { inode, size, ctime, mtime } = file.stamp;
                let digest = file.digest.as_bytes();
                statement.execute(params![
                    directory,
                    file.name,
                    key(&file.digest),
                    digest,
                    size,
                    inode,
                    ctime,
                    mtime
                ])?;
            }
        }
        transaction.commit()
    }

    /// Ids of all directories.
    pub(crate) fn directories(&self) -> rusqlite::Result<Vec<i64>> {
        self.0.prepare("SELECT id FROM directories")?.query_map([], |row| row.get(0))?.collect()
    }

    /// Drops directories with their files; gives the number of files.
    pub(crate) fn remove_directories(&mut self, ids: &[i64]) -> rusqlite::Result<u64> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut files = 0;
        for id in ids {
            files += transaction.execute("DELETE FROM files WHERE directory = ?1", [id])?;
            transaction.execute("DELETE FROM directories WHERE id = ?1", [id])?;
        }
        transaction.commit()?;
        Ok(files as u64)
    }

    /// Files, and their bytes, that can be found under `rules`. Reads the whole index.
    pub(crate) fn totals(&self, rules: i64) -> rusqlite::Result<(u64, u64)> {
        let sql = "SELECT count(*), coalesce(sum(f.size), 0) FROM files f
            JOIN directories d ON d.id = f.directory WHERE d.rules = ?1";
        self.0.query_row(sql, [rules], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    /// A text kept under a name.
    pub(crate) fn state(&self, name: &str) -> rusqlite::Result<Option<String>> {
        self.0.query_row("SELECT value FROM state WHERE name = ?1", [name], |row| row.get(0)).optional()
    }

    /// Keeps a text under a name.
    pub(crate) fn set_state(&self, name: &str, value: &str) -> rusqlite::Result<()> {
        self.0.execute("INSERT OR REPLACE INTO state (name, value) VALUES (?1, ?2)", [name, value])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;

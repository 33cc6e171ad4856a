//! Tables of `state.db` and the steps that bring an older file to them. Only forwards: a step, once
//! released, is never edited.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::error::{GoBack, StoreError, at};

/// Step `n` leads from schema version `n` to `n + 1`; the version is `PRAGMA user_version`.
const STEPS: &[&str] = &[
    r"
CREATE TABLE ids (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    next INTEGER NOT NULL
);
INSERT INTO ids VALUES (1, 1);

CREATE TABLE layers (
    id            INTEGER PRIMARY KEY,       -- names the directory
    diff_id       BLOB NOT NULL,
    flavour       INTEGER NOT NULL,          -- 0 any, 1 base, 2 upper
    context       BLOB,                      -- NULL: implied directories not settled; empty: there are none
    bytes         INTEGER NOT NULL,
    inodes        INTEGER NOT NULL,
    has_whiteouts INTEGER NOT NULL,
    implied       BLOB NOT NULL,             -- paths, each ended by NUL
    created       INTEGER NOT NULL,          -- ns since the epoch, as all times
    used          INTEGER NOT NULL           -- last commit, adoption or removal of a snapshot on it
) STRICT;
CREATE INDEX layers_by_diff_id ON layers (diff_id);

CREATE TABLE snapshots (
    id      INTEGER PRIMARY KEY,
    name    TEXT NOT NULL UNIQUE,
    kind    INTEGER NOT NULL,                -- 1 view, 2 active, 3 committed, as on the wire
    parent  TEXT,
    dir     INTEGER NOT NULL,                -- = id, or the layer's id
    layer   INTEGER REFERENCES layers (id),
    ref     TEXT,                            -- label containerd.io/snapshot.ref, for look-ups
    created INTEGER NOT NULL,
    updated INTEGER NOT NULL,
    labels  TEXT NOT NULL,                   -- JSON object
    bytes   INTEGER,                         -- NULL: not measured yet
    inodes  INTEGER
) STRICT;
CREATE INDEX snapshots_by_parent ON snapshots (parent) WHERE parent IS NOT NULL;
CREATE INDEX snapshots_by_ref    ON snapshots (ref)    WHERE ref IS NOT NULL;
CREATE INDEX snapshots_by_layer  ON snapshots (layer)  WHERE layer IS NOT NULL;
",
    r"
-- Registries the layer came from, as host[:port], separated by spaces.
ALTER TABLE layers ADD COLUMN origins TEXT NOT NULL DEFAULT '';
",
    r"
-- What of bytes and inodes other layers had, too, when the layer was made.
ALTER TABLE layers ADD COLUMN shared_bytes  INTEGER NOT NULL DEFAULT 0;
ALTER TABLE layers ADD COLUMN shared_inodes INTEGER NOT NULL DEFAULT 0;
",
    r"
-- 1: verification found wrong contents; snapshots that have the layer keep it, no pull ever reuses it.
ALTER TABLE layers ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0;
",
    r"
-- Digest of what the layer's tree looked like when it was committed; NULL of layers that were made before.
ALTER TABLE layers ADD COLUMN metadata BLOB;
",
];

/// Where the database at `path` is kept as it was in schema `version`, for whoever goes back to that.
fn copy_of(path: &Path, version: i64) -> PathBuf {
    path.with_file_name(format!("state-schema-{version}.db"))
}

/// Applies the missing steps to the database at `path`, keeping a copy of what was there. True when it was empty.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<bool, StoreError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let before: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if (1..known).contains(&before) {
        keep_copy(connection, &copy_of(path, before))?;
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        let copy = Some(copy_of(path, known)).filter(|copy| copy.exists());
        return Err(StoreError::NewerSchema { found, known, path: path.to_owned(), back: GoBack(copy) });
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(found == 0)
}

/// Reads all of the database: what is damaged in it would be met in the middle of something.
pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::DamagedDatabase { found }) }
}

/// Moves a damaged database away, with its log; gives where it is now.
pub(super) fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let aside = path.with_file_name("state-damaged.db");
    for suffix in ["", "-wal", "-shm"] {
        let with = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        match std::fs::rename(with(path), with(&aside)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(at("put aside", path)(error));
            }
            _ => {}
        }
    }
    Ok(aside)
}

/// Copies the database, its log included. One that was made before is older.
fn keep_copy(connection: &Connection, copy: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at("replace", copy)(error)),
        _ => {}
    }
    let name = copy
        .to_str()
        .ok_or_else(|| at("name", copy)(std::io::Error::from(std::io::ErrorKind::InvalidInput)))?;
    connection.execute("VACUUM INTO ?1", [name])?;
    tracing::info!(copy = %copy.display(), "the state database goes to a newer schema; what it was is kept");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrates_once_and_refuses_newer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let mut connection = Connection::open(&path).unwrap();
        assert!(migrate(&mut connection, &path).unwrap());
        assert!(!migrate(&mut connection, &path).unwrap());
        let known = i64::try_from(STEPS.len()).unwrap();
        assert!(!copy_of(&path, known).exists(), "nothing was changed");
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection, &path).unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
        assert!(error.to_string().contains("install the newer version again"), "{error}");
        assert!(!error.to_string().contains("state-schema"), "{error}");
    }

    #[test]
    fn a_copy_leads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let mut connection = Connection::open(&path).unwrap();
        for step in STEPS.iter().take(2) {
            connection.execute_batch(step).unwrap();
        }
        connection.execute("UPDATE ids SET next = 77", []).unwrap();
        connection.pragma_update(None, "user_version", 2).unwrap();
        std::fs::write(copy_of(&path, 2), "of an earlier time").unwrap();
        assert!(!migrate(&mut connection, &path).unwrap());
        let copy = Connection::open(copy_of(&path, 2)).unwrap();
        let next: i64 = copy.query_row("SELECT next FROM ids", [], |row| row.get(0)).unwrap();
        let version: i64 = copy.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!((next, version), (77, 2));
        // What an older binary than the one that made the copy says.
        let known = i64::try_from(STEPS.len()).unwrap();
        connection.pragma_update(None, "user_version", known + 1).unwrap();
        std::fs::write(copy_of(&path, known), "").unwrap();
        let error = migrate(&mut connection, &path).unwrap_err().to_string();
        assert!(error.contains(&format!("state-schema-{known}.db")), "{error}");
    }
}

//! Tables of `state.db` and the steps that bring an older file to them. Only forwards: a step, once
//! released, is never edited.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

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
];

/// Applies the missing steps. True when the database was empty.
pub(super) fn migrate(connection: &mut Connection) -> Result<bool, StoreError> {
    let known = i64::try_from(STEPS.len()).unwrap_or(i64::MAX);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found > known {
        return Err(StoreError::NewerSchema { found, known });
    }
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(found == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrates_once_and_refuses_newer() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(migrate(&mut connection).unwrap());
        assert!(!migrate(&mut connection).unwrap());
        connection.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut connection).unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
    }
}

//! SQLite connections of `state.db`: one writer behind a mutex, a few pooled readers, and the thread that
//! makes the write-ahead log durable.
//!
//! All of them, and those of the index, are of SQLite's VFS `unix-excl`: while a store is open, no other process can open its
//! databases, and what connections have to know of the log is on the heap. Otherwise it would be in a mapped file (`-shm`), and
//! where a filesystem is full to the brim, btrfs for one finds no block for a write to that: the kernel kills the process (SIGBUS).

mod durable;
mod schema;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::ballast::Ballast;
use crate::error::StoreError;
use durable::WalSync;

/// How long a connection waits for another one's lock.
const BUSY: Duration = Duration::from_secs(5);
/// Idle read connections kept for the next caller.
const POOL: usize = 4;
/// Prepared statements kept per connection; more than the store has.
const STATEMENTS: usize = 64;

/// The state database. WAL with `synchronous=NORMAL`: a commit is a write to the log without waiting for
/// the disk, because containerd calls Commit, Remove and Update inside its own transaction (containerd.md
/// §3). A commit survives the death of the daemon at once and a power cut ~20 ms later, or when
/// [`Database::sync`] returned.
#[derive(Debug)]
pub(crate) struct Database {
    write: Arc<Mutex<Connection>>,
    readers: Mutex<Vec<Connection>>,
    path: PathBuf,
    wal: WalSync,
    ballast: Ballast,
    new: bool,
}

impl Database {
    /// Opens or creates the database at `path` and brings its schema up to date. One that is damaged is put aside, and
    /// begun anew. With `sync` off, nothing waits for the disk (tests).
    pub(crate) fn open(path: &Path, sync: bool) -> Result<Self, StoreError> {
        match Self::try_open(path, sync) {
            Err(error) if error.is_damaged_database() => {
                let aside = schema::put_aside(path)?;
                tracing::error!(
                    %error, aside = %aside.display(),
                    "the state database is damaged and was put aside; layers are taken in again from their directories, snapshots of \
                     images when containerd asks for them; what containers wrote is kept in `orphans` for a week, and they must be made anew"
                );
                Self::try_open(path, sync)
            }
            opened => opened,
        }
    }

    fn try_open(path: &Path, sync: bool) -> Result<Self, StoreError> {
        let mut connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let level = if sync { "NORMAL" } else { "OFF" };
        connection.pragma_update(None, "synchronous", level)?;
        // Checkpoints wait for the disk; the WAL thread makes them where no caller waits.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        // When the log starts anew, the file is cut to what is in it.
        connection.pragma_update(None, "journal_size_limit", 0)?;
        connection.pragma_update(None, "foreign_keys", true)?;
        schema::check(&connection)?;
        let new = schema::migrate(&mut connection, path)?;
        let write = Arc::new(Mutex::new(connection));
        let checkpoint = connect(path, OpenFlags::empty())?;
        checkpoint.pragma_update(None, "synchronous", level)?;
        let wal = WalSync::start(path, Arc::clone(&write), checkpoint, sync)?;
        let ballast = Ballast::new(path.parent().unwrap_or(path));
        if sync {
            ballast.restore();
        }
        Ok(Self { write, readers: Mutex::default(), path: path.to_owned(), wal, ballast, new })
    }

    /// Gives up the room kept back, before something is written on a full disk.
    pub(crate) fn give_up_ballast(&self) {
        if self.ballast.give_up() {
            tracing::warn!("the disk is full; the room kept back for the state database is used now");
        }
    }

    /// Keeps room back again for a full disk, if a full disk took it.
    pub(crate) fn restore_ballast(&self) {
        self.ballast.restore();
    }

    /// True when this opening created the database.
    pub(crate) fn is_new(&self) -> bool {
        self.new
    }

    /// Runs `work` in one write transaction; rolled back when it fails. Keep it short: every state change
    /// of the daemon waits for it. On a full disk it is run once more, in the room that was kept back for that.
    pub(crate) fn write<T>(
        &self,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.try_write(&mut work) {
            Err(error) if error.is_full() && self.ballast.give_up() => {
                tracing::warn!("the disk is full; the room kept back for the state database is used now");
                self.try_write(&mut work)
            }
            done => done,
        }
    }

    fn try_write<T>(
        &self,
        work: &mut impl FnMut(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.write.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let value = work(&transaction)?;
        transaction.commit()?;
        self.wal.keep_up(&connection);
        drop(connection);
        self.wal.written();
        Ok(value)
    }

    /// Runs `work` on a read connection; it sees one state of the database. Readers never wait for writers.
    pub(crate) fn read<T>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let pooled = self.readers.lock().pop();
        let mut connection = match pooled {
            Some(connection) => connection,
            None => connect(&self.path, OpenFlags::empty())?,
        };
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let value = work(&transaction);
        transaction.finish()?;
        let mut readers = self.readers.lock();
        if readers.len() < POOL {
            readers.push(connection);
        }
        value
    }

    /// Returns when every transaction committed so far is on disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.wal.sync()
    }
}

/// A connection to a database that only this process has.
pub(crate) fn open_alone(path: &Path, extra: OpenFlags) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
    Connection::open_with_flags_and_vfs(path, flags, c"unix-excl")
}

fn connect(path: &Path, extra: OpenFlags) -> Result<Connection, StoreError> {
    let connection = open_alone(path, extra)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

//! Makes committed transactions durable a moment later, and moves them from the log to the database, where
//! no RPC waits for the disk.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;

use crate::error::{StoreError, at};

/// How long a commit may wait for company before the log is synced.
const DELAY: Duration = Duration::from_millis(20);
/// Quiet time after which a checkpoint disturbs nobody.
const QUIET: Duration = Duration::from_millis(500);
/// Commits in the log worth a checkpoint in a quiet moment.
const CHECKPOINT_QUIET: u64 = 200;
/// Length of the log, in bytes, that forces a checkpoint under load: some 400 commits.
const CHECKPOINT_FORCED: u64 = 8 << 20;
/// Length of the log at which whoever writes makes the checkpoint, because the thread does not keep up.
const CHECKPOINT_NOW: u64 = 32 << 20;
/// How long a checkpoint waits for those who read, with the writers held.
const READERS: Duration = Duration::from_millis(250);
/// Pause after a checkpoint that readers prevented.
const AGAIN: Duration = Duration::from_millis(50);

/// The thread that syncs the write-ahead log; stopped, after a last sync, when dropped.
#[derive(Debug)]
pub(super) struct WalSync {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    /// The log, through a descriptor of our own: closing it does not drop SQLite's locks, which are on
    /// other files.
    wal: File,
    path: PathBuf,
    sync: bool,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    synced: u64,
    checkpointed: u64,
    stop: bool,
}

/// What the thread does next.
enum Turn {
    Sync,
    Checkpoint,
    Stop,
}

impl WalSync {
    pub(super) fn start(
        database: &Path,
        write: Arc<Mutex<Connection>>,
        checkpoint: Connection,
        sync: bool,
    ) -> Result<Self, StoreError> {
        touch(&write.lock())?;
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        let path = PathBuf::from(path);
        let wal = File::open(&path).map_err(at("open", &path))?;
        let state = Mutex::new(State { written: 1, ..State::default() });
        let shared = Arc::new(Shared { state, wake: Condvar::new(), wal, path: path.clone(), sync });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("wal-sync".to_owned())
            .spawn(move || run(&of_thread, &write, &checkpoint))
            .map_err(at("start sync thread for", &path))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Notes that a transaction was committed.
    pub(super) fn written(&self) {
        self.shared.state.lock().written += 1;
        self.shared.wake.notify_one();
    }

    /// Shortens the log, if the thread did not come to it for too long. `writer` is the connection that writes.
    pub(super) fn keep_up(&self, writer: &Connection) {
        if self.shared.len() >= CHECKPOINT_NOW
            && let Err(error) = restart(writer)
        {
            tracing::warn!(%error, "the log of the state database is long, and cannot be shortened now");
        }
    }

    /// Returns when all commits noted so far are on disk.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.shared.sync()
    }
}

impl Drop for WalSync {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("sync thread of the state database ended abnormally");
        }
    }
}

impl Shared {
    fn sync(&self) -> Result<(), StoreError> {
        let (written, synced) = {
            let state = self.state.lock();
            (state.written, state.synced)
        };
        if written > synced && self.sync {
            self.wal.sync_data().map_err(at("sync", &self.path))?;
        }
        let mut state = self.state.lock();
        state.synced = state.synced.max(written);
        Ok(())
    }

    /// Bytes of the log: all of them are in use, because starting it anew truncates it.
    fn len(&self) -> u64 {
        self.wal.metadata().map_or(0, |meta| meta.len())
    }

    fn next(&self) -> Turn {
        let mut state = self.state.lock();
        loop {
            let pending = state.written - state.checkpointed;
            // Before the next sync: under load there is always one to make. What counts is how long the log is, not whether a
            // commit came since the last checkpoint: a reader that comes in the moment after one makes SQLite append to
            // the log instead of starting it anew.
            if !state.stop && self.len() >= CHECKPOINT_FORCED {
                return Turn::Checkpoint;
            }
            if state.written > state.synced {
                return if state.stop { Turn::Stop } else { Turn::Sync };
            }
            if state.stop {
                return Turn::Stop;
            }
            if pending < CHECKPOINT_QUIET {
                self.wake.wait(&mut state);
            } else if self.wake.wait_for(&mut state, QUIET).timed_out() {
                return Turn::Checkpoint;
            }
        }
    }
}

fn run(shared: &Shared, write: &Mutex<Connection>, checkpoint: &Connection) {
    loop {
        match shared.next() {
            Turn::Sync => {
                std::thread::sleep(DELAY);
                if let Err(error) = shared.sync() {
                    tracing::error!(%error, "state is not durable");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            Turn::Checkpoint => {
                let written = shared.state.lock().written;
                let started = Instant::now();
                match move_log(write, checkpoint) {
                    Ok(true) if shared.len() < CHECKPOINT_FORCED => {
                        tracing::debug!(took = ?started.elapsed(), "checkpointed the state database");
                        shared.state.lock().checkpointed = written;
                    }
                    Ok(_) => std::thread::sleep(AGAIN),
                    Err(error) => {
                        tracing::warn!(%error, "checkpoint of the state database failed, next try later");
                        std::thread::sleep(Duration::from_secs(1));
                    }
                }
            }
            Turn::Stop => {
                if let Err(error) = shared.sync() {
                    tracing::error!(%error, "state is not durable");
                }
                return;
            }
        }
    }
}

/// Moves the log into the database beside the running writers, then, for a few milliseconds with the
/// writers held, the rest; and starts the log anew with a write of our own. That first write syncs the
/// log's header, which a Commit of containerd would have to wait for otherwise. False if readers prevented it.
fn move_log(write: &Mutex<Connection>, checkpoint: &Connection) -> Result<bool, rusqlite::Error> {
    checkpoint.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    restart(&write.lock())
}

/// Moves what is in the log into the database and starts the log anew; false if readers prevented it. With true, too, the
/// log can be as long as before: when a reader began between the two steps.
fn restart(writer: &Connection) -> Result<bool, rusqlite::Error> {
    writer.busy_timeout(READERS)?;
    let busy = writer.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get::<_, bool>(0));
    writer.busy_timeout(super::BUSY)?;
    let done = !busy?;
    if done {
        touch(writer)?;
    }
    Ok(done)
}

/// Writes a page of the database as it is. An UPDATE that changes nothing would not do: SQLite compares, and writes nothing.
fn touch(writer: &Connection) -> Result<(), rusqlite::Error> {
    writer.pragma_update(None, "application_id", 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(length: u64, state: State) -> Shared {
        let wal = tempfile::tempfile().unwrap();
        wal.set_len(length).unwrap();
        Shared { state: Mutex::new(state), wake: Condvar::new(), wal, path: PathBuf::new(), sync: true }
    }

    #[test]
    fn a_checkpoint_leaves_a_short_log_without_waiting_for_a_commit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let writer = Connection::open(&path).unwrap();
        writer.pragma_update(None, "journal_mode", "WAL").unwrap();
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        writer.pragma_update(None, "journal_size_limit", 0).unwrap();
        writer.execute_batch("CREATE TABLE t (a BLOB); INSERT INTO t VALUES (zeroblob(1000000))").unwrap();
        let log = || std::fs::metadata(dir.path().join("db-wal")).unwrap().len();
        assert!(log() > 1_000_000);
        assert!(restart(&writer).unwrap());
        assert!(log() < 20_000, "the log has {} bytes", log());
    }

    #[test]
    fn a_long_log_is_shortened_also_when_nothing_was_committed_since_the_last_checkpoint() {
        let quiet = || State { written: 7, synced: 7, checkpointed: 7, stop: false };
        assert!(matches!(shared(CHECKPOINT_FORCED, quiet()).next(), Turn::Checkpoint));
        let stopped = State { stop: true, ..quiet() };
        assert!(matches!(shared(CHECKPOINT_FORCED, stopped).next(), Turn::Stop));
        let unsynced = State { written: 8, ..quiet() };
        assert!(matches!(shared(CHECKPOINT_FORCED - 1, unsynced).next(), Turn::Sync));
    }
}

//! Makes committed transactions durable a moment later, and moves them from the log to the database, where
//! no RPC waits for the disk.

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
/// Commits in the log that force a checkpoint under load (a commit is some five pages of 4 KiB).
const CHECKPOINT_FORCED: u64 = 4000;

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

    fn next(&self) -> Turn {
        let mut state = self.state.lock();
        loop {
            let pending = state.written - state.checkpointed;
            if state.written > state.synced {
                return if state.stop { Turn::Stop } else { Turn::Sync };
            }
            if state.stop {
                return Turn::Stop;
            }
            if pending >= CHECKPOINT_FORCED {
                return Turn::Checkpoint;
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
                if let Err(error) = move_log(write, checkpoint) {
                    tracing::warn!(%error, "checkpoint of the state database failed, next try later");
                }
                tracing::debug!(took = ?started.elapsed(), "checkpointed the state database");
                shared.state.lock().checkpointed = written;
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
/// log's header, which a Commit of containerd would have to wait for otherwise.
fn move_log(write: &Mutex<Connection>, checkpoint: &Connection) -> Result<(), rusqlite::Error> {
    checkpoint.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    let writer = write.lock();
    writer.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;
    touch(&writer)
}

fn touch(writer: &Connection) -> Result<(), rusqlite::Error> {
    writer.execute("UPDATE ids SET next = next", []).map(|_| ())
}

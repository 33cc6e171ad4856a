//! Fills the index where it lacks something: after it was lost or its layout changed, with the files of
//! snapshots that containerd committed itself (`nerdctl commit`, `build`, `load`), which only reading tells, and
//! with the chunks of large files in layers that came without a TOC ([`cuts`]).
//!
//! There is no list of work to lose: what is missing is what rows and index do not agree on. So a restart goes on
//! with the snapshot at which it was. One snapshot is in work at a time, at the lowest CPU priority, and three
//! quarters of the time nothing happens.

mod cuts;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chunked_linux::{Dir, FileType, Step, Walk};
use parking_lot::{Condvar, Mutex};
use rustix::fs::Advice;

use crate::error::{StoreError, at};
use crate::layer::{NewChunk, NewFile};
use crate::list;
use crate::origins::LOCAL;
use crate::snapshot;
use crate::store::{Inner, Store};
use crate::tree;
use cuts::Chunks;

/// Work between two pauses, and the pause for each unit of it.
const STRETCH: Duration = Duration::from_millis(20);
const PAUSE: u32 = 3;
/// Files of one snapshot that are indexed, at most: their list is held in memory.
const MAX_FILES: usize = 2_000_000;
/// The thread looks for work this often without being told to.
const LOOK: Duration = Duration::from_secs(300);
/// After a snapshot was committed, others usually follow, and the client is busy.
const SETTLE: Duration = Duration::from_secs(2);

/// What wakes the thread, and what ends it.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    work: bool,
    stop: bool,
}

impl Signal {
    pub(crate) fn work(&self) {
        self.state.lock().work = true;
        self.changed.notify_one();
    }

    fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    fn stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// Sleeps for that long, or until stopped.
    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.stop && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    /// Waits for work. False when stopped.
    fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while !state.work && !state.stop {
            if self.changed.wait_for(&mut state, LOOK).timed_out() {
                break;
            }
        }
        state.work = false;
        !state.stop
    }
}

/// The thread that keeps the index complete; ended when dropped.
#[derive(Debug)]
pub struct Indexer {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.inner.indexing.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the indexing thread ended abnormally");
        }
    }
}

impl Store {
    /// Starts the thread that keeps the index complete, one for a store.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start_indexer(&self) -> Result<Indexer, StoreError> {
        let inner = Arc::clone(&self.inner);
        let thread = std::thread::Builder::new()
            .name("indexer".to_owned())
            .spawn(move || run(&inner))
            .map_err(at("start the indexing thread for", self.root()))?;
        Ok(Indexer { inner: Arc::clone(&self.inner), thread: Some(thread) })
    }

    /// Completes the index now, without pauses. Gives the number of layers and snapshots that were added, and of
    /// those whose large files were cut.
    ///
    /// # Errors
    /// When the database fails.
    pub fn complete_index(&self) -> Result<usize, StoreError> {
        self.inner.complete_index(&mut HashSet::new(), &mut Pace { signal: None, since: Instant::now() })
    }
}

fn run(inner: &Arc<Inner>) {
    // Of this thread only: Linux gives each its own.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
    let mut hopeless = HashSet::new();
    loop {
        let mut pace = Pace { signal: Some(&inner.indexing), since: Instant::now() };
        match inner.complete_index(&mut hopeless, &mut pace) {
            Ok(0) => {}
            Ok(added) => {
                tracing::info!(added, "indexed layers and snapshots, or their chunks, in the background");
            }
            Err(error) => tracing::warn!(%error, "indexing in the background failed, next try later"),
        }
        if !inner.indexing.wait() {
            return;
        }
        inner.indexing.sleep(SETTLE);
    }
}

/// What the index lacks of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lacks {
    /// Everything, but the list is there.
    Rows,
    /// Everything, and perhaps the list.
    All,
    /// Chunks of the large files.
    Chunks,
}

/// Rests between stretches of work; without a signal never.
struct Pace<'a> {
    signal: Option<&'a Signal>,
    since: Instant,
}

impl Pace<'_> {
    /// Rests if it is time to; an error when the thread is to end.
    fn rest(&mut self) -> io::Result<()> {
        let Some(signal) = self.signal else { return Ok(()) };
        let worked = self.since.elapsed();
        if worked >= STRETCH {
            signal.sleep(worked * PAUSE);
            self.since = Instant::now();
        }
        if signal.stopped() { Err(io::Error::new(io::ErrorKind::Interrupted, "stopped")) } else { Ok(()) }
    }

    fn stopped(&self) -> bool {
        self.signal.is_some_and(Signal::stopped)
    }
}

impl Inner {
    /// `hopeless`: what failed before and is not tried again.
    fn complete_index(
        self: &Arc<Self>,
        hopeless: &mut HashSet<u64>,
        pace: &mut Pace<'_>,
    ) -> Result<usize, StoreError> {
        let committed = self.database.read(snapshot::committed_directories)?;
        let indexed = self.index.layers();
        let known = Arc::clone(&self.layers.read());
        for gone in indexed.keys().filter(|id| !known.contains_key(id)) {
            self.index.remove(*gone, &self.layout.trash().join(gone.to_string()));
            if pace.rest().is_err() {
                return Ok(0);
            }
        }
        let here: BTreeSet<u64> = known.keys().chain(&committed).copied().collect();
        let lacking = here.iter().filter(|id| !indexed.contains_key(id) || !known.contains_key(id));
        let lists = lacking.map(|id| (if committed.contains(id) { Lacks::All } else { Lacks::Rows }, *id));
        let mut work: Vec<_> = lists.collect();
        // First what is done quickly.
        work.sort_unstable();
        let mut done = self.fill(&work, hopeless, pace);
        let indexed = self.index.layers();
        let uncut = here.iter().filter(|id| indexed.get(id) == Some(&false));
        let work: Vec<_> = uncut.map(|id| (Lacks::Chunks, *id)).collect();
        done += self.fill(&work, hopeless, pace);
        Ok(done)
    }

    /// Gives the number of those that lack nothing of it any more.
    fn fill(
        self: &Arc<Self>,
        work: &[(Lacks, u64)],
        hopeless: &mut HashSet<u64>,
        pace: &mut Pace<'_>,
    ) -> usize {
        let mut filled = 0;
        for (lacks, id) in work {
            if pace.stopped() {
                break;
            }
            if hopeless.contains(id) {
                continue;
            }
            let done = match lacks {
                Lacks::Rows => self.read_list(*id),
                Lacks::All => self.read_snapshot(*id, pace),
                Lacks::Chunks => self.cut(*id, pace),
            };
            match done {
                Ok(()) => filled += 1,
                // Stopped, or removed meanwhile.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::NotFound) => {}
                Err(error) => {
                    tracing::warn!(layer = id, ?lacks, %error, "contents of this layer are not reused");
                    hopeless.insert(*id);
                }
            }
            let _ = pace.rest();
        }
        filled
    }

    fn read_list(&self, id: u64) -> io::Result<()> {
        let list = list::List::read(&self.layout.snapshot(id))?;
        self.index.insert(id, list.entries());
        Ok(())
    }

    /// Hashes the files of a snapshot that containerd committed, and indexes them.
    fn read_snapshot(self: &Arc<Self>, id: u64, pace: &mut Pace<'_>) -> io::Result<()> {
        let dir = self.layout.snapshot(id);
        let entries = match list::List::read(&dir) {
            Ok(list) => list.entries(),
            Err(_) => {
                let (files, chunks) = hash_all(&Dir::open(&self.layout.fs(id))?, pace)?;
                list::replace(&dir, &files, &chunks, self.options.sync)?
            }
        };
        self.index.insert(id, entries);
        Arc::make_mut(&mut self.layers.write()).insert(id, vec![LOCAL.to_owned()]);
        // Removed in between? Then its removal found nothing to forget.
        let here = self.database.read(|db| snapshot::is_committed_directory(db, id));
        if !here.is_ok_and(|here| here) {
            self.forget(id);
        }
        Ok(())
    }

    /// Takes a directory out of all look-ups.
    pub(crate) fn forget(&self, id: u64) {
        let known = self.layers.read().contains_key(&id);
        if known {
            Arc::make_mut(&mut self.layers.write()).remove(&id);
        }
    }
}

/// Every file with its digest, and the chunks of the large ones.
fn hash_all(tree: &Dir, pace: &mut Pace<'_>) -> io::Result<(Vec<NewFile>, Vec<NewChunk>)> {
    let mut files = Vec::new();
    let mut chunks = Chunks::default();
    let mut walk = Walk::new(tree)?;
    while let Some(step) = walk.step()? {
        match step {
            Step::Entry(FileType::Directory) => drop(walk.enter()?),
            Step::Entry(FileType::RegularFile) if files.len() < MAX_FILES => {
                let mut file = walk.file()?;
                let mut cutting = (file.metadata()?.len() > list::LARGE).then(|| chunks.begin());
                let (digest, size) = tree::digest(&mut file, |bytes| {
                    cutting.iter_mut().for_each(|cutting| cutting.feed(bytes));
                    pace.rest()
                })?;
                if let Some(cutting) = cutting {
                    chunks.end(cutting, walk.path());
                }
                // What nobody else asked for need not stay in memory.
                let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
                if size > 0 {
                    files.push(NewFile { path: walk.path().to_vec(), digest, size });
                }
            }
            _ => {}
        }
        pace.rest()?;
    }
    Ok((files, chunks.into_list()))
}

#[cfg(test)]
mod tests;

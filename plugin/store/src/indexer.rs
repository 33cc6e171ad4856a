//! Fills the index where it lacks something: after it was lost or its layout changed, with the files of
//! snapshots that containerd committed itself (`nerdctl commit`, `build`, `load`), which only reading tells ([`local`]),
//! with the chunks of large files in layers that came without a TOC ([`cuts`]), and with the digests of files that came in
//! pieces, which only a TOC names until somebody computes them ([`examine`]).
//!
//! There is no list of work to lose: what is missing is what rows and index do not agree on. So a restart goes on
//! with the snapshot at which it was. One snapshot is in work at a time, at the lowest CPU priority, and three
//! quarters of the time nothing happens.

mod cuts;
mod examine;
mod local;
mod pace;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{StoreError, at};
use crate::list;
use crate::snapshot;
use crate::store::{Inner, Store};
pub(crate) use pace::{Pace, Signal};

/// After a snapshot was committed, others usually follow, and the client is busy.
const SETTLE: Duration = Duration::from_secs(2);

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
        self.inner.complete_index(&mut HashSet::new(), &mut Pace::full())
    }
}

fn run(inner: &Arc<Inner>) {
    // Of this thread only: Linux gives each its own.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
    let mut hopeless = HashSet::new();
    loop {
        let mut pace = Pace::of(&inner.indexing);
        match inner.complete_index(&mut hopeless, &mut pace) {
            Ok(0) => {}
            Ok(added) => {
                tracing::info!(
                    added,
                    "indexed layers and snapshots, or read them for the index, in the background"
                );
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
    /// Something that only reading its files tells: chunks of the large ones, or digests that nobody computed.
    Reading,
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
        let unread = here.iter().filter(|id| indexed.get(id) == Some(&false));
        let work: Vec<_> = unread.map(|id| (Lacks::Reading, *id)).collect();
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
                Lacks::Reading => self.examine(*id, pace),
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
}

#[cfg(test)]
mod tests;

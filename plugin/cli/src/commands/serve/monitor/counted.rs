//! What the store holds, counted now and then: nobody who asks for the page waits for that.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chunked_core::Causes;
use chunked_host::HostIndex;
use chunked_metrics::StoreReadings;
use chunked_snapshot::LostSnapshots;
use chunked_store::{Counts, Store, StoreError};
use parking_lot::Mutex;

/// Numbers that are older are counted anew, in the background.
const FRESH: Duration = Duration::from_secs(10);

/// The numbers, and where they come from.
pub(crate) struct Counted {
    store: Arc<Store>,
    host: HostIndex,
    lost: Arc<LostSnapshots>,
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    store: Option<StoreReadings>,
    free: Option<u64>,
    /// When counting ended last.
    at: Option<Instant>,
    counting: bool,
}

impl Counted {
    pub(crate) fn new(store: Arc<Store>, host: HostIndex, lost: Arc<LostSnapshots>) -> Arc<Self> {
        Arc::new(Self { store, host, lost, latest: Mutex::default() })
    }

    /// What was counted last, and the free bytes of the filesystem. Has it counted anew if that is long ago, without
    /// waiting for it. Must be called inside a tokio runtime.
    pub(crate) fn latest(self: &Arc<Self>) -> (Option<StoreReadings>, Option<u64>) {
        let mut latest = self.latest.lock();
        let fresh = latest.at.is_some_and(|at| at.elapsed() < FRESH);
        if !fresh && !latest.counting {
            latest.counting = true;
            let this = Arc::clone(self);
            tokio::task::spawn_blocking(move || this.count());
        }
        (latest.store.clone(), latest.free)
    }

    /// Counts now. Blocks on the disk.
    pub(crate) fn count(&self) {
        let counted = self.read();
        let mut latest = self.latest.lock();
        (latest.at, latest.counting) = (Some(Instant::now()), false);
        match counted {
            Ok((store, free)) => (latest.store, latest.free) = (Some(store), Some(free)),
            // What was counted before stays, with the time when it was.
            Err(error) => {
                tracing::debug!(error = %Causes(&error), "the store cannot be counted for the metrics");
            }
        }
    }

    fn read(&self) -> Result<(StoreReadings, u64), StoreError> {
        let (counts, host, lost) = (self.store.counts()?, self.host.status(), self.lost.all(&self.store)?);
        Ok((readings(&counts, host.files, lost.len() as u64), self.store.free()?))
    }
}

fn readings(counts: &Counts, host_files: u64, lost: u64) -> StoreReadings {
    let Counts { layers, layer_usage, unused_layers, unused_usage, partial, trash, orphans, .. } = *counts;
    StoreReadings {
        counted: SystemTime::now(),
        bytes: vec![
            ("used", layer_usage.bytes.saturating_sub(unused_usage.bytes)),
            ("unused", unused_usage.bytes),
            ("partial", partial.usage.bytes),
            ("trash", trash.usage.bytes),
            ("orphans", orphans.usage.bytes),
        ],
        inodes: vec![
            ("used", layer_usage.inodes.saturating_sub(unused_usage.inodes)),
            ("unused", unused_usage.inodes),
            ("partial", partial.usage.inodes),
            ("trash", trash.usage.inodes),
            ("orphans", orphans.usage.inodes),
        ],
        layers: vec![("used", layers.saturating_sub(unused_layers)), ("unused", unused_layers)],
        snapshots: counts.snapshots,
        indexed: vec![
            ("files", counts.indexed_files),
            ("chunks", counts.indexed_chunks),
            ("host-files", host_files),
        ],
        lost,
    }
}

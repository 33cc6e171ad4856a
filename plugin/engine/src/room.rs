//! When the disk is full in the middle of a layer: what nobody uses goes, and the layer is tried again. One with a table of
//! contents goes on from what it had made.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use chunked_store::{Store, is_full};

use crate::blob::LayerBlob;
use crate::error::EngineError;
use crate::job::Job;
use crate::memory::LayerMemory;
use crate::report::LayerReport;

/// Tries at one layer: others may fill the room that was made for it.
const TRIES: usize = 4;

impl Job {
    /// Pulls the layer, making room for it where that is needed.
    pub(crate) async fn with_room(
        &self,
        memory: &LayerMemory,
        blob: &LayerBlob,
        hashing: bool,
    ) -> Result<LayerReport, EngineError> {
        let mut tries = 0;
        let first = self.counters.fetched.load(Ordering::Relaxed);
        loop {
            let before = self.counters.fetched.load(Ordering::Relaxed);
            let error = match self.once(memory, blob, hashing).await {
                Err(error) if is_full(&error) => error,
                done => return done,
            };
            tries += 1;
            let made = self.store(|store| store.make_room()).await?.unwrap_or_else(|error| {
                tracing::warn!(layer = %self.layer.blob, %error, "no room can be made");
                false
            });
            if !made || tries == TRIES {
                let diff_id = self.layer.diff_id;
                // What is left of it would keep the disk full.
                let give_up = move |store: &Arc<Store>| (store.drop_partials(Some(&diff_id)), store.free());
                let (dropped, free) = self.store(give_up).await?;
                let went_on = dropped.unwrap_or_else(|error| {
                    tracing::warn!(layer = %self.layer.blob, %error, "an unfinished tree stays on the full disk");
                    0
                }) > 0;
                let since = if went_on { first } else { before };
                return Err(self.no_room(since, before, free.unwrap_or(0), error));
            }
            tracing::warn!(layer = %self.layer.blob, "the disk was full; what nobody used is gone, going on");
        }
    }

    /// Bytes that had been fetched, `since`: when that began which filled the `free` bytes of the disk; `before`: when the
    /// last try began.
    fn no_room(&self, since: u64, before: u64, free: u64, source: EngineError) -> EngineError {
        let fetched = self.counters.fetched.load(Ordering::Relaxed);
        let rest =
            self.counters.wanted.load(Ordering::Relaxed).saturating_sub(fetched.saturating_sub(before));
        // What came filled the disk; the rest takes as much for each byte.
        let came = fetched.saturating_sub(since).max(1);
        let missing = u128::from(free) * u128::from(rest) / u128::from(came);
        EngineError::NoRoom {
            layer: self.layer.blob,
            root: self.inner.store.inner().root().to_owned(),
            missing: mebibytes(u64::try_from(missing).unwrap_or(u64::MAX).min(1 << 50)),
            free: mebibytes(free),
            source: Box::new(source),
        }
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20).max(1)
}

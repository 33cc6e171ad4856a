//! When the disk is full in the middle of a layer: what nobody uses goes, and the layer is tried again.

use std::sync::atomic::Ordering;

use chunked_store::is_full;

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
        loop {
            let before = self.counters.fetched.load(Ordering::Relaxed);
            let error = match self.once(memory, blob, hashing).await {
                Err(error) if is_full(&error) => error,
                done => return done,
            };
            tries += 1;
            let (made, free) = self.store(|store| (store.make_room(), store.free())).await?;
            let made = made.unwrap_or_else(|error| {
                tracing::warn!(layer = %self.layer.blob, %error, "no room can be made");
                false
            });
            if !made || tries == TRIES {
                return Err(self.no_room(before, free.unwrap_or(0), error));
            }
            tracing::warn!(layer = %self.layer.blob, "the disk was full; what nobody used is gone, trying again");
        }
    }

    /// `before`: bytes that had been fetched when the last try began. `free`: bytes of the disk that it filled.
    fn no_room(&self, before: u64, free: u64, source: EngineError) -> EngineError {
        let fetched = self.counters.fetched.load(Ordering::Relaxed).saturating_sub(before);
        let rest = self.counters.wanted.load(Ordering::Relaxed).saturating_sub(fetched);
        // What came filled the disk; the rest takes as much for each byte.
        let missing = u128::from(free) * u128::from(rest) / u128::from(fetched.max(1));
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

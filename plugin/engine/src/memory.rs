//! A layer's shares of the node's memory budget, by what they are for.
//!
//! Each is guaranteed what its purpose needs to go on, so that none can use up another's: bytes that were fetched
//! wait for the layer's thread, which waits for work to be finished, which may wait for a single piece to be fetched
//! again.

use std::sync::Arc;

use chunked_assemble::Budget;
use chunked_fair::{Memory, Share};
use chunked_fetch::FetchOptions;

/// Guaranteed for what is fetched: one request.
const FETCH: u64 = 1 << 20;
/// Guaranteed for what is fetched because no local file gave it.
const SPARE: u64 = 1 << 19;
/// Guaranteed to a layer, in bytes.
const GUARANTEED: u64 = FETCH + SPARE + Budget::GUARANTEED;
/// Most layers made at the same time, over all registries.
const MOST: u64 = 32;

/// Layers that may be made at the same time with a budget of `memory` bytes: two thirds of it are guaranteed then.
pub(crate) fn places(memory: u64) -> u64 {
    (memory / 3 * 2 / GUARANTEED).clamp(1, MOST)
}

/// See the module. Dropping it ends every wait for the layer's memory: the layer is complete, or was given up.
#[derive(Debug)]
pub(crate) struct LayerMemory {
    fetch: Arc<Share>,
    spare: Arc<Share>,
    work: Arc<Share>,
    /// For what is large and lasts: tables of contents, windows. Nothing of it is guaranteed.
    pub(crate) large: Arc<Share>,
    pub(crate) budget: Arc<Budget>,
}

impl LayerMemory {
    /// Waits until a layer of the registry `owner` can be guaranteed what it needs.
    pub(crate) async fn take(memory: &Memory, owner: &Arc<str>) -> Self {
        let [fetch, spare, work, large] = memory.shares(owner, [FETCH, SPARE, Budget::GUARANTEED, 0]).await;
        let budget = Budget::of(Arc::clone(&work), Arc::clone(&large));
        Self { fetch, spare, work, large, budget }
    }

    /// `options` for the layer's transfer.
    pub(crate) fn fetch(&self, options: &FetchOptions) -> FetchOptions {
        FetchOptions { memory: Some(Arc::clone(&self.fetch)), ..options.clone() }
    }

    /// `options` for single pieces of it.
    pub(crate) fn spare(&self, options: &FetchOptions) -> FetchOptions {
        FetchOptions { memory: Some(Arc::clone(&self.spare)), ..options.clone() }
    }
}

impl Drop for LayerMemory {
    fn drop(&mut self) {
        [&self.fetch, &self.spare, &self.work, &self.large].into_iter().for_each(|share| share.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_guaranteed_fits() {
        for (mib, layers) in [(32, 5), (64, 10), (192, 32), (1024, 32)] {
            assert_eq!(places(mib << 20), layers, "{mib} MiB");
        }
        assert_eq!(places(1), 1);
    }
}

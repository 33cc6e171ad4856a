//! What is known of the network to a layer's blob, and finding out more.

use std::time::Duration;

use chunked_plan::{Costs, Prefer};

use crate::blob::LayerBlob;
use crate::job::Job;

/// What reading a blob on this machine costs: bytes per second, and time from a call to its answer.
const HERE: (u64, Duration) = (1 << 30, Duration::from_micros(300));
/// Origins remembered as asked; there are rarely more than a few.
const MAX_PROBED: usize = 256;

impl Job {
    /// The costs to plan with: measured ones where there are some, else those of the configuration.
    pub(crate) fn costs(&self, blob: &LayerBlob) -> Costs {
        let options = &self.inner.options;
        let LayerBlob::Registry(blob) = blob else {
            // Bytes of this machine cost nobody anything.
            let prefer = Prefer::Time;
            return Costs { bandwidth: HERE.0, round_trip: HERE.1, connections: 1, prefer, ..options.costs };
        };
        let network = blob.network();
        let at_once = if blob.has_multi_range() == Some(true) { options.fetch.ranges_per_request } else { 1 };
        let costs = Costs {
            bandwidth: network.bandwidth.unwrap_or(options.costs.bandwidth),
            round_trip: network.round_trip.unwrap_or(options.costs.round_trip),
            connections: u32::try_from(options.fetch.connections).unwrap_or(u32::MAX),
            small_requests: u32::try_from(options.fetch.small_requests).unwrap_or(u32::MAX),
            ranges_per_request: u32::try_from(at_once).unwrap_or(u32::MAX),
            ..options.costs
        };
        // On a line this slow no gap is worth a byte that is not needed.
        if self.places.fewest_bytes { Costs { bandwidth: 1, prefer: Prefer::Bytes, ..costs } } else { costs }
    }

    /// Asks the blob's origin for several ranges of the image's config at once, in the background, if nobody did.
    /// Called when the origin is known, from the answer to another request.
    pub(crate) fn ask_for_several(&self, blob: &LayerBlob) {
        let LayerBlob::Registry(blob) = blob else { return };
        if self.inner.options.fetch.ranges_per_request < 2 || blob.has_multi_range().is_some() {
            return;
        }
        let mut probed = self.inner.probed.lock();
        if probed.len() >= MAX_PROBED || !probed.insert(blob.origin()) {
            return;
        }
        let image = std::sync::Arc::clone(&self.image);
        let size = image.config.len() as u64;
        let config = self.client().blob(&image.reference, image.config_digest, size);
        tokio::spawn(async move {
            let _ = chunked_fetch::probe(&config, &image.config).await;
        });
    }
}

//! Progress bars of a pull, on a terminal only.

use chunked_core::ObjectDigest;
use chunked_engine::Engine;
use chunked_proto::chunked::control::v1::{LayerJob, Phase};

use crate::screen::{self, Layers, Line, TICK};
use crate::wire;

/// Draws a bar for each running job until cancelled by being dropped.
pub(crate) async fn show(engine: Engine) {
    if !screen::is_shown() {
        return std::future::pending().await;
    }
    let mut layers = Layers::new();
    loop {
        layers.show(engine.running().iter().map(wire::job).filter_map(|job| line(&job)));
        tokio::time::sleep(TICK).await;
    }
}

/// The bar of a layer, and what tells it from others.
pub(crate) fn line(job: &LayerJob) -> Option<(ObjectDigest, Line)> {
    let blob: ObjectDigest = job.blob.parse().ok()?;
    let what = match job.phase() {
        Phase::Planning => "planning",
        Phase::Writing => "pulling",
        Phase::Committing => "committing",
        _ => "waiting",
    };
    // Of what has to be fetched, so that the rate is the network's.
    let total = if job.planned_bytes > 0 { job.planned_bytes } else { job.blob_bytes };
    let name = blob.to_hex().chars().take(12).collect();
    Some((blob, Line { name, position: (job.fetched_bytes.min(total), total), what }))
}

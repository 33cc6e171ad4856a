//! From a reference to layers in the store: the same for the command line and the daemon.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use chunked_engine::{Engine, LayerReport, Places};
use chunked_registry::{Client, Image, Platform, Reference};
use serde::{Deserialize, Serialize};

/// The answer of `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    image: String,
    manifest: String,
    /// Bytes of all layers' blobs.
    bytes_total: u64,
    /// Bytes received for layers: pieces, TOCs, tar-splits, gaps.
    bytes_fetched: u64,
    /// Bytes of the blobs that were not needed.
    bytes_reused: u64,
    /// Of those, bytes whose content the host had.
    bytes_from_host: u64,
    files: u64,
    files_reused: u64,
    /// Of those, files taken from the host.
    files_from_host: u64,
    seconds: Seconds,
    layers: Vec<Arc<LayerReport>>,
}

#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Seconds {
    /// Manifest and config.
    pub(crate) resolve: f64,
    /// All layers, which run beside each other.
    pub(crate) layers: f64,
    /// Writing the root file system.
    pub(crate) rootfs: f64,
    pub(crate) total: f64,
}

impl Report {
    pub(crate) fn new(image: &Image, layers: Vec<Arc<LayerReport>>, seconds: Seconds) -> Self {
        let sum = |of: fn(&LayerReport) -> u64| layers.iter().map(|layer| of(layer)).sum();
        Self {
            image: image.reference.to_string(),
            manifest: image.manifest_digest.to_string(),
            bytes_total: sum(|l| l.bytes_total),
            bytes_fetched: sum(|l| l.bytes_fetched),
            bytes_reused: sum(|l| l.bytes_reused),
            bytes_from_host: sum(|l| l.bytes_from_host),
            files: sum(|l| l.files),
            files_reused: sum(|l| l.files_reused),
            files_from_host: sum(|l| l.files_from_host),
            seconds,
            layers,
        }
    }
}

/// The image that `reference` means now.
pub(crate) async fn resolve(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
) -> Result<Arc<Image>> {
    let image = client.pull_image(reference, platform).await.with_context(|| format!("image {reference}"))?;
    Ok(Arc::new(image))
}

/// Its layers, lowest first, in the store.
pub(crate) async fn layers(
    engine: &Engine,
    image: &Arc<Image>,
    places: &Places,
) -> Result<Vec<Arc<LayerReport>>> {
    let layers = engine.image(image, places).await;
    layers.with_context(|| format!("image {}", image.reference))
}

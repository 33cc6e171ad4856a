//! `pull`: the same pipeline as the daemon's, without containerd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use chunked_core::labels;
use chunked_engine::{Engine, EngineError, LayerReport, Mode};
use chunked_registry::{Client, Image, Platform, Reference};
use chunked_store::{Adoption, Kind, NewSnapshot, Store};
use serde::Serialize;

use crate::args::Pull;
use crate::{progress, rootfs, settings};

/// The answer of `--json`.
#[derive(Debug, Serialize)]
struct Report {
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

#[derive(Debug, Default, Serialize)]
struct Seconds {
    /// Manifest and config.
    resolve: f64,
    /// All layers, which run beside each other.
    layers: f64,
    /// Writing the root file system.
    rootfs: f64,
    total: f64,
}

pub(crate) async fn run(command: Pull) -> Result<()> {
    let settings = settings::for_images(&command.registries)?;
    let reference: Reference = command.image.parse().with_context(|| format!("image {:?}", command.image))?;
    let platform = command.platform.clone().unwrap_or_default();
    if command.index_host {
        super::host::pass(&settings, !command.json).await.context("indexing host files")?;
    }
    let started = Instant::now();
    let client = Client::new(settings::client(&settings))?;
    let store = Arc::new(Store::open_with(&settings.root, settings::store(&settings))?);
    let cleaner = store.start_cleaner()?;
    let (mut options, mut raised) = (settings::engine(&settings), false);
    let report = loop {
        let engine = Engine::new(Arc::clone(&store), client.clone(), options.clone())?;
        let work = pull(&engine, &client, &reference, &platform, command.to.as_deref(), started);
        let done = tokio::select! {
            report = work => report,
            () = progress::show(engine.clone()), if !command.json => anyhow::bail!("the progress display ended"),
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; what is complete stays in the store"),
        };
        match done.as_ref().err().and_then(lacking) {
            // Nobody takes the pull over, as containerd does for the daemon.
            Some(bytes) if !raised => {
                tracing::info!(
                    bytes,
                    "pulling again: a layer needs more memory at once than [pull] memory gives it"
                );
                // An eighth is kept for layers that are yet to come.
                options.memory = options.memory.saturating_add(bytes / 7 * 8);
                raised = true;
            }
            _ => break done?,
        }
    };
    tokio::task::spawn_blocking(move || drop(cleaner)).await?;
    if command.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report, command.to.as_deref());
    }
    Ok(())
}

/// Bytes of memory that a layer needs at once and may not have.
fn lacking(error: &anyhow::Error) -> Option<u64> {
    error.chain().find_map(|cause| cause.downcast_ref::<Arc<EngineError>>()?.lacks_memory())
}

async fn pull(
    engine: &Engine,
    client: &Client,
    reference: &Reference,
    platform: &Platform,
    to: Option<&Path>,
    started: Instant,
) -> Result<Report> {
    let image = client.pull_image(reference, platform).await.with_context(|| format!("image {reference}"))?;
    let image = Arc::new(image);
    let resolve = started.elapsed().as_secs_f64();
    let layers = engine.image(&image).await.with_context(|| format!("image {reference}"))?;
    let pulled = started.elapsed().as_secs_f64();
    let (store, adopted, pins) = (Arc::clone(engine.store()), Arc::clone(&image), layers.clone());
    let to = to.map(Path::to_path_buf);
    tokio::task::spawn_blocking(move || finish(&store, &adopted, &pins, to.as_deref())).await??;
    let total = started.elapsed().as_secs_f64();
    let seconds = Seconds { resolve, layers: pulled - resolve, rootfs: total - pulled, total };
    let sum = |of: fn(&LayerReport) -> u64| layers.iter().map(|layer| of(layer)).sum();
    Ok(Report {
        image: reference.to_string(),
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
    })
}

/// Keeps the image's layers in the store as committed snapshots, as containerd would have them, and writes the
/// root file system.
fn finish(store: &Store, image: &Image, layers: &[Arc<LayerReport>], to: Option<&Path>) -> Result<()> {
    let mut parent: Option<String> = None;
    for (layer, report) in image.layers.iter().zip(layers) {
        let target = layer.chain_id.to_string();
        let labels = BTreeMap::from([(labels::SNAPSHOT_REF.to_owned(), target.clone())]);
        let adoption = Adoption { target: &target, parent: parent.as_deref(), labels: &labels };
        parent = Some(store.adopt(&report.pin, &adoption)?.name);
    }
    let Some(to) = to else { return Ok(()) };
    // An image may have no layers; its tree is an empty one.
    let trees = parent.map_or_else(|| Ok(Vec::new()), |top| trees(store, &top))?;
    rootfs::write(&trees, to)
}

/// The trees of the chain that ends in the committed snapshot `top`, lowest first.
fn trees(store: &Store, top: &str) -> Result<Vec<PathBuf>> {
    let name = format!("pull-{}", std::process::id());
    let labels = BTreeMap::new();
    let view = NewSnapshot { name: &name, kind: Kind::View, parent: Some(top), labels: &labels, owner: None };
    let mut trees = store.create(&view)?.parents;
    store.remove(&name)?;
    trees.reverse();
    Ok(trees)
}

fn print(report: &Report, to: Option<&Path>) {
    let bytes = indicatif::HumanBytes;
    println!("{} ({})", report.image, report.manifest);
    for layer in &report.layers {
        let how = match layer.mode {
            Mode::Present => "in the store already".to_owned(),
            Mode::Whole => {
                format!("pulled whole{}", layer.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())
            }
            Mode::Chunked if layer.files_from_host > 0 => format!(
                "{} of {} files were here already, {} of them on the host",
                layer.files_reused, layer.files, layer.files_from_host
            ),
            Mode::Chunked => format!("{} of {} files were here already", layer.files_reused, layer.files),
        };
        println!(
            "  {}  {:>11} of {:>11} fetched  {how}",
            layer.blob.to_hex().chars().take(12).collect::<String>(),
            bytes(layer.bytes_fetched).to_string(),
            bytes(layer.bytes_total).to_string(),
        );
    }
    println!(
        "fetched {} of {}, {} not needed, in {:.1} s",
        bytes(report.bytes_fetched),
        bytes(report.bytes_total),
        bytes(report.bytes_reused),
        report.seconds.total
    );
    if let Some(to) = to {
        println!("root file system in {}", to.display());
    }
}

//! A pull by this process, into a store that no daemon has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use chunked_config::Settings;
use chunked_core::labels;
use chunked_engine::{Engine, EngineError, LayerReport, Places};
use chunked_registry::{Client, Image, Platform};
use chunked_store::{Adoption, Kind, NewSnapshot, Store};

use super::{Wanted, text};
use crate::args::Pull;
use crate::pulling::{self, Report, Seconds};
use crate::{progress, rootfs, settings};

pub(super) async fn pull(settings: &Settings, command: &Pull, wanted: Wanted) -> Result<()> {
    let platform = command.platform.clone().unwrap_or_default();
    if command.index_host {
        crate::commands::host::pass(settings, !command.json).await.context("indexing host files")?;
    }
    let started = Instant::now();
    let mut client = Client::new(settings::client(settings))?;
    let mut places = Places::default();
    if let Some(credentials) = wanted.credentials {
        client = client.with_credentials(&wanted.reference.host, credentials);
        places.client = Some(client.clone());
    }
    let store = Arc::new(Store::open_with(&settings.root, settings::store(settings))?);
    let cleaner = store.start_cleaner()?;
    let (mut options, mut raised) = (settings::engine(settings), false);
    let report = loop {
        let engine = Engine::new(Arc::clone(&store), client.clone(), options.clone())?;
        let what = (&wanted.reference, &platform);
        let work = once(&engine, (&client, &places), what, command.to.as_deref(), started);
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
    Ok(text::print(&serde_json::to_string(&report)?, command.json, command.to.as_deref())?)
}

/// Bytes of memory that a layer needs at once and may not have.
fn lacking(error: &anyhow::Error) -> Option<u64> {
    error.chain().find_map(|cause| cause.downcast_ref::<Arc<EngineError>>()?.lacks_memory())
}

async fn once(
    engine: &Engine,
    (client, places): (&Client, &Places),
    (reference, platform): (&chunked_registry::Reference, &Platform),
    to: Option<&Path>,
    started: Instant,
) -> Result<Report> {
    let image = pulling::resolve(client, reference, platform).await?;
    let resolve = started.elapsed().as_secs_f64();
    let layers = pulling::layers(engine, &image, places).await?;
    let pulled = started.elapsed().as_secs_f64();
    let (store, adopted, pins) = (Arc::clone(engine.store()), Arc::clone(&image), layers.clone());
    let to = to.map(Path::to_path_buf);
    tokio::task::spawn_blocking(move || finish(&store, &adopted, &pins, to.as_deref())).await??;
    let total = started.elapsed().as_secs_f64();
    let seconds = Seconds { resolve, layers: pulled - resolve, rootfs: total - pulled, total };
    Ok(Report::new(&image, layers, seconds))
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

//! `release`: gives images back to another snapshotter of containerd.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use chunked_client::{Session, unpack};
use chunked_core::{Causes, labels};
use chunked_discover::Found;
use chunked_fetch::FetchOptions;
use chunked_registry::{Client, Image, Layer};

use super::moving::Node;
use crate::args::Release;
use crate::settings;

pub(crate) async fn run(command: Release) -> Result<()> {
    let settings = settings::for_person(&command.moving.common)?;
    let (ours, to, keep) = (command.moving.snapshotter.clone(), command.to, command.keep);
    anyhow::ensure!(ours != to, "images of {ours} cannot be released to {to}");
    let client = Client::new(settings::client(&settings))?;
    let fetching = settings::engine(&settings).fetch;
    let node = Node::of(command.moving, &settings, |held| held.snapshotters.contains(&ours)).await?;
    let label = format!("{}{ours}", labels::GC_REF_SNAPSHOT_PREFIX);
    let moved = node
        .each("released", async |chosen| {
            let found = node.find(chosen).await?;
            let session = node.session(chosen).await?;
            let released = async {
                let bytes = bring_blobs(&session, &client, &fetching, &found).await?;
                let got = unpack(&session, &to, &found.image, &chosen.name).await?;
                if !keep {
                    session.label(&found.image.config_digest, &label, None).await?;
                }
                Ok((got, bytes))
            };
            let released = released.await;
            Node::close(session).await;
            released
        })
        .await;
    let running = if node.is_dry() { 0 } else { containers(&node, &ours).await };
    let last = match running {
        0 => String::new(),
        n => format!("; {n} containers have a snapshot of {ours} until they are created anew"),
    };
    node.end(&moved, &last)
}

/// Containers of the images' namespaces that run, or may run again, on our snapshots.
async fn containers(node: &Node, ours: &str) -> usize {
    let mut count = 0;
    let namespaces: BTreeSet<&str> = node.chosen.iter().map(|chosen| &*chosen.held.namespace).collect();
    for namespace in namespaces {
        let Ok(session) = Session::new(node.containerd.channel(), namespace) else { continue };
        match session.active(ours).await {
            Ok(keys) => count += keys.len(),
            Err(error) => tracing::warn!(error = %Causes(&error), namespace, "containers cannot be counted"),
        }
    }
    count
}

/// Fetches the layers' blobs that containerd's content store lacks; gives their bytes.
async fn bring_blobs(
    session: &Session,
    client: &Client,
    options: &FetchOptions,
    found: &Found,
) -> Result<u64> {
    let mut bytes = 0;
    for (index, layer) in found.image.layers.iter().enumerate() {
        if session.labels(&layer.blob).await?.is_some() {
            continue;
        }
        if let Some(reason) = &found.no_registry {
            anyhow::bail!(
                "layer {} is not in containerd's content store, and no registry can be asked for it: {reason}",
                layer.blob
            );
        }
        let others = found.alternatives.iter().filter(|source| source.no_registry.is_none());
        let places: Vec<&Image> =
            std::iter::once(&*found.image).chain(others.map(|source| &*source.image)).collect();
        bytes += bring_from_one_of(session, client, options, (&places, index)).await?;
    }
    Ok(bytes)
}

/// Fetches a layer's blob from the first place that has it; gives its bytes.
async fn bring_from_one_of(
    session: &Session,
    client: &Client,
    options: &FetchOptions,
    (places, index): (&[&Image], usize),
) -> Result<u64> {
    let mut first = None;
    for image in places {
        let Some(layer) = image.layers.get(index) else { continue };
        match bring(session, client, options, (image, layer)).await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => {
                let error = error.context(format!("layer {} of {}", layer.blob, image.reference));
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| anyhow::anyhow!("no registry is known for the image")))
}

async fn bring(
    session: &Session,
    client: &Client,
    options: &FetchOptions,
    (image, layer): (&Image, &Layer),
) -> Result<u64> {
    let Some(mut ingest) = session.ingest(layer.blob, layer.size).await? else { return Ok(0) };
    let fetched = if ingest.is_complete() { 0 } else { layer.size };
    if fetched > 0 {
        let blob = client.blob(&image.reference, layer.blob, layer.size);
        let mut segments = chunked_fetch::fetch_all(blob, options);
        while let Some(segment) = segments.recv().await {
            ingest.write(segment.context("fetching it")?.data).await?;
        }
    }
    let Image { reference, .. } = image;
    ingest.commit(labels::of_layer(&reference.host, &reference.repository, &layer.diff_id)).await?;
    Ok(fetched)
}

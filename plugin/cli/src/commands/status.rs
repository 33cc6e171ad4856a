//! `status`: asks a running daemon.

use anyhow::Result;
use chunked_proto::chunked::control::v1::{LayersRequest, Phase, StatusRequest};
use serde_json::json;

use crate::args::Status;
use crate::{settings, store_access};

pub(crate) async fn run(command: Status) -> Result<()> {
    let settings = settings::load(&command.common)?;
    let address = command.address.unwrap_or(settings.address);
    let mut client = store_access::connect(&address).await?;
    let status = client.status(StatusRequest {}).await?.into_inner();
    let jobs = client.layers(LayersRequest {}).await?.into_inner().jobs;
    let store = status.store.unwrap_or_default();
    if command.json {
        let jobs: Vec<_> = jobs
            .iter()
            .map(|job| {
                json!({
                    "diff_id": job.diff_id, "blob": job.blob, "bytes_total": job.blob_bytes,
                    "bytes_wanted": job.planned_bytes, "bytes_fetched": job.fetched_bytes,
                    "bytes_reused": job.reused_bytes, "phase": phase(job.phase()),
                })
            })
            .collect();
        let answer = json!({
            "version": status.version, "root": status.root, "containerd_version": status.containerd_version,
            "layers": store.layers, "layer_bytes": store.layer_bytes, "unused_layers": store.unused_layers,
            "unused_bytes": store.unused_bytes, "snapshots": store.snapshots, "indexed_files": store.indexed_files,
            "indexed_chunks": store.indexed_chunks, "jobs": jobs,
        });
        println!("{answer}");
        return Ok(());
    }
    let containerd =
        if status.containerd_version.is_empty() { "not reachable" } else { &status.containerd_version };
    println!("chunked-snapshotter {}   root {}   containerd {containerd}", status.version, status.root);
    println!(
        "{} layers ({}), {} of them unused ({}), {} snapshots, {} files and {} chunks to reuse",
        store.layers,
        indicatif::HumanBytes(store.layer_bytes),
        store.unused_layers,
        indicatif::HumanBytes(store.unused_bytes),
        store.snapshots,
        store.indexed_files,
        store.indexed_chunks
    );
    for job in jobs {
        println!(
            "  {}  {:>11} of {:>11}  {}",
            job.blob.chars().skip("sha256:".len()).take(12).collect::<String>(),
            indicatif::HumanBytes(job.fetched_bytes).to_string(),
            indicatif::HumanBytes(job.planned_bytes).to_string(),
            phase(job.phase())
        );
    }
    Ok(())
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Unspecified => "unknown",
        Phase::Waiting => "waiting",
        Phase::Planning => "planning",
        Phase::Writing => "writing",
        _ => "committing",
    }
}

//! `status`: asks a running daemon.

use std::collections::BTreeMap;

use anyhow::Result;
use chunked_proto::chunked::control::v1::{
    HandOvers, HostStatus, LayerJob, LayersRequest, Phase, ScrubStatus, StatusRequest, StoreVerified,
};
use serde_json::json;

use crate::args::Status;
use crate::{settings, store_access, wire};

mod watch;

pub(crate) async fn run(command: Status) -> Result<()> {
    let Status { watch, access: command } = command;
    let settings = settings::load(&command.common)?;
    let address = command.address.unwrap_or(settings.address);
    let mut client = store_access::connect(&address).await?;
    if watch {
        return watch::run(client, command.json).await;
    }
    let status = client.status(StatusRequest {}).await?.into_inner();
    let jobs = client.layers(LayersRequest {}).await?.into_inner().jobs;
    let store = status.store.unwrap_or_default();
    let host = status.host.unwrap_or_default();
    let handed_over = status.handed_over.unwrap_or_default();
    let scrub = status.scrub.unwrap_or_default();
    if command.json {
        let jobs: Vec<_> = jobs.iter().map(as_json).collect();
        let answer = json!({
            "version": status.version, "root": status.root, "containerd_version": status.containerd_version,
            "layers": store.layers, "layer_bytes": store.layer_bytes, "unused_layers": store.unused_layers,
            "unused_bytes": store.unused_bytes, "snapshots": store.snapshots, "indexed_files": store.indexed_files,
            "indexed_chunks": store.indexed_chunks, "layer_inodes": store.layer_inodes,
            "unused_inodes": store.unused_inodes, "partial": wire::held_as_json(store.partial),
            "trash": wire::held_as_json(store.trash), "orphans": wire::held_as_json(store.orphans), "jobs": jobs,
            "scrub": {
                "interval": scrub.interval, "running": scrub.running.as_ref().map(verified),
                "last": scrub.last.as_ref().map(verified),
                "finished": scrub.finished_at.as_ref().map(|time| time.seconds),
            },
            "lost": status.lost.iter().map(|lost| json!({
                "name": lost.name, "image": lost.image, "text": lost.text,
            })).collect::<Vec<_>>(),
            "handed_over": handed_over.by_reason.iter().collect::<BTreeMap<_, _>>(),
            "last_handed_over": handed_over.last.as_ref().map(|last| json!({
                "at": last.at.as_ref().map(|time| time.seconds), "reason": last.reason, "image": last.image,
                "error": last.text, "advice": last.advice,
            })),
            "host": {
                "enabled": host.enabled, "files": host.files, "bytes": host.bytes, "running": host.running,
                "pass_files": host.pass_files, "expected_files": host.expected_files,
                "hashed_files": host.hashed_files, "hashed_bytes": host.hashed_bytes,
                "pass_started": host.pass_started_at.map(|time| time.seconds),
                "pass_finished": host.pass_finished_at.map(|time| time.seconds),
            },
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
    wire::besides(&store).iter().for_each(|line| println!("{line}"));
    println!("{}", host_line(&host));
    println!("{}", scrub_line(&scrub));
    print_handed_over(&handed_over);
    for lost in &status.lost {
        println!("snapshot {} is lost: {}", lost.name, lost.text);
    }
    for job in jobs {
        println!(
            "  {}  {:>11} of {:>11}  {}",
            job.blob.chars().skip_while(|c| *c != ':').skip(1).take(12).collect::<String>(),
            indicatif::HumanBytes(job.fetched_bytes).to_string(),
            indicatif::HumanBytes(job.planned_bytes).to_string(),
            phase(job.phase())
        );
    }
    Ok(())
}

/// A layer that is being made.
fn as_json(job: &LayerJob) -> serde_json::Value {
    json!({
        "diff_id": job.diff_id, "blob": job.blob, "bytes_total": job.blob_bytes,
        "bytes_wanted": job.planned_bytes, "bytes_fetched": job.fetched_bytes,
        "bytes_reused": job.reused_bytes, "phase": phase(job.phase()),
    })
}

fn verified(verified: &StoreVerified) -> serde_json::Value {
    json!({
        "layers": verified.layers, "files": verified.files, "bytes": verified.bytes,
        "problems": verified.problems, "repaired": verified.repaired,
    })
}

/// What the daemon found when it read the store, or how far it is.
fn scrub_line(scrub: &ScrubStatus) -> String {
    if scrub.interval == 0 {
        return "the store is not read in the background".to_owned();
    }
    if let Some(running) = &scrub.running {
        let bytes = indicatif::HumanBytes(running.bytes);
        return format!(
            "reading the store: {} layers, {} files, {bytes} so far",
            running.layers, running.files
        );
    }
    match &scrub.last {
        Some(last) if last.layers > 0 => format!(
            "the store was read: {} layers, {} files, {} problems, {} repaired",
            last.layers, last.files, last.problems, last.repaired
        ),
        _ => format!("the store is read every {} days", scrub.interval / 86_400),
    }
}

/// Layers that containerd downloaded in our place since the daemon started, by reason.
fn print_handed_over(handed_over: &HandOvers) {
    if handed_over.by_reason.is_empty() {
        return;
    }
    let total: u64 = handed_over.by_reason.values().sum();
    let sorted: BTreeMap<_, _> = handed_over.by_reason.iter().collect();
    let reasons: Vec<String> =
        sorted.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    println!("{total} layers were handed over to containerd: {}", reasons.join(", "));
    if let Some(last) = &handed_over.last {
        println!("  the last: {}: {}\n  what to do: {}", last.reason, last.text, last.advice);
    }
}

fn host_line(host: &HostStatus) -> String {
    if !host.enabled {
        return "host files are switched off".to_owned();
    }
    let here = format!("{} host files ({}) to reuse", host.files, indicatif::HumanBytes(host.bytes));
    if host.running {
        return format!("{here}; indexing, {} of about {}", host.pass_files, host.expected_files);
    }
    match (&host.pass_started_at, &host.pass_finished_at) {
        (None, _) => format!("{here}; not indexed yet"),
        (Some(_), None) => format!("{here}; indexing was interrupted and will go on"),
        (Some(_), Some(_)) => here,
    }
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

//! `status --watch`: the layers that a daemon is making, until Ctrl-C.

use std::time::Duration;

use anyhow::{Result, bail};
use chunked_proto::chunked::control::v1::control_client::ControlClient;
use chunked_proto::chunked::control::v1::{LayerJob, LayersRequest, Phase};
use serde_json::json;
use tonic::transport::Channel;

use super::{as_json, phase};
use crate::screen::{self, Layers, Line, TICK};

/// From one JSON object to the next.
const EACH: Duration = Duration::from_secs(1);

/// Shows what the daemon behind `client` is making.
pub(crate) async fn run(mut client: ControlClient<Channel>, json: bool) -> Result<()> {
    if !json && !screen::is_shown() {
        bail!("bars need a terminal; --watch --json prints an object each second instead");
    }
    tokio::select! {
        shown = show(&mut client, json) => shown,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
    }
}

async fn show(client: &mut ControlClient<Channel>, json: bool) -> Result<()> {
    let mut layers = Layers::new();
    loop {
        let jobs = client.layers(LayersRequest {}).await?.into_inner().jobs;
        if json {
            println!("{}", json!({ "jobs": jobs.iter().map(as_json).collect::<Vec<_>>() }));
        } else {
            layers.show(jobs.iter().filter_map(|job| Some((key(job)?, line(job)))));
        }
        tokio::time::sleep(if json { EACH } else { TICK }).await;
    }
}

/// A blob that an image has twice is two jobs with two DiffIDs.
fn key(job: &LayerJob) -> Option<(chunked_core::ObjectDigest, chunked_core::Digest)> {
    Some((job.blob.parse().ok()?, job.diff_id.parse().ok()?))
}

fn line(job: &LayerJob) -> Line {
    let what = match job.phase() {
        // The word that `pull` has.
        Phase::Writing => "pulling",
        other => phase(other),
    };
    let total = if job.planned_bytes > 0 { job.planned_bytes } else { job.blob_bytes };
    let name = job.blob.split(':').next_back().unwrap_or_default().chars().take(12).collect();
    Line { name, position: (job.fetched_bytes.min(total), total), what }
}

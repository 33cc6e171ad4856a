//! `pulls`: what a running daemon pulls because somebody asked it to.

use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use chunked_proto::chunked::control::v1 as api;
use chunked_proto::chunked::control::v1::control_client::ControlClient;
use chunked_proto::chunked::control::v1::event::Event;
use serde_json::json;
use tonic::transport::Channel;

use crate::args::{DaemonAccess, Pulls};
use crate::{settings, store_access};

pub(crate) async fn run(command: Pulls) -> Result<()> {
    match command {
        Pulls::Ls(access) => list(connect(&access).await?, access.json).await,
        Pulls::Cancel { number, access } => cancel(connect(&access).await?, number, access.json).await,
        Pulls::Watch(access) => watch(connect(&access).await?, access.json).await,
        Pulls::Images(access) => images(connect(&access).await?, access.json).await,
    }
}

async fn connect(access: &DaemonAccess) -> Result<ControlClient<Channel>> {
    let settings = settings::for_person(&access.common)?;
    store_access::connect(access.address.as_ref().unwrap_or(&settings.address)).await
}

async fn list(mut client: ControlClient<Channel>, json: bool) -> Result<()> {
    let jobs = client.jobs(api::JobsRequest {}).await?.into_inner().jobs;
    if json {
        println!("{}", serde_json::Value::from_iter(jobs.iter().map(job)));
        return Ok(());
    }
    for job in &jobs {
        let sum = |of: fn(&api::LayerJob) -> u64| job.layers.iter().map(of).sum::<u64>();
        println!(
            "{:>5}  {:9}  {:>11} of the layers in work  {}  for {}",
            job.number,
            phase(job.phase()),
            indicatif::HumanBytes(sum(|layer| layer.fetched_bytes)).to_string(),
            job.image,
            job.asked_by
        );
    }
    Ok(())
}

async fn cancel(mut client: ControlClient<Channel>, number: u64, json: bool) -> Result<()> {
    let found = client.cancel(api::CancelRequest { number }).await?.into_inner().found;
    if json {
        println!("{}", json!({ "number": number, "cancelled": found }));
    }
    if !found {
        bail!("no pull has the number {number}; it may have ended");
    }
    Ok(())
}

async fn watch(mut client: ControlClient<Channel>, json: bool) -> Result<()> {
    let mut events = client.events(api::EventsRequest {}).await?.into_inner();
    while let Some(api::Event { at, event }) = events.message().await? {
        let at = at.map_or(0, |at| at.seconds);
        match event {
            _ if json => println!("{}", told(at, event.as_ref())),
            Some(Event::Started(job)) => {
                println!("{}  begins  {}  for {}", job.number, job.image, job.asked_by);
            }
            Some(Event::Ended(end)) if end.error.is_empty() => {
                println!("{}  pulled  {}", end.number, end.image);
            }
            Some(Event::Ended(end)) => println!("{}  failed  {}", end.number, end.error),
            Some(Event::Missed(events)) => println!("{events} events were missed"),
            None => {}
        }
    }
    bail!("the daemon went away")
}

async fn images(mut client: ControlClient<Channel>, json: bool) -> Result<()> {
    let images = client.images(api::ImagesRequest {}).await?.into_inner().images;
    if json {
        let images = images.iter().map(|image| {
            json!({
                "names": image.names, "manifest": image.manifest, "namespace": image.namespace, "layers": image.layers,
                "kept_until": image.kept_until.as_ref().map(|time| time.seconds),
            })
        });
        println!("{}", serde_json::Value::from_iter(images));
        return Ok(());
    }
    for image in images {
        let names = if image.names.is_empty() { "(no name)".to_owned() } else { image.names.join(" ") };
        let place = match (&*image.namespace, image.kept_until) {
            ("", _) => "pulled, not in containerd yet".to_owned(),
            (namespace, _) => format!("in {namespace}"),
        };
        let left = image.kept_until.and_then(|until| SystemTime::try_from(until).ok());
        let left = left.and_then(|until| until.duration_since(SystemTime::now()).ok());
        let kept = left.map(|left: Duration| format!(", kept for {} min", left.as_secs().div_ceil(60)));
        println!("{names}  {}  {} layers  {place}{}", image.manifest, image.layers, kept.unwrap_or_default());
    }
    Ok(())
}

fn job(job: &api::PullJob) -> serde_json::Value {
    let layers = job.layers.iter().map(|layer| {
        json!({ "blob": layer.blob, "bytes_total": layer.blob_bytes, "bytes_fetched": layer.fetched_bytes })
    });
    json!({
        "number": job.number, "image": job.image, "platform": job.platform, "asked_by": job.asked_by,
        "waiting": job.waiting, "credentials": job.credentials, "phase": phase(job.phase()),
        "started": job.started_at.as_ref().map(|time| time.seconds), "layers": layers.collect::<Vec<_>>(),
    })
}

fn told(at: i64, event: Option<&Event>) -> serde_json::Value {
    match event {
        Some(Event::Started(started)) => json!({ "at": at, "started": job(started) }),
        Some(Event::Ended(end)) => json!({
            "at": at,
            "ended": {
                "number": end.number, "image": end.image, "asked_by": end.asked_by, "error": end.error,
                "started": end.started_at.as_ref().map(|time| time.seconds),
            },
        }),
        Some(Event::Missed(events)) => json!({ "at": at, "missed": events }),
        None => json!({ "at": at }),
    }
}

fn phase(phase: api::PullPhase) -> &'static str {
    match phase {
        api::PullPhase::Waiting => "waiting",
        api::PullPhase::Resolving => "resolving",
        api::PullPhase::Layers => "layers",
        api::PullPhase::Unspecified => "unknown",
    }
}

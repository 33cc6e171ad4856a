//! Latency of Stat and Commit over the socket with 10 000 snapshots: containerd calls both inside its own
//! locks. Prints p50, p99 and the maximum; `--json` for machines, `--root DIR` to measure another file
//! system.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chunked_proto::containerd::services::snapshots::v1 as wire;
use chunked_snapshot::NoRemoteLayers;
use chunked_store::{Kind, Labels, NewSnapshot, Store};

#[path = "../tests/support/serve.rs"]
mod serve;

type Client = wire::snapshots_client::SnapshotsClient<tonic::transport::Channel>;
type Failure = Box<dyn std::error::Error>;

const SNAPSHOTS: usize = 10_000;
const CALLS: usize = 5_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let root =
        arguments.iter().position(|argument| argument == "--root").and_then(|at| arguments.get(at + 1));
    let dir = match root {
        Some(root) => tempfile::tempdir_in(root)?,
        None => tempfile::tempdir()?,
    };
    let store = Arc::new(Store::open(dir.path())?);
    fill(&store)?;
    let socket: PathBuf = dir.path().join("socket");
    tokio::spawn(serve::serve(Arc::clone(&store), Arc::new(NoRemoteLayers), socket.clone()));
    let mut client = serve::connect(&socket).await?;
    let stat = stat(&mut client).await?;
    let commit = commit(&mut client).await?;
    let list = list(&mut client).await?;
    if json {
        let figures = |times: &[Duration]| {
            serde_json::json!({
                "p50_us": at(times, 50).as_micros(),
                "p99_us": at(times, 99).as_micros(),
                "max_us": at(times, 100).as_micros(),
            })
        };
        let report = serde_json::json!({
            "snapshots": SNAPSHOTS,
            "calls": CALLS,
            "stat": figures(&stat),
            "commit": figures(&commit),
            "list_us": list.as_micros(),
        });
        println!("{report}");
    } else {
        println!("{SNAPSHOTS} snapshots, {CALLS} calls each");
        for (name, times) in [("stat", &stat), ("commit", &commit)] {
            let (p50, p99, max) = (at(times, 50), at(times, 99), at(times, 100));
            println!("{name:7} p50 {p50:>9.1?}  p99 {p99:>9.1?}  max {max:>9.1?}");
        }
        println!("list    {list:.1?}");
    }
    Ok(())
}

/// Committed snapshots in chains of ten, as images leave them.
fn fill(store: &Store) -> Result<(), Failure> {
    let labels = Labels::from([("containerd.io/snapshot.ref".to_owned(), format!("sha256:{:064}", 1))]);
    for n in 0..SNAPSHOTS {
        let parent = (n % 10 != 0).then(|| name(n - 1));
        let key = format!("k8s.io/{n}/extract-{n}");
        let new = NewSnapshot {
            name: &key,
            kind: Kind::Active,
            parent: parent.as_deref(),
            labels: &labels,
            owner: None,
        };
        store.create(&new)?;
        store.commit(&name(n), &key, &labels, None)?;
    }
    Ok(())
}

fn name(n: usize) -> String {
    format!("k8s.io/{n}/sha256:{n:064}")
}

async fn stat(client: &mut Client) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(CALLS);
    for n in 0..CALLS {
        let key = name((n * 7919) % SNAPSHOTS);
        let request = wire::StatSnapshotRequest { key, ..Default::default() };
        let started = Instant::now();
        client.stat(request).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}

async fn commit(client: &mut Client) -> Result<Vec<Duration>, Failure> {
    let mut times = Vec::with_capacity(CALLS);
    for n in 0..CALLS {
        let (key, parent) = (format!("default/{n}/new"), name((n * 7919) % SNAPSHOTS));
        let request = wire::PrepareSnapshotRequest { key: key.clone(), parent, ..Default::default() };
        client.prepare(request).await?;
        let name = format!("default/{n}/sha256:{n:064}");
        let request = wire::CommitSnapshotRequest { key, name, ..Default::default() };
        let started = Instant::now();
        client.commit(request).await?;
        times.push(started.elapsed());
    }
    Ok(times)
}

async fn list(client: &mut Client) -> Result<Duration, Failure> {
    let started = Instant::now();
    let mut pages = client.list(wire::ListSnapshotsRequest::default()).await?.into_inner();
    while pages.message().await?.is_some() {}
    Ok(started.elapsed())
}

/// The time that `percent` of the calls did not exceed.
fn at(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

//! Requests as containerd sends them, and what a test wants to know of the answers.

#![allow(dead_code, reason = "not every test uses everything")]

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chunked_core::{Digest, chain_id};
use chunked_proto::containerd::services::snapshots::v1 as wire;
use chunked_snapshot::{
    Cause, Chain, Fallback, Finding, HandOvers, LostSnapshots, RemoteError, RemoteLayers, RemoteRequest,
    ServiceOptions,
};
use chunked_store::{ChainLayer, Flavour, Keep, LayerPin, NewLayer, Store, StoreOptions, Usage};
use tonic::{Code, Status};

use crate::serve;

pub type Client = wire::snapshots_client::SnapshotsClient<tonic::transport::Channel>;

pub const REF: &str = "containerd.io/snapshot.ref";

/// Knows the layers `base` and `top`; answers everything else with what the target's label `test` says.
pub struct TwoLayers {
    store: Arc<Store>,
    pub calls: AtomicUsize,
    slow: Duration,
}

pub fn diff(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

pub fn top() -> Digest {
    chain_id(Some(&diff("base")), &diff("top"))
}

impl RemoteLayers for TwoLayers {
    fn prepare(
        &self,
        request: RemoteRequest,
    ) -> Pin<Box<dyn Future<Output = Result<LayerPin, RemoteError>> + Send>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let (store, slow) = (Arc::clone(&self.store), self.slow);
        Box::pin(async move {
            tokio::time::sleep(slow).await;
            let (name, flavour) = match (request.target, request.parent_chain) {
                (target, None) if target == diff("base") => ("base", Flavour::Base),
                (target, Some(parent)) if target == top() && parent == diff("base") => {
                    ("top", Flavour::Upper)
                }
                _ => {
                    let told = request.labels.get("containerd.io/snapshot/test").map(String::as_str);
                    let cause = Cause::ALL.into_iter().find(|cause| Some(cause.name()) == told);
                    let text = format!("layer x: {}", told.unwrap_or_default());
                    return Err(RemoteError::new(cause.unwrap_or(Cause::NoSource), text));
                }
            };
            let layer = store.commit_layer(
                store.stage().unwrap(),
                NewLayer {
                    diff_id: diff(name),
                    flavour,
                    has_whiteouts: false,
                    implied: Vec::new(),
                    shared: Usage::default(),
                    files: Vec::new(),
                    chunks: Some(Vec::new()),
                    origin: None,
                },
            );
            Ok(layer.unwrap())
        })
    }

    fn chain<'a>(&'a self, namespace: Option<&'a str>, target: &'a Digest) -> Finding<'a> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let base = ChainLayer { diff_id: diff("base"), chain_id: diff("base") };
        let all = [base, ChainLayer { diff_id: diff("top"), chain_id: top() }];
        let length = all.iter().position(|layer| layer.chain_id == *target).map_or(0, |index| index + 1);
        let layers = all[..length].to_vec();
        Box::pin(async move {
            if namespace == Some("away") {
                return Err("containerd does not answer".to_owned());
            }
            Ok((!layers.is_empty()).then_some(Chain { image: "r.example/app".to_owned(), layers }))
        })
    }
}

pub struct Setup {
    pub _dir: tempfile::TempDir,
    pub store: Arc<Store>,
    pub remote: Arc<TwoLayers>,
    pub handed_over: Arc<HandOvers>,
    pub lost: Arc<LostSnapshots>,
    pub client: Client,
}

pub async fn setup(slow: Duration) -> Setup {
    setup_with(slow, Fallback::default()).await
}

pub async fn setup_with(slow: Duration, fallback: Fallback) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let options =
        StoreOptions { keep: Keep { min_age: Duration::ZERO, bytes: 0, ..Keep::default() }, sync: false };
    let store = Arc::new(Store::open_with(dir.path(), options).unwrap());
    let remote = Arc::new(TwoLayers { store: Arc::clone(&store), calls: AtomicUsize::new(0), slow });
    let socket = dir.path().join("socket");
    let handed_over = Arc::<HandOvers>::default();
    let lost = Arc::<LostSnapshots>::default();
    let options = ServiceOptions {
        fallback,
        handed_over: Arc::clone(&handed_over),
        lost: Arc::clone(&lost),
        ..ServiceOptions::default()
    };
    tokio::spawn(serve::serve_with(Arc::clone(&store), remote.clone(), socket.clone(), options));
    let client = serve::connect(&socket).await.unwrap();
    Setup { _dir: dir, store, remote, handed_over, lost, client }
}

pub fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub fn prepare(key: &str, parent: &str, given: &[(&str, &str)]) -> wire::PrepareSnapshotRequest {
    wire::PrepareSnapshotRequest {
        snapshotter: "chunked".to_owned(),
        key: key.to_owned(),
        parent: parent.to_owned(),
        labels: labels(given),
    }
}

/// A Prepare as containerd's unpacker sends it.
pub fn extract(namespace: &str, n: usize, target: &Digest, parent: &str) -> wire::PrepareSnapshotRequest {
    let target = target.to_string();
    prepare(&format!("{namespace}/{n}/extract-{n}-Xy {target}"), parent, &[(REF, &target)])
}

pub fn commit(key: &str, name: &str) -> wire::CommitSnapshotRequest {
    let (key, name) = (key.to_owned(), name.to_owned());
    wire::CommitSnapshotRequest { key, name, ..Default::default() }
}

pub async fn list(client: &mut Client, filters: &[String]) -> Result<Vec<Vec<wire::Info>>, Status> {
    let request = wire::ListSnapshotsRequest { filters: filters.to_vec(), ..Default::default() };
    let mut stream = client.list(request).await?.into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await? {
        pages.push(page.info);
    }
    Ok(pages)
}

/// What containerd does after AlreadyExists: the first committed with this ref and this parent.
pub async fn find(client: &mut Client, target: &Digest, parent: &str) -> Option<wire::Info> {
    let filter = format!("labels.\"{REF}\"=={target},parent==\"{parent}\"");
    let found = list(client, &[filter]).await.unwrap().concat();
    found.into_iter().find(|info| info.kind() == wire::Kind::Committed && info.parent == parent)
}

pub fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> Code {
    result.unwrap_err().code()
}

//! A containerd with content, leases, one snapshotter and an unpacker, on a unix socket.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use chunked_core::ObjectDigest;
use chunked_proto::containerd::services::content::v1 as content;
use chunked_proto::containerd::services::content::v1::content_server::{Content, ContentServer};
use chunked_proto::containerd::services::diff::v1 as diff;
use chunked_proto::containerd::services::diff::v1::diff_server::{Diff, DiffServer};
use chunked_proto::containerd::services::leases::v1 as leases;
use chunked_proto::containerd::services::leases::v1::leases_server::{Leases, LeasesServer};
use chunked_proto::containerd::services::snapshots::v1 as snapshots;
use chunked_proto::containerd::services::snapshots::v1::snapshots_server::{Snapshots, SnapshotsServer};
use chunked_proto::containerd::types::Descriptor;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

use crate::Session;

type Answers<T> = Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;
type Done<T> = Result<Response<T>, Status>;

/// What the snapshotter says to the next Prepare.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// It has the layer.
    Provided,
    /// So it says.
    Lies,
    /// It wants the layer unpacked.
    Mounts,
}

#[derive(Debug, Default)]
pub struct State {
    /// Labels by digest.
    pub blobs: HashMap<String, HashMap<String, String>>,
    /// Bytes by reference.
    pub writing: HashMap<String, Vec<u8>>,
    /// Bytes of the longest message.
    pub largest: usize,
    pub leases: BTreeSet<String>,
    /// Resources that were put under leases.
    pub held: usize,
    pub snapshots: BTreeSet<String>,
    pub prepared: BTreeSet<String>,
    /// Labels of the last Prepare.
    pub hints: HashMap<String, String>,
    /// The next one first.
    pub answers: Vec<Answer>,
    /// Writes are accepted, and never answered.
    pub silent: bool,
    /// What Apply gives.
    pub unpacks_to: String,
}

/// The fake; its server ends when it is dropped.
#[derive(Debug)]
pub struct Fake {
    pub state: Arc<Mutex<State>>,
    socket: PathBuf,
    _dir: tempfile::TempDir,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("containerd.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        let service = Service(Arc::clone(&state));
        let server = tonic::transport::Server::builder()
            .add_service(ContentServer::new(service.clone()))
            .add_service(SnapshotsServer::new(service.clone()))
            .add_service(LeasesServer::new(service.clone()))
            .add_service(DiffServer::new(service))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let server = tokio::spawn(async move { server.await.unwrap() });
        Self { state, socket, _dir: dir, server }
    }

    pub fn channel(&self) -> Channel {
        let path = self.socket.clone();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
    }

    pub fn session(&self) -> Session {
        Session::new(self.channel(), "k8s.io").unwrap()
    }

    pub fn put(&self, digest: &ObjectDigest) {
        self.state.lock().blobs.insert(digest.to_string(), HashMap::new());
    }
}

#[derive(Debug, Clone)]
struct Service(Arc<Mutex<State>>);

fn unused<T>() -> Done<T> {
    Err(Status::unimplemented("not used"))
}

/// One message of a write.
fn written(
    state: &mut State,
    request: content::WriteContentRequest,
) -> Result<content::WriteContentResponse, Status> {
    let action = request.action();
    state.largest = state.largest.max(request.data.len());
    if state.blobs.contains_key(&request.expected) {
        return Err(Status::already_exists("content exists"));
    }
    let bytes = state.writing.entry(request.r#ref.clone()).or_default();
    if usize::try_from(request.offset) != Ok(bytes.len()) {
        return Err(Status::out_of_range("offset"));
    }
    bytes.extend_from_slice(&request.data);
    let offset = i64::try_from(bytes.len()).unwrap();
    if action == content::WriteAction::Commit {
        if offset != request.total || ObjectDigest::of(bytes).to_string() != request.expected {
            return Err(Status::failed_precondition("unexpected digest"));
        }
        state.writing.remove(&request.r#ref);
        state.blobs.insert(request.expected.clone(), request.labels);
    }
    Ok(content::WriteContentResponse { action: action.into(), offset, ..Default::default() })
}

#[tonic::async_trait]
impl Content for Service {
    async fn info(&self, request: Request<content::InfoRequest>) -> Done<content::InfoResponse> {
        let digest = request.into_inner().digest;
        let labels = self.0.lock().blobs.get(&digest).cloned();
        let labels = labels.ok_or_else(|| Status::not_found("content"))?;
        Ok(Response::new(content::InfoResponse {
            info: Some(content::Info { digest, labels, ..Default::default() }),
        }))
    }

    async fn update(&self, request: Request<content::UpdateRequest>) -> Done<content::UpdateResponse> {
        let content::UpdateRequest { info, update_mask } = request.into_inner();
        let info = info.unwrap();
        let mut state = self.0.lock();
        let labels = state.blobs.get_mut(&info.digest).ok_or_else(|| Status::not_found("content"))?;
        for path in update_mask.unwrap().paths {
            let key = path.strip_prefix("labels.").unwrap();
            labels.insert(key.to_owned(), info.labels.get(key).cloned().unwrap_or_default());
        }
        labels.retain(|_, value| !value.is_empty());
        Ok(Response::new(content::UpdateResponse::default()))
    }

    type WriteStream = Answers<content::WriteContentResponse>;

    async fn write(
        &self,
        request: Request<Streaming<content::WriteContentRequest>>,
    ) -> Done<Self::WriteStream> {
        let state = Arc::clone(&self.0);
        if state.lock().silent {
            return Ok(Response::new(Box::pin(tokio_stream::pending())));
        }
        let answers = request.into_inner().map(move |request| written(&mut state.lock(), request?));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn abort(&self, request: Request<content::AbortRequest>) -> Done<()> {
        self.0.lock().writing.remove(&request.into_inner().r#ref);
        Ok(Response::new(()))
    }

    type ListStream = Answers<content::ListContentResponse>;

    async fn list(&self, _: Request<content::ListContentRequest>) -> Done<Self::ListStream> {
        unused()
    }

    type ReadStream = Answers<content::ReadContentResponse>;

    async fn read(&self, _: Request<content::ReadContentRequest>) -> Done<Self::ReadStream> {
        unused()
    }
}

#[tonic::async_trait]
impl Leases for Service {
    async fn create(&self, request: Request<leases::CreateRequest>) -> Done<leases::CreateResponse> {
        let leases::CreateRequest { id, labels } = request.into_inner();
        assert!(labels.contains_key("containerd.io/gc.expire"), "a lease that never ends");
        self.0.lock().leases.insert(id.clone());
        Ok(Response::new(leases::CreateResponse { lease: Some(leases::Lease { id, ..Default::default() }) }))
    }

    async fn delete(&self, request: Request<leases::DeleteRequest>) -> Done<()> {
        self.0.lock().leases.remove(&request.into_inner().id);
        Ok(Response::new(()))
    }

    async fn add_resource(&self, request: Request<leases::AddResourceRequest>) -> Done<()> {
        let mut state = self.0.lock();
        assert!(state.leases.contains(&request.into_inner().id));
        state.held += 1;
        Ok(Response::new(()))
    }
}

#[tonic::async_trait]
impl Snapshots for Service {
    async fn prepare(
        &self,
        request: Request<snapshots::PrepareSnapshotRequest>,
    ) -> Done<snapshots::PrepareSnapshotResponse> {
        let request = request.into_inner();
        let mut state = self.0.lock();
        state.hints = request.labels;
        let target = state.hints[chunked_core::labels::SNAPSHOT_REF].clone();
        match state.answers.remove(0) {
            Answer::Mounts => {
                state.prepared.insert(request.key);
                return Ok(Response::new(snapshots::PrepareSnapshotResponse::default()));
            }
            Answer::Provided => drop(state.snapshots.insert(target)),
            Answer::Lies => {}
        }
        Err(Status::already_exists("target snapshot"))
    }

    async fn stat(
        &self,
        request: Request<snapshots::StatSnapshotRequest>,
    ) -> Done<snapshots::StatSnapshotResponse> {
        let name = request.into_inner().key;
        if !self.0.lock().snapshots.contains(&name) {
            return Err(Status::not_found("snapshot"));
        }
        let info = snapshots::Info { name, kind: snapshots::Kind::Committed.into(), ..Default::default() };
        Ok(Response::new(snapshots::StatSnapshotResponse { info: Some(info) }))
    }

    async fn commit(&self, request: Request<snapshots::CommitSnapshotRequest>) -> Done<()> {
        let request = request.into_inner();
        let mut state = self.0.lock();
        assert!(state.prepared.remove(&request.key));
        state.snapshots.insert(request.name);
        Ok(Response::new(()))
    }

    async fn remove(&self, request: Request<snapshots::RemoveSnapshotRequest>) -> Done<()> {
        assert!(self.0.lock().prepared.remove(&request.into_inner().key));
        Ok(Response::new(()))
    }

    async fn view(
        &self,
        _: Request<snapshots::ViewSnapshotRequest>,
    ) -> Done<snapshots::ViewSnapshotResponse> {
        unused()
    }

    async fn mounts(&self, _: Request<snapshots::MountsRequest>) -> Done<snapshots::MountsResponse> {
        unused()
    }

    async fn update(
        &self,
        _: Request<snapshots::UpdateSnapshotRequest>,
    ) -> Done<snapshots::UpdateSnapshotResponse> {
        unused()
    }

    type ListStream = Answers<snapshots::ListSnapshotsResponse>;

    async fn list(&self, _: Request<snapshots::ListSnapshotsRequest>) -> Done<Self::ListStream> {
        unused()
    }

    async fn usage(&self, _: Request<snapshots::UsageRequest>) -> Done<snapshots::UsageResponse> {
        unused()
    }

    async fn cleanup(&self, _: Request<snapshots::CleanupRequest>) -> Done<()> {
        unused()
    }
}

#[tonic::async_trait]
impl Diff for Service {
    async fn apply(&self, _: Request<diff::ApplyRequest>) -> Done<diff::ApplyResponse> {
        let digest = self.0.lock().unpacks_to.clone();
        Ok(Response::new(diff::ApplyResponse { applied: Some(Descriptor { digest, ..Default::default() }) }))
    }
}

//! Our own API on the daemon's socket: what `status` shows, `prune`, and looking into the store.

mod pulls;

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chunked_core::Causes;
use chunked_discover::Containerd;
use chunked_engine::Engine;
use chunked_history::History;
use chunked_host::{HostIndex, HostStatus};
use chunked_proto::chunked::control::v1 as api;
use chunked_proto::chunked::control::v1::control_server::{Control, ControlServer};
use chunked_snapshot::{HandOvers, LostSnapshot, LostSnapshots};
use chunked_store::{Store, StoreError};
use parking_lot::Mutex;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::pulls::Pulls;
use super::repair::Again;
use super::scrub;
use crate::wire;

struct Service {
    started: SystemTime,
    store: Arc<Store>,
    engine: Engine,
    containerd: Arc<Containerd>,
    host: HostIndex,
    told: Told,
}

/// What other parts of the daemon say for `status`.
pub(crate) struct Told {
    pub(crate) handed_over: Arc<HandOvers>,
    pub(crate) lost: Arc<LostSnapshots>,
    pub(crate) scrub: Arc<Mutex<scrub::Shown>>,
    pub(crate) pulls: Pulls,
    pub(crate) history: Arc<History>,
}

/// The control service.
pub(crate) fn service(
    store: Arc<Store>,
    engine: Engine,
    containerd: Arc<Containerd>,
    host: HostIndex,
    told: Told,
) -> ControlServer<impl Control> {
    ControlServer::new(Service { started: SystemTime::now(), store, engine, containerd, host, told })
}

#[tonic::async_trait]
impl Control for Service {
    async fn status(&self, _: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>, Status> {
        let (store, host, lost) = (Arc::clone(&self.store), self.host.clone(), Arc::clone(&self.told.lost));
        let read = move || Ok((store.counts()?, lost.all(&store)?, host.status()));
        let (counts, lost, host) = tokio::task::spawn_blocking(read).await.map_err(ended)?.map_err(failed)?;
        let running = u32::try_from(self.engine.running().len()).unwrap_or(u32::MAX);
        Ok(Response::new(api::StatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: Some(self.started.into()),
            root: self.store.root().display().to_string(),
            store: Some(wire::counts(counts)),
            running_jobs: running,
            containerd_version: self.containerd.version().await.unwrap_or_default(),
            host: Some(host_status(&host)),
            handed_over: Some(handed_over(&self.told.handed_over)),
            scrub: Some(scrub_status(*self.told.scrub.lock())),
            lost: lost.into_iter().map(lost_snapshot).collect(),
        }))
    }

    async fn layers(&self, _: Request<api::LayersRequest>) -> Result<Response<api::LayersResponse>, Status> {
        let jobs = self.engine.running().iter().map(wire::job).collect();
        Ok(Response::new(api::LayersResponse { jobs }))
    }

    async fn prune(
        &self,
        request: Request<api::PruneRequest>,
    ) -> Result<Response<api::PruneResponse>, Status> {
        let (store, what) = (Arc::clone(&self.store), wire::what(request.into_inner()));
        let done = tokio::task::spawn_blocking(move || wire::prune(&store, what)).await;
        done.map_err(ended)?.map(Response::new).map_err(failed)
    }

    async fn store_layers(
        &self,
        _: Request<api::StoreLayersRequest>,
    ) -> Result<Response<api::StoreLayersResponse>, Status> {
        let store = Arc::clone(&self.store);
        let layers = tokio::task::spawn_blocking(move || wire::layers(&store)).await;
        layers.map_err(ended)?.map(Response::new).map_err(failed)
    }

    type StoreVerifyStream = Pin<Box<dyn Stream<Item = Result<api::StoreVerifyEvent, Status>> + Send>>;

    async fn store_verify(
        &self,
        request: Request<api::StoreVerifyRequest>,
    ) -> Result<Response<Self::StoreVerifyStream>, Status> {
        let repairer = Again::new(Arc::clone(&self.containerd), self.engine.clone());
        let events = wire::verify(&self.store, request.into_inner(), Some(Box::new(repairer)));
        let events = ReceiverStream::new(events).map(|event| event.map_err(failed));
        Ok(Response::new(Box::pin(events)))
    }

    type PullStream = pulls::Told<api::PullEvent>;

    async fn pull(&self, request: Request<api::PullRequest>) -> Result<Response<Self::PullStream>, Status> {
        pulls::pull(&self.told.pulls, request).map(Response::new)
    }

    async fn cancel(
        &self,
        request: Request<api::CancelRequest>,
    ) -> Result<Response<api::CancelResponse>, Status> {
        let found = self.told.pulls.cancel(request.into_inner().number);
        Ok(Response::new(api::CancelResponse { found }))
    }

    async fn jobs(&self, _: Request<api::JobsRequest>) -> Result<Response<api::JobsResponse>, Status> {
        Ok(Response::new(api::JobsResponse { jobs: self.told.pulls.jobs() }))
    }

    async fn images(&self, _: Request<api::ImagesRequest>) -> Result<Response<api::ImagesResponse>, Status> {
        let images = pulls::images(&self.told.pulls, &self.containerd, &self.store).await?;
        Ok(Response::new(api::ImagesResponse { images }))
    }

    type EventsStream = pulls::Told<api::Event>;

    async fn events(&self, _: Request<api::EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        Ok(Response::new(pulls::events(&self.told.pulls)))
    }

    type HistoryStream = Pin<Box<dyn Stream<Item = Result<api::PullRecord, Status>> + Send>>;

    async fn history(
        &self,
        _: Request<api::HistoryRequest>,
    ) -> Result<Response<Self::HistoryStream>, Status> {
        let written = |pull| serde_json::to_string(&pull).map(|json| api::PullRecord { json });
        let pulls = tokio_stream::iter(self.told.history.all());
        let pulls = pulls.map(move |pull| written(pull).map_err(|error| Status::internal(error.to_string())));
        Ok(Response::new(Box::pin(pulls)))
    }
}

#[allow(clippy::needless_pass_by_value, reason = "the signature map_err wants")]
fn ended(error: tokio::task::JoinError) -> Status {
    Status::internal(error.to_string())
}

#[allow(clippy::needless_pass_by_value, reason = "the signature map_err wants")]
fn failed(error: StoreError) -> Status {
    Status::internal(Causes(&error).to_string())
}

fn scrub_status(shown: scrub::Shown) -> api::ScrubStatus {
    let last = shown.last.map(|last| api::StoreVerified {
        layers: last.layers,
        files: last.files,
        bytes: last.bytes,
        problems: last.problems,
        repaired: last.repaired,
    });
    api::ScrubStatus {
        interval: shown.interval.as_secs(),
        running: shown.running.as_ref().map(wire::verified),
        last,
        finished_at: shown.last.map(|last| (SystemTime::UNIX_EPOCH + Duration::from_secs(last.at)).into()),
    }
}

fn lost_snapshot(lost: LostSnapshot) -> api::LostSnapshot {
    api::LostSnapshot { name: lost.name, image: lost.image.unwrap_or_default(), text: lost.text }
}

fn handed_over(hand_overs: &HandOvers) -> api::HandOvers {
    let by_reason = hand_overs.counts().into_iter();
    let last = hand_overs.last().map(|last| api::HandOver {
        at: Some(last.at.into()),
        reason: last.cause.name().to_owned(),
        image: last.image.unwrap_or_default(),
        text: last.text,
        advice: last.advice.to_owned(),
    });
    api::HandOvers {
        by_reason: by_reason.map(|(cause, count)| (cause.name().to_owned(), count)).collect(),
        last,
    }
}

fn host_status(status: &HostStatus) -> api::HostStatus {
    let pass = status.pass.clone().unwrap_or_default();
    let time = |seconds| (SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).into();
    api::HostStatus {
        enabled: status.enabled,
        files: status.files,
        bytes: status.bytes,
        running: status.running,
        pass_files: pass.files,
        expected_files: pass.expected,
        hashed_files: pass.hashed_files,
        hashed_bytes: pass.hashed_bytes,
        pass_started_at: status.pass.as_ref().map(|pass| time(pass.started)),
        pass_finished_at: pass.finished.map(time),
    }
}

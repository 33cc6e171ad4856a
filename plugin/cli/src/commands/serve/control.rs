//! Our own API on the daemon's socket: what `status` shows.

use std::sync::Arc;
use std::time::SystemTime;

use chunked_discover::Containerd;
use chunked_engine::{Engine, JobStatus, Phase};
use chunked_proto::chunked::control::v1 as api;
use chunked_proto::chunked::control::v1::control_server::{Control, ControlServer};
use chunked_store::Store;
use tonic::{Request, Response, Status};

struct Service {
    started: SystemTime,
    store: Arc<Store>,
    engine: Engine,
    containerd: Arc<Containerd>,
}

/// The control service.
pub(crate) fn service(
    store: Arc<Store>,
    engine: Engine,
    containerd: Arc<Containerd>,
) -> ControlServer<impl Control> {
    ControlServer::new(Service { started: SystemTime::now(), store, engine, containerd })
}

#[tonic::async_trait]
impl Control for Service {
    async fn status(&self, _: Request<api::StatusRequest>) -> Result<Response<api::StatusResponse>, Status> {
        let store = Arc::clone(&self.store);
        let counts = tokio::task::spawn_blocking(move || store.counts()).await;
        let counts = counts.map_err(|error| Status::internal(error.to_string()))?;
        let counts = counts.map_err(|error| Status::internal(error.to_string()))?;
        let running = u32::try_from(self.engine.running().len()).unwrap_or(u32::MAX);
        Ok(Response::new(api::StatusResponse {
            version: env!("CARGO_PKG_VERSION").into(),
            started_at: Some(self.started.into()),
            root: self.store.root().display().to_string(),
            store: Some(api::StoreStatus {
                layers: counts.layers,
                layer_bytes: counts.layer_bytes,
                unused_layers: counts.unused_layers,
                snapshots: counts.snapshots,
                indexed_files: counts.indexed_files,
            }),
            running_jobs: running,
            containerd_version: self.containerd.version().await.unwrap_or_default(),
        }))
    }

    async fn layers(&self, _: Request<api::LayersRequest>) -> Result<Response<api::LayersResponse>, Status> {
        let jobs = self.engine.running().iter().map(job).collect();
        Ok(Response::new(api::LayersResponse { jobs }))
    }
}

fn job(status: &JobStatus) -> api::LayerJob {
    let phase = match status.phase {
        Phase::Waiting => api::Phase::Waiting,
        Phase::Planning => api::Phase::Planning,
        Phase::Transferring => api::Phase::Writing,
        Phase::Committing => api::Phase::Committing,
    };
    api::LayerJob {
        diff_id: status.diff_id.to_string(),
        blob: status.blob.to_string(),
        blob_bytes: status.bytes_total,
        phase: phase.into(),
        planned_bytes: status.bytes_wanted,
        fetched_bytes: status.bytes_fetched,
        reused_bytes: status.bytes_reused,
        ..api::LayerJob::default()
    }
}

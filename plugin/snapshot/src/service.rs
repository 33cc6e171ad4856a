//! The ten RPCs: take the request apart, let the store work, put the answer together.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use chunked_core::Digest;
use chunked_proto::MAX_MESSAGE_BYTES;
use chunked_proto::containerd::services::snapshots::v1 as wire;
use chunked_store::{Kind, LayerPin, NewSnapshot, Store, StoreError};
use tonic::{Request, Response, Status};
use wire::snapshots_server::{Snapshots, SnapshotsServer};

use crate::blocking::{blocking, ended};
use crate::cause::Cause;
use crate::filter::Filter;
use crate::lost::or_lost;
use crate::mounts::mounts;
use crate::options::ServiceOptions;
use crate::prepare::Preparation;
use crate::remote::{Finding, RemoteError, RemoteLayers, RemoteRequest};
use crate::{convert, idmap, mask};

mod list;

/// The gRPC service, to be added to a tonic server. Message limits are containerd's.
pub fn service(
    store: Arc<Store>,
    remote: Arc<dyn RemoteLayers>,
    options: ServiceOptions,
) -> SnapshotsServer<impl Snapshots> {
    SnapshotsServer::new(Service { store, remote, options: Arc::new(options) })
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

/// Knows no remote layer: a plain overlay snapshotter, for tests and tools.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRemoteLayers;

impl RemoteLayers for NoRemoteLayers {
    fn prepare(
        &self,
        _: RemoteRequest,
    ) -> Pin<Box<dyn Future<Output = Result<LayerPin, RemoteError>> + Send>> {
        Box::pin(async { Err(RemoteError::new(Cause::NoSource, "there is no source of layers")) })
    }

    fn chain<'a>(&'a self, _: Option<&'a str>, _: &'a Digest) -> Finding<'a> {
        Box::pin(async { Ok(None) })
    }
}

#[derive(Clone)]
struct Service {
    store: Arc<Store>,
    remote: Arc<dyn RemoteLayers>,
    options: Arc<ServiceOptions>,
}

impl Service {
    async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Status> {
        blocking(&self.store, work).await
    }

    /// The same where a snapshot that is missing may be one whose row is lost: then it is rebuilt, and `work` is done again.
    async fn store_or_lost<T: Send + 'static>(
        &self,
        work: impl Fn(&Store) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Result<T, Status> {
        or_lost(&self.store, &*self.remote, &self.options.lost, work).await
    }
}

#[tonic::async_trait]
impl Snapshots for Service {
    type ListStream = list::Pages;

    async fn prepare(
        &self,
        request: Request<wire::PrepareSnapshotRequest>,
    ) -> Result<Response<wire::PrepareSnapshotResponse>, Status> {
        let preparation = Preparation {
            store: Arc::clone(&self.store),
            remote: Arc::clone(&self.remote),
            options: Arc::clone(&self.options),
            request: request.into_inner(),
        };
        let mounts = tokio::spawn(preparation.run()).await.map_err(ended)??;
        Ok(Response::new(wire::PrepareSnapshotResponse { mounts }))
    }

    async fn view(
        &self,
        request: Request<wire::ViewSnapshotRequest>,
    ) -> Result<Response<wire::ViewSnapshotResponse>, Status> {
        let request = request.into_inner();
        let owner = idmap::owner(&request.key, &request.labels)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let owner = owner.filter(|_| self.options.mounts.remap_ids);
        let mountable = self.store_or_lost(move |store| {
            let mut labels = convert::labels(&request.labels);
            idmap::leave_copy(store, convert::optional(&request.parent), &mut labels)?;
            store.create(&NewSnapshot {
                name: &request.key,
                kind: Kind::View,
                parent: convert::optional(&request.parent),
                labels: &labels,
                owner,
            })
        });
        let mounts = mounts(&mountable.await?, &self.options.mounts);
        Ok(Response::new(wire::ViewSnapshotResponse { mounts }))
    }

    async fn mounts(
        &self,
        request: Request<wire::MountsRequest>,
    ) -> Result<Response<wire::MountsResponse>, Status> {
        let key = request.into_inner().key;
        let mountable = self.store(move |store| store.mount(&key)).await?;
        Ok(Response::new(wire::MountsResponse { mounts: mounts(&mountable, &self.options.mounts) }))
    }

    async fn commit(&self, request: Request<wire::CommitSnapshotRequest>) -> Result<Response<()>, Status> {
        let request = request.into_inner();
        let mut labels = convert::labels(&request.labels);
        idmap::mark_copy(&mut labels, &request.key, &request.name);
        let commit = self.store(move |store| {
            store.commit(&request.name, &request.key, &labels, convert::optional(&request.parent))
        });
        commit.await.map(Response::new)
    }

    async fn remove(&self, request: Request<wire::RemoveSnapshotRequest>) -> Result<Response<()>, Status> {
        let key = request.into_inner().key;
        self.store(move |store| store.remove(&key)).await.map(Response::new)
    }

    async fn stat(
        &self,
        request: Request<wire::StatSnapshotRequest>,
    ) -> Result<Response<wire::StatSnapshotResponse>, Status> {
        let key = request.into_inner().key;
        let snapshot = self.store_or_lost(move |store| store.snapshot(&key)).await?;
        Ok(Response::new(wire::StatSnapshotResponse { info: Some(convert::info(snapshot)) }))
    }

    async fn update(
        &self,
        request: Request<wire::UpdateSnapshotRequest>,
    ) -> Result<Response<wire::UpdateSnapshotResponse>, Status> {
        let request = request.into_inner();
        let Some(info) = request.info else {
            return Err(Status::invalid_argument("update without a snapshot"));
        };
        let change = mask::change(&info.labels, request.update_mask.as_ref())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let snapshot = self.store(move |store| store.update(&info.name, change)).await?;
        Ok(Response::new(wire::UpdateSnapshotResponse { info: Some(convert::info(snapshot)) }))
    }

    async fn list(
        &self,
        request: Request<wire::ListSnapshotsRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let filter = Filter::parse_all(&request.into_inner().filters)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let snapshots = self.store(move |store| list::matching(store, &filter)).await?;
        Ok(Response::new(list::pages(snapshots)))
    }

    async fn usage(
        &self,
        request: Request<wire::UsageRequest>,
    ) -> Result<Response<wire::UsageResponse>, Status> {
        let key = request.into_inner().key;
        let usage = self.store_or_lost(move |store| store.usage(&key)).await?;
        let (size, inodes) = (convert::signed(usage.bytes), convert::signed(usage.inodes));
        Ok(Response::new(wire::UsageResponse { size, inodes }))
    }

    async fn cleanup(&self, _: Request<wire::CleanupRequest>) -> Result<Response<()>, Status> {
        let cleaned = self.store(Store::cleanup).await?;
        tracing::debug!(?cleaned, "cleaned up");
        Ok(Response::new(()))
    }
}

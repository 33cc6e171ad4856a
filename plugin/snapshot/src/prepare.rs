//! Prepare: a remote layer if there is one, else a fresh directory (containerd.md §15).

use std::sync::Arc;

use chunked_core::Digest;
use chunked_proto::containerd::services::snapshots::v1::PrepareSnapshotRequest;
use chunked_proto::containerd::types::Mount;
use chunked_store::{Adoption, Kind, LayerPin, NewSnapshot, Snapshot, Store, StoreError};
use tonic::Status;

use crate::blocking::blocking;
use crate::handover::{Decision, decide};
use crate::key::{self, Key};
use crate::lost::or_lost;
use crate::mounts::mounts;
use crate::options::ServiceOptions;
use crate::remote::{RemoteLayers, RemoteRequest};
use crate::{convert, idmap};

/// One Prepare; runs in a task of its own, so that the client's going away does not stop it.
pub(crate) struct Preparation {
    pub(crate) store: Arc<Store>,
    pub(crate) remote: Arc<dyn RemoteLayers>,
    pub(crate) options: Arc<ServiceOptions>,
    pub(crate) request: PrepareSnapshotRequest,
}

impl Preparation {
    pub(crate) async fn run(self) -> Result<Vec<Mount>, Status> {
        let target = Key::parse(&self.request.key).remote_target(&self.request.labels);
        if let Some(target) = target {
            self.remote_layer(target).await?;
        }
        self.fresh_directory().await
    }

    /// Ends in AlreadyExists when the layer is there; in `Ok` when containerd has to download it.
    async fn remote_layer(&self, target: Digest) -> Result<(), Status> {
        let (key, parent) = (self.request.key.clone(), self.request.parent.clone());
        let lost = &self.options.lost;
        let look = move |store: &Store| look(store, &key, &parent, &target);
        let found = or_lost(&self.store, &*self.remote, lost, look).await?;
        let parent = match found {
            Found::Ready => return Err(exists(&target)),
            Found::Parent(parent) => parent,
        };
        let parent_chain = match &parent {
            None => None,
            Some(parent) => match key::chain_of(&parent.name, &parent.labels) {
                Some(chain) => Some(chain),
                None => {
                    tracing::info!(%target, parent = parent.name, "parent's chainID is not known, containerd downloads");
                    return Ok(());
                }
            },
        };
        let request = RemoteRequest {
            namespace: Key::parse(&self.request.key).namespace.map(str::to_owned),
            target,
            parent_chain,
            labels: self.request.labels.clone(),
        };
        match self.remote.prepare(request).await {
            Ok(layer) => {
                self.adopt(layer, target).await?;
                Err(exists(&target))
            }
            Err(error) => match decide(error.cause, self.options.fallback) {
                Decision::HandOver => {
                    self.options.handed_over.note(&error);
                    Ok(())
                }
                Decision::Fail(code) => {
                    tracing::warn!(%target, reason = error.cause.name(), %error, "layer is not ready");
                    Err(Status::new(code, error.text))
                }
            },
        }
    }

    /// The row must be there before containerd hears AlreadyExists: it lists at once.
    async fn adopt(&self, layer: LayerPin, target: Digest) -> Result<(), Status> {
        let parent = self.request.parent.clone();
        let labels = convert::labels(&self.request.labels);
        let adopted = blocking(&self.store, move |store| {
            let adoption =
                Adoption { target: &target.to_string(), parent: convert::optional(&parent), labels: &labels };
            store.adopt(&layer, &adoption)
        });
        let adopted = adopted.await?;
        tracing::info!(%target, name = adopted.name, "layer adopted");
        Ok(())
    }

    async fn fresh_directory(self) -> Result<Vec<Mount>, Status> {
        let Self { store, remote, options, request } = self;
        let owner = idmap::owner(&request.key, &request.labels)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let owner = owner.filter(|_| options.mounts.remap_ids);
        let mountable = or_lost(&store, &*remote, &options.lost, move |store| {
            let mut labels = convert::labels(&request.labels);
            idmap::leave_copy(store, convert::optional(&request.parent), &mut labels)?;
            store.create(&NewSnapshot {
                name: &request.key,
                kind: Kind::Active,
                parent: convert::optional(&request.parent),
                labels: &labels,
                owner,
            })
        });
        Ok(mounts(&mountable.await?, &options.mounts))
    }
}

enum Found {
    /// containerd's look-up will find it.
    Ready,
    /// It will not; this is the parent.
    Parent(Option<Snapshot>),
}

/// Steps 1, 2 and 4 of the contract's outline.
fn look(store: &Store, key: &str, parent: &str, target: &Digest) -> Result<Found, StoreError> {
    if store.exists(key)? {
        return Err(StoreError::Exists { name: key.to_owned() });
    }
    let parent = convert::optional(parent).map(|name| store.committed_parent(name)).transpose()?;
    let name = parent.as_ref().map(|parent| parent.name.as_str());
    Ok(match store.adopted(&target.to_string(), name)? {
        Some(_) => Found::Ready,
        None => Found::Parent(parent),
    })
}

fn exists(target: &Digest) -> Status {
    Status::already_exists(format!("target snapshot {target}: already exists"))
}

//! Calls to a snapshotter, through containerd.

use std::collections::HashMap;

use chunked_proto::MAX_MESSAGE_BYTES;
use chunked_proto::containerd::services::diff::v1 as diff;
use chunked_proto::containerd::services::diff::v1::diff_client::DiffClient;
use chunked_proto::containerd::services::snapshots::v1 as api;
use chunked_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use chunked_proto::containerd::types::{Descriptor, Mount};
use tonic::Response;
use tonic::transport::Channel;

use crate::error::ClientError;
use crate::session::Session;

/// Most snapshots that [`Session::active`] names.
const MOST: usize = 100_000;

impl Session {
    fn snapshots(&self) -> SnapshotsClient<Channel> {
        SnapshotsClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Is there a committed snapshot of this name?
    pub(crate) async fn has_snapshot(&self, snapshotter: &str, name: &str) -> Result<bool, ClientError> {
        let mut client = self.snapshots();
        let (snapshotter, key) = (snapshotter.to_owned(), name.to_owned());
        let request = self.request(api::StatSnapshotRequest { snapshotter, key });
        match Self::call("Snapshots.Stat", client.stat(request)).await {
            Ok(answer) => Ok(answer.info.is_some_and(|info| info.kind() == api::Kind::Committed)),
            Err(error) if error.is_absent() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Prepares a snapshot. Takes as long as the snapshotter does: ours pulls a layer meanwhile.
    pub(crate) async fn prepare(
        &self,
        snapshotter: &str,
        (key, parent): (&str, &str),
        labels: HashMap<String, String>,
    ) -> Result<Vec<Mount>, ClientError> {
        let request = self.request(api::PrepareSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels,
        });
        let answer = self.snapshots().prepare(request).await.map(Response::into_inner);
        answer.map(|answer| answer.mounts).map_err(ClientError::of("Snapshots.Prepare"))
    }

    /// Commits what was prepared under `key`.
    pub(crate) async fn commit(
        &self,
        snapshotter: &str,
        (name, key): (&str, &str),
        labels: HashMap<String, String>,
    ) -> Result<(), ClientError> {
        let request = self.request(api::CommitSnapshotRequest {
            snapshotter: snapshotter.to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels,
            ..api::CommitSnapshotRequest::default()
        });
        Self::call("Snapshots.Commit", self.snapshots().commit(request)).await.map(drop)
    }

    /// Removes what was prepared under `key`.
    pub(crate) async fn remove(&self, snapshotter: &str, key: &str) -> Result<(), ClientError> {
        let (snapshotter, key) = (snapshotter.to_owned(), key.to_owned());
        let request = self.request(api::RemoveSnapshotRequest { snapshotter, key });
        Self::call("Snapshots.Remove", self.snapshots().remove(request)).await.map(drop)
    }

    /// Has containerd unpack a blob of its content store into `mounts`; gives the digest of the tar.
    pub(crate) async fn apply(&self, blob: Descriptor, mounts: Vec<Mount>) -> Result<String, ClientError> {
        let request =
            self.request(diff::ApplyRequest { diff: Some(blob), mounts, ..diff::ApplyRequest::default() });
        let answer = DiffClient::new(self.channel.clone()).apply(request).await.map(Response::into_inner);
        let answer = answer.map_err(ClientError::of("Diff.Apply"))?;
        Ok(answer.applied.unwrap_or_default().digest)
    }

    /// Keys of the snapshots of containers that `snapshotter` has in this namespace.
    ///
    /// # Errors
    /// When containerd cannot be asked.
    pub async fn active(&self, snapshotter: &str) -> Result<Vec<String>, ClientError> {
        const CALL: &str = "Snapshots.List";
        let filters = vec!["kind==active".to_owned()];
        let request =
            self.request(api::ListSnapshotsRequest { snapshotter: snapshotter.to_owned(), filters });
        let mut client = self.snapshots();
        let mut pages = Self::call(CALL, client.list(request)).await?;
        let mut keys = Vec::new();
        while let Some(page) = Self::next(&mut pages).await.map_err(ClientError::of(CALL))? {
            let active = page.info.into_iter().filter(|info| info.kind() == api::Kind::Active);
            keys.extend(active.map(|info| info.name).take(MOST - keys.len()));
        }
        keys.sort_unstable();
        Ok(keys)
    }
}

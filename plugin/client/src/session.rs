//! One namespace of a containerd, and the lease that keeps what is made there.

use std::collections::HashMap;
use std::time::Duration;

use chunked_core::ObjectDigest;
use chunked_proto::containerd::services::content::v1 as content;
use chunked_proto::containerd::services::content::v1::content_client::ContentClient;
use chunked_proto::{LEASE_HEADER, MAX_MESSAGE_BYTES, NAMESPACE_HEADER};
use prost_types::FieldMask;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use crate::error::ClientError;

/// Time for a call that reads or changes a row, or for the next message of a stream. Tests see it pass.
pub(crate) const LIMIT: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 30 });

/// What is told of a call that took too long.
pub(crate) fn late(limit: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer within {} s", limit.as_secs()))
}

/// A namespace of a containerd. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Session {
    pub(crate) channel: Channel,
    namespace: MetadataValue<Ascii>,
    pub(crate) lease: Option<MetadataValue<Ascii>>,
}

impl Session {
    /// The namespace of the containerd behind `channel`.
    ///
    /// # Errors
    /// When the name cannot stand in a header.
    pub fn new(channel: Channel, namespace: &str) -> Result<Self, ClientError> {
        let header = namespace.parse().map_err(|_| ClientError::Namespace(namespace.to_owned()))?;
        Ok(Self { channel, namespace: header, lease: None })
    }

    /// The same namespace under this lease.
    pub(crate) fn leased(&self, lease: MetadataValue<Ascii>) -> Self {
        Self { lease: Some(lease), ..self.clone() }
    }

    /// A request in this namespace, and under the lease if there is one.
    pub fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(NAMESPACE_HEADER, self.namespace.clone());
        if let Some(lease) = &self.lease {
            request.metadata_mut().insert(LEASE_HEADER, lease.clone());
        }
        request
    }

    /// Waits for the answer, for a limited time.
    pub(crate) async fn call<T>(
        call: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, ClientError> {
        let answer = tokio::time::timeout(LIMIT, answer).await.unwrap_or_else(|_| Err(late(LIMIT)));
        answer.map(Response::into_inner).map_err(ClientError::of(call))
    }

    /// Waits for the next message of a stream, for a limited time: a containerd that answers and then says nothing must not hold up
    /// whoever waits for the end.
    pub(crate) async fn next<T>(answers: &mut Streaming<T>) -> Result<Option<T>, Status> {
        tokio::time::timeout(LIMIT, answers.message()).await.unwrap_or_else(|_| Err(late(LIMIT)))
    }

    pub(crate) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// The labels of a blob; `None` when the namespace does not hold it.
    ///
    /// # Errors
    /// When containerd cannot be asked.
    pub async fn labels(
        &self,
        digest: &ObjectDigest,
    ) -> Result<Option<HashMap<String, String>>, ClientError> {
        let mut client = self.content();
        let request = self.request(content::InfoRequest { digest: digest.to_string() });
        match Self::call("Content.Info", client.info(request)).await {
            Ok(answer) => Ok(Some(answer.info.unwrap_or_default().labels)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets a label of a blob, or removes it (`None`). Other labels stay.
    ///
    /// # Errors
    /// When containerd refuses, or does not hold the blob.
    pub async fn label(
        &self,
        digest: &ObjectDigest,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), ClientError> {
        let labels = HashMap::from([(key.to_owned(), value.unwrap_or_default().to_owned())]);
        let info = content::Info { digest: digest.to_string(), labels, ..content::Info::default() };
        let update_mask = Some(FieldMask { paths: vec![format!("labels.{key}")] });
        let mut client = self.content();
        let request = self.request(content::UpdateRequest { info: Some(info), update_mask });
        Self::call("Content.Update", client.update(request)).await.map(drop)
    }
}

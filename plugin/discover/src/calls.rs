//! Calls to containerd: time-outs, the namespace header, and bounds on what comes back.

use std::future::Future;
use std::time::Duration;

use chunked_core::ObjectDigest;
use chunked_proto::containerd::services::content::v1 as content;
use chunked_proto::containerd::services::content::v1::content_client::ContentClient;
use chunked_proto::containerd::services::images::v1 as images;
use chunked_proto::containerd::services::images::v1::images_client::ImagesClient;
use chunked_proto::containerd::services::namespaces::v1 as namespaces;
use chunked_proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use chunked_proto::containerd::services::version::v1::version_client::VersionClient;
use chunked_proto::{MAX_MESSAGE_BYTES, NAMESPACE_HEADER};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};

use crate::containerd::Containerd;
use crate::error::DiscoverError;

/// Entries of one content listing.
const MAX_BLOBS: usize = 1_000_000;

/// A namespace, ready to stand in a request header.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    pub name: String,
    header: MetadataValue<Ascii>,
}

impl Namespace {
    /// `None` when the name cannot stand in a header.
    pub(crate) fn new(name: &str) -> Option<Self> {
        Some(Self { name: name.to_owned(), header: name.parse().ok()? })
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert(NAMESPACE_HEADER, self.header.clone());
        request
    }
}

/// What reading a blob by digest gave.
#[derive(Debug)]
pub(crate) enum Blob {
    /// The bytes, which have the digest.
    Bytes(Vec<u8>),
    /// The namespace does not hold it.
    Missing,
    /// It is longer than allowed.
    TooLong,
    /// Its bytes have another digest.
    Corrupt { actual: ObjectDigest },
}

impl Containerd {
    /// The version of containerd, as its distribution spells it.
    ///
    /// # Errors
    /// When containerd does not answer in time.
    pub async fn version(&self) -> Result<String, DiscoverError> {
        let mut client = VersionClient::new(self.channel.clone());
        let answer = self.call("Version.Version", client.version(())).await?;
        Ok(answer.version)
    }

    /// All namespaces.
    pub(crate) async fn list_namespaces(&self) -> Result<Vec<String>, DiscoverError> {
        let mut client = NamespacesClient::new(self.channel.clone());
        let list = client.list(namespaces::ListNamespacesRequest::default());
        let answer = self.call("Namespaces.List", list).await?;
        Ok(answer.namespaces.into_iter().map(|namespace| namespace.name).collect())
    }

    /// Hands every blob of the namespace to `each`.
    pub(crate) async fn list_content(
        &self,
        namespace: &Namespace,
        mut each: impl FnMut(content::Info),
    ) -> Result<(), DiscoverError> {
        const CALL: &str = "Content.List";
        let mut client = self.content();
        let all = async {
            let request = namespace.request(content::ListContentRequest::default());
            let mut pages = client.list(request).await?.into_inner();
            let mut count = 0;
            while let Some(page) = pages.message().await? {
                count += page.info.len();
                if count > MAX_BLOBS {
                    return Ok(false);
                }
                page.info.into_iter().for_each(&mut each);
            }
            Ok(true)
        };
        let complete = self.within(CALL, self.shared.options.list_timeout, all).await?;
        let socket = self.shared.socket.clone();
        if complete { Ok(()) } else { Err(DiscoverError::TooMany { socket, call: CALL, limit: MAX_BLOBS }) }
    }

    /// Facts about one blob; `None` when the namespace does not hold it.
    pub(crate) async fn info(
        &self,
        namespace: &Namespace,
        digest: &ObjectDigest,
    ) -> Result<Option<content::Info>, DiscoverError> {
        let mut client = self.content();
        let request = namespace.request(content::InfoRequest { digest: digest.to_string() });
        let answer = absent(self.call("Content.Info", client.info(request)).await)?;
        Ok(answer.and_then(|answer| answer.info))
    }

    /// Reads a blob of at most `limit` bytes and hashes it.
    pub(crate) async fn read(
        &self,
        namespace: &Namespace,
        digest: &ObjectDigest,
        limit: usize,
    ) -> Result<Blob, DiscoverError> {
        let mut client = self.content();
        let request = content::ReadContentRequest { digest: digest.to_string(), offset: 0, size: 0 };
        let whole = async {
            let mut pieces = client.read(namespace.request(request)).await?.into_inner();
            let mut bytes = Vec::new();
            let mut hasher = digest.algorithm().hasher();
            while let Some(piece) = pieces.message().await? {
                if piece.data.len() > limit - bytes.len() {
                    return Ok(None);
                }
                hasher.update(&piece.data);
                bytes.extend_from_slice(&piece.data);
            }
            Ok(Some((bytes, hasher.finish())))
        };
        let read = self.within("Content.Read", self.shared.options.call_timeout, whole).await;
        Ok(match absent(read)? {
            None => Blob::Missing,
            Some(None) => Blob::TooLong,
            Some(Some((bytes, actual))) if actual == *digest => Blob::Bytes(bytes),
            Some(Some((_, actual))) => Blob::Corrupt { actual },
        })
    }

    /// All image names of the namespace.
    pub(crate) async fn list_images(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<images::Image>, DiscoverError> {
        let mut client = ImagesClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let request = namespace.request(images::ListImagesRequest::default());
        let answer = async { client.list(request).await.map(Response::into_inner) };
        Ok(self.within("Images.List", self.shared.options.list_timeout, answer).await?.images)
    }

    pub(crate) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub(crate) async fn call<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, DiscoverError> {
        self.within(call, self.shared.options.call_timeout, async { answer.await.map(Response::into_inner) })
            .await
    }

    /// Dropping a call that takes too long also cancels it at containerd's side.
    pub(crate) async fn within<T>(
        &self,
        call: &'static str,
        limit: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, DiscoverError> {
        let socket = self.shared.socket.clone();
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(status)) => Err(DiscoverError::Call { socket, call, source: Box::new(status) }),
            Err(_) => Err(DiscoverError::TimedOut { socket, call, limit }),
        }
    }
}

/// Turns containerd's NotFound into `None`.
fn absent<T>(answer: Result<T, DiscoverError>) -> Result<Option<T>, DiscoverError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(DiscoverError::Call { source, .. }) if source.code() == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

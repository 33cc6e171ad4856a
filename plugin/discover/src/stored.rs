//! Layer blobs that containerd's content store holds: fetched by somebody else, imported, or pulled with another
//! snapshotter.

use std::sync::Arc;

use bytes::Bytes;
use chunked_core::{ByteRange, ObjectDigest};
use chunked_proto::containerd::services::content::v1::{ReadContentRequest, ReadContentResponse};
use futures_util::TryStreamExt as _;
use futures_util::stream::{self, Stream};
use tonic::Streaming;

use crate::calls::Namespace;
use crate::containerd::Containerd;
use crate::error::DiscoverError;

/// The content of one namespace. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Content {
    containerd: Containerd,
    namespace: Arc<Namespace>,
}

/// A blob in a namespace's content. Cheap to clone. It may be gone at the next read: nothing keeps it from being
/// collected.
#[derive(Debug, Clone)]
pub struct StoredBlob {
    content: Content,
    digest: ObjectDigest,
}

impl Containerd {
    /// The content of `namespace`; `None` when that cannot be a namespace's name.
    pub fn content_of(&self, namespace: &str) -> Option<Content> {
        Some(Content { containerd: self.clone(), namespace: Arc::new(Namespace::new(namespace)?) })
    }
}

impl Content {
    /// The blob `digest`, if the namespace holds all its `size` bytes. containerd compared them with the digest when it
    /// wrote them; that they still have it is not known.
    ///
    /// # Errors
    /// When containerd cannot be asked.
    pub async fn find(&self, digest: ObjectDigest, size: u64) -> Result<Option<StoredBlob>, DiscoverError> {
        let info = self.containerd.info(&self.namespace, &digest).await?;
        let complete = info.is_some_and(|info| u64::try_from(info.size) == Ok(size));
        Ok(complete.then(|| StoredBlob { content: self.clone(), digest }))
    }
}

impl StoredBlob {
    /// The bytes of `range` as containerd cuts them, some 1 MiB at a time. The stream may end early without an error.
    pub fn read(&self, range: ByteRange) -> impl Stream<Item = Result<Bytes, DiscoverError>> + Send + use<> {
        let Content { containerd, namespace } = self.content.clone();
        let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        let request = ReadContentRequest {
            digest: self.digest.to_string(),
            offset: signed(range.start),
            size: signed(range.len()),
        };
        let request = namespace.request(request);
        let opened = async move {
            let mut client = containerd.content();
            let pieces = containerd.call("Content.Read", client.read(request)).await?;
            Ok(stream::try_unfold((containerd, pieces), next_piece))
        };
        stream::once(opened).try_flatten()
    }
}

type Reading = (Containerd, Streaming<ReadContentResponse>);

async fn next_piece((containerd, mut pieces): Reading) -> Result<Option<(Bytes, Reading)>, DiscoverError> {
    let limit = containerd.shared.options.call_timeout;
    let piece = containerd.within("Content.Read", limit, pieces.message()).await?;
    Ok(piece.map(|piece| (piece.data, (containerd, pieces))))
}

//! containerd's content store as a place where the engine looks for blobs.

use std::io;
use std::sync::Arc;

use chunked_core::{ByteRange, Causes, ObjectDigest};
use chunked_discover::{Content, StoredBlob};
use chunked_engine::{Contents, Opening};
use chunked_fetch::{Here, Pieces};
use tokio_stream::StreamExt as _;

/// The content of one namespace.
#[derive(Debug)]
pub(crate) struct Stored(pub(crate) Content);

#[derive(Debug)]
struct Blob(StoredBlob);

impl Contents for Stored {
    fn open(&self, digest: ObjectDigest, size: u64) -> Opening<'_> {
        Box::pin(async move {
            match self.0.find(digest, size).await {
                Ok(found) => found.map(|blob| Arc::new(Blob(blob)) as Arc<dyn Here>),
                Err(error) => {
                    tracing::debug!(%digest, error = %Causes(&error), "the content store cannot be asked");
                    None
                }
            }
        })
    }
}

impl Here for Blob {
    fn read(&self, range: ByteRange) -> Pieces {
        let pieces = self.0.read(range);
        Box::pin(pieces.map(|piece| piece.map_err(|error| io::Error::other(Causes(&error).to_string()))))
    }
}

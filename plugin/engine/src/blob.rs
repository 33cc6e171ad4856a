//! Where a layer's blob is read from: its registry, or this machine.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use chunked_core::{ByteRange, ObjectDigest};
use chunked_fetch::{FetchError, FetchOptions, First, Here, Segments};
use chunked_registry::{Blob, Image};
use tokio::sync::{mpsc, oneshot};

/// The look-up of a blob on this machine.
pub type Opening<'a> = Pin<Box<dyn Future<Output = Option<Arc<dyn Here>>> + Send + 'a>>;

/// A place on this machine where blobs of layers may be, such as containerd's content store. Asked before any registry.
pub trait Contents: Debug + Send + Sync {
    /// The blob `digest`, if all its `size` bytes are here.
    fn open(&self, digest: ObjectDigest, size: u64) -> Opening<'_>;
}

/// Somebody who keeps the blobs of layers that are read whole from a registry, such as containerd's content store.
pub trait Keeper: Debug + Send + Sync {
    /// Begins to keep the blob of the layer `index` of `image`; `None`: it is not kept. Called inside a tokio runtime. That it
    /// cannot be kept must not fail or stop the pull.
    fn begin(&self, image: &Arc<Image>, index: usize) -> Option<Keeping>;
}

/// A blob that is being kept.
#[derive(Debug)]
pub struct Keeping {
    /// Takes the blob's bytes in their order. Dropped when no more come, be they all or not. Bytes that nobody takes any more
    /// close it.
    pub bytes: mpsc::Sender<Bytes>,
    /// Ends when nothing is done with the blob any more, within a bounded time after the last byte.
    pub done: oneshot::Receiver<()>,
}

/// A layer's blob. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum LayerBlob {
    Registry(Blob),
    Here(Arc<dyn Here>, u64),
}

impl LayerBlob {
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Here(..))
    }

    /// Who serves it, for the log.
    pub(crate) fn origin(&self) -> String {
        match self {
            Self::Registry(blob) => blob.origin(),
            Self::Here(..) => "containerd's content store".to_owned(),
        }
    }

    /// Fetches `ranges`, which are sorted and apart.
    pub(crate) fn fetch(&self, ranges: Vec<ByteRange>, options: FetchOptions) -> Segments {
        match self {
            Self::Registry(blob) => chunked_fetch::fetch(blob.clone(), ranges, options),
            Self::Here(blob, _) => chunked_fetch::read_here(Arc::clone(blob), ranges, options.memory),
        }
    }

    /// Fetches all of it.
    pub(crate) fn fetch_all(&self, options: &FetchOptions) -> Segments {
        match self {
            Self::Registry(blob) => chunked_fetch::fetch_all(blob.clone(), options),
            Self::Here(blob, size) => {
                let all = ByteRange { start: 0, end: *size };
                chunked_fetch::read_here(Arc::clone(blob), vec![all], options.memory.clone())
            }
        }
    }

    /// Fetches `range`, which is wanted before anything else and has been bounded.
    pub(crate) async fn fetch_first(
        &self,
        range: ByteRange,
        options: FetchOptions,
    ) -> Result<First, FetchError> {
        match self {
            Self::Registry(blob) => chunked_fetch::fetch_first(blob.clone(), range, options).await,
            Self::Here(blob, _) => {
                let part = chunked_fetch::read_part(Arc::clone(blob), range, options.memory).await;
                part.map(First::Part)
            }
        }
    }

    /// Called when bytes of it turned out wrong. True when others may come next time.
    pub(crate) async fn distrust_mirrors(&self) -> bool {
        match self {
            Self::Registry(blob) => blob.distrust_mirrors().await,
            Self::Here(..) => false,
        }
    }
}

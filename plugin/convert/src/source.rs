//! Where an image is read from.
//!
//! One shape for registries, layouts and archives: documents, blobs as readers, ranges of blobs. Documents are
//! proven by their digests here; blobs are proven by whoever reads them to their end.

mod docker_archive;
mod files;
pub(crate) mod layout;
mod registry;

use std::io::Read;
use std::sync::Arc;

use chunked_core::{ByteRange, ObjectDigest};
use chunked_registry::{Client, Reference};

use crate::document::{Descriptor, Document};
use crate::error::{ConvertError, blocking};
use crate::location::Location;
use crate::referrers::Referrer;
use crate::temp::Temp;
use docker_archive::DockerArchive;
use files::{Files, MAX_DOCUMENT};
use layout::Layout;
use registry::RegistrySource;

/// An open source. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Registry(RegistrySource),
    Layout(Arc<Layout>),
    Docker(Arc<DockerArchive>),
}

impl Source {
    /// Opens `location`.
    pub(crate) async fn open(
        location: &Location,
        client: &Client,
        temp: &Temp,
    ) -> Result<Self, ConvertError> {
        let temp = temp.clone();
        match location.clone() {
            Location::Registry(reference) => {
                Ok(Self::Registry(RegistrySource { client: client.clone(), reference }))
            }
            Location::Layout { path, tag } => blocking(move || Layout::open(Files::Directory(path), tag))
                .await
                .map(Arc::new)
                .map(Self::Layout),
            Location::Archive { path, tag } => {
                let open = move || Layout::open(Files::tar(&path, &temp)?, tag);
                blocking(open).await.map(Arc::new).map(Self::Layout)
            }
            Location::DockerArchive { path, name } => {
                let open = move || DockerArchive::open(Files::tar(&path, &temp)?, name.as_deref());
                blocking(open).await.map(Arc::new).map(Self::Docker)
            }
        }
    }

    /// Where its blobs are, if that is a registry: they can be mounted from there.
    pub(crate) fn reference(&self) -> Option<&Reference> {
        match self {
            Self::Registry(source) => Some(&source.reference),
            Self::Layout(_) | Self::Docker(_) => None,
        }
    }

    /// The digest that the image goes by at its source: the image ID of one that has no manifest.
    pub(crate) fn identity(&self, root: &Document) -> ObjectDigest {
        match self {
            Self::Docker(archive) => archive.config_digest(),
            Self::Registry(_) | Self::Layout(_) => root.digest,
        }
    }

    /// The document that its name means: a manifest or an index.
    pub(crate) async fn root(&self) -> Result<Document, ConvertError> {
        match self {
            Self::Registry(source) => source.root().await,
            Self::Layout(layout) => {
                let layout = Arc::clone(layout);
                blocking(move || {
                    let digest = layout.root()?.digest;
                    layout::proven(layout.document(&digest)?, &digest)
                })
                .await
            }
            Self::Docker(archive) => Ok(archive.manifest.clone()),
        }
    }

    /// A manifest or an index.
    pub(crate) async fn document(&self, digest: &ObjectDigest) -> Result<Document, ConvertError> {
        let digest = *digest;
        match self {
            Self::Registry(source) => source.document(&digest).await,
            Self::Layout(layout) => {
                let layout = Arc::clone(layout);
                blocking(move || layout::proven(layout.document(&digest)?, &digest)).await
            }
            Self::Docker(archive) => Err(ConvertError::place(
                digest,
                format!("not in this archive of {}", archive.manifest.digest),
            )),
        }
    }

    /// The bytes of a small blob, proven by their digest.
    pub(crate) async fn bytes(
        &self,
        what: &'static str,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, ConvertError> {
        let (expected, size) = (descriptor.digest, descriptor.size);
        if size > MAX_DOCUMENT {
            let reason = format!("{size} bytes are too many, at most {MAX_DOCUMENT} are read");
            return Err(ConvertError::Document { what, digest: expected, reason });
        }
        if let Self::Docker(archive) = self
            && archive.config_digest() == expected
        {
            return Ok(archive.config().to_vec());
        }
        let mut reader = self.blob(descriptor).await?;
        blocking(move || {
            let mut bytes = Vec::new();
            let read = (&mut reader).take(size + 1).read_to_end(&mut bytes);
            let found = expected.algorithm().digest(&bytes);
            match reader.failure() {
                Some(error) => Err(error),
                None if read.is_err() || found != expected => {
                    Err(ConvertError::Digest { what, expected, found })
                }
                None => Ok(bytes),
            }
        })
        .await
    }

    /// A reader over a blob. The bytes are not proven.
    pub(crate) async fn blob(&self, descriptor: &Descriptor) -> Result<BlobReader, ConvertError> {
        let digest = descriptor.digest;
        match self {
            Self::Registry(source) => Ok(BlobReader::Registry(source.blob(descriptor))),
            Self::Layout(layout) => {
                let layout = Arc::clone(layout);
                blocking(move || Ok(BlobReader::File(layout.blob(&digest)?))).await
            }
            Self::Docker(archive) => {
                let archive = Arc::clone(archive);
                blocking(move || Ok(BlobReader::File(archive.blob(&digest)?))).await
            }
        }
    }

    /// A part of a blob, which the caller has bounded. The bytes are not proven.
    pub(crate) async fn range(
        &self,
        descriptor: &Descriptor,
        range: ByteRange,
    ) -> Result<Vec<u8>, ConvertError> {
        let digest = descriptor.digest;
        match self {
            Self::Registry(source) => source.range(descriptor, range).await,
            Self::Layout(layout) => {
                let layout = Arc::clone(layout);
                blocking(move || layout.range(&digest, range)).await
            }
            Self::Docker(archive) => {
                let archive = Arc::clone(archive);
                blocking(move || archive.range(&digest, range)).await
            }
        }
    }

    /// What refers to the document `subject` (OCI distribution spec, "Listing Referrers"; in a layout, what its
    /// index lists).
    pub(crate) async fn referrers(&self, subject: &ObjectDigest) -> Result<Vec<Referrer>, ConvertError> {
        match self {
            Self::Registry(source) => source.referrers(subject).await,
            Self::Layout(layout) => {
                let (layout, subject) = (Arc::clone(layout), *subject);
                blocking(move || layout.referrers(&subject)).await
            }
            Self::Docker(_) => Ok(Vec::new()),
        }
    }
}

/// A reader over a blob.
pub(crate) enum BlobReader {
    Registry(registry::Stream),
    File(Box<dyn Read + Send>),
}

impl BlobReader {
    /// Why reading failed, if it was the registry's fault: an [`io::Error`](std::io::Error) can only say so much.
    pub(crate) fn failure(&mut self) -> Option<ConvertError> {
        match self {
            Self::Registry(stream) => stream.failure(),
            Self::File(_) => None,
        }
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Registry(stream) => stream.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}

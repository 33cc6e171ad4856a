//! Where an image is written to.
//!
//! Blobs first, then what refers to them, the name last: whoever reads the destination meanwhile sees the old
//! image or the new one.

mod archive;
mod layout;
mod leftovers;
mod registry;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chunked_core::ObjectDigest;
use chunked_registry::{Client, Reference};

use crate::document::{Descriptor, Document};
use crate::error::{ConvertError, blocking};
use crate::location::Location;
use crate::report::Delivery;
use archive::ArchiveDestination;
use layout::LayoutDestination;
use registry::RegistryDestination;

/// An open destination. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Destination {
    Registry(RegistryDestination),
    /// A layout; with an archive it becomes that in the end.
    Layout(Arc<LayoutDestination>, Option<Arc<ArchiveDestination>>),
}

impl Destination {
    /// Opens `location` for writing.
    pub(crate) async fn open(location: &Location, client: &Client) -> Result<Self, ConvertError> {
        match location.clone() {
            Location::Registry(reference) if reference.digest.is_some() => Err(ConvertError::place(
                location,
                "a destination is named by a tag: the digest comes out of the conversion",
            )),
            Location::Registry(reference) => {
                Ok(Self::Registry(RegistryDestination { client: client.clone(), reference }))
            }
            Location::Layout { path, tag } => {
                let layout = blocking(move || LayoutDestination::open(path, tag)).await?;
                Ok(Self::Layout(Arc::new(layout), None))
            }
            Location::Archive { path, tag } => {
                let archive = blocking(move || ArchiveDestination::open(path, tag)).await?;
                Ok(Self::Layout(archive.layout(), Some(Arc::new(archive))))
            }
            Location::DockerArchive { path, .. } => Err(ConvertError::place(
                location,
                format!(
                    "a docker archive has no annotations, and without them nobody could pull its layers in parts; \
                     write oci-archive:{} instead (`docker load` and `podman load` take it)",
                    path.display()
                ),
            )),
        }
    }

    /// True when the blob is there.
    pub(crate) async fn has(&self, digest: &ObjectDigest, size: u64) -> Result<bool, ConvertError> {
        match self {
            Self::Registry(registry) => registry.has(digest, size).await,
            Self::Layout(layout, _) => Ok(layout.has(digest, size)),
        }
    }

    /// Takes a blob from the repository `from` without reading it; false when that is not possible.
    pub(crate) async fn mount(
        &self,
        from: Option<&Reference>,
        digest: &ObjectDigest,
    ) -> Result<bool, ConvertError> {
        match (self, from) {
            (Self::Registry(registry), Some(from)) => registry.mount(from, digest).await,
            _ => Ok(false),
        }
    }

    /// Writes the blob in `file`, `size` bytes from its start; counts bytes in `sent`. Its digest must be right.
    pub(crate) async fn put_file(
        &self,
        digest: &ObjectDigest,
        size: u64,
        file: File,
        sent: &Arc<AtomicU64>,
    ) -> Result<(), ConvertError> {
        match self {
            Self::Registry(registry) => registry.put_file(digest, size, file, sent).await,
            Self::Layout(layout, _) => {
                let (layout, digest) = (Arc::clone(layout), *digest);
                blocking(move || layout.put_file(&digest, size, file)).await
            }
        }
    }

    /// Writes a small blob, unless it is there. Its digest must be right.
    pub(crate) async fn put_bytes(
        &self,
        from: Option<&Reference>,
        digest: &ObjectDigest,
        bytes: &[u8],
    ) -> Result<Delivery, ConvertError> {
        if self.has(digest, bytes.len() as u64).await? {
            return Ok(Delivery::Present);
        }
        if self.mount(from, digest).await? {
            return Ok(Delivery::Mounted);
        }
        match self {
            Self::Registry(registry) => registry.put_bytes(digest, bytes).await?,
            Self::Layout(layout, _) => layout.put_bytes(digest, bytes)?,
        }
        Ok(Delivery::Sent)
    }

    /// Writes a manifest or an index that has no name.
    pub(crate) async fn put_document(&self, document: &Document) -> Result<(), ConvertError> {
        match self {
            Self::Registry(registry) => registry.put_document(document, None).await,
            Self::Layout(layout, _) => layout.put_bytes(&document.digest, &document.bytes),
        }
    }

    /// Lists a document that refers to another (its `subject`) where this kind of place has such lists.
    pub(crate) async fn list_referrer(
        &self,
        subject: &ObjectDigest,
        descriptor: &Descriptor,
        tag: Option<&str>,
        document: &Document,
    ) -> Result<(), ConvertError> {
        match self {
            Self::Registry(registry) => registry.list_referrer(subject, descriptor, tag, document).await,
            Self::Layout(layout, _) => layout.list(descriptor.clone()),
        }
    }

    /// Writes the document that the destination's name is to mean, and gives it that name.
    pub(crate) async fn finish(&self, root: &Document) -> Result<(), ConvertError> {
        match self {
            Self::Registry(registry) => registry.put_document(root, Some(&registry.reference.target())).await,
            Self::Layout(layout, archive) => {
                layout.put_bytes(&root.digest, &root.bytes)?;
                layout.name(root.descriptor())?;
                match archive.clone() {
                    Some(archive) => blocking(move || archive.write()).await,
                    None => Ok(()),
                }
            }
        }
    }
}

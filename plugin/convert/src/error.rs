//! Why an image could not be converted, inspected or compared.

use std::io;
use std::path::PathBuf;

use chunked_core::{Digest, ObjectDigest};
use chunked_fetch::FetchError;
use chunked_format::{InspectError, WriteError};
use chunked_registry::RegistryError;
use chunked_registry::oci::DocumentError;

/// A conversion, inspection or comparison that failed. Nothing was changed at the destination but blobs added
/// that nothing refers to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// A registry did not do what it was asked for.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A blob could not be read from a registry.
    #[error("blob {blob}: {source}")]
    Fetch {
        /// Digest of the blob.
        blob: ObjectDigest,
        /// Why.
        source: FetchError,
    },
    /// A file or directory cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A place does not hold what it should.
    #[error("{place}: {reason}")]
    Place {
        /// The place, as given.
        place: String,
        /// What is wrong, and what to do about it.
        reason: String,
    },
    /// A manifest, index or config that cannot be used.
    #[error("{what} {digest}: {reason}")]
    Document {
        /// Which kind of document.
        what: &'static str,
        /// Its digest.
        digest: ObjectDigest,
        /// What is wrong with it.
        reason: String,
    },
    /// Other bytes than a digest promises.
    #[error("{what} {expected}: the bytes have the digest {found}; the source is damaged")]
    Digest {
        /// What kind of blob.
        what: &'static str,
        /// The digest it goes by.
        expected: ObjectDigest,
        /// The digest of its bytes.
        found: ObjectDigest,
    },
    /// A blob of another length than its descriptor says.
    #[error("blob {blob}: {found} bytes long, its descriptor says {expected}")]
    Size {
        /// The digest it goes by.
        blob: ObjectDigest,
        /// Length by the descriptor, in bytes.
        expected: u64,
        /// Bytes that came.
        found: u64,
    },
    /// A layer whose content is not what the image config promises: no client could use it.
    #[error(
        "layer {layer}: decompressed it has the digest {found}, its image's config promises DiffID {expected}; \
         the source image is broken and has to be built or pushed again"
    )]
    DiffId {
        /// Digest of the layer's blob.
        layer: ObjectDigest,
        /// DiffID of the config.
        expected: Digest,
        /// Digest of the decompressed blob.
        found: Digest,
    },
    /// A layer that does not decompress.
    #[error("layer {layer} does not decompress as {format}: {source}")]
    Decompress {
        /// Digest of the layer's blob.
        layer: ObjectDigest,
        /// The compression its first bytes announce.
        format: &'static str,
        /// What the decoder says.
        source: io::Error,
    },
    /// A layer could not be written in the new format.
    #[error("layer {layer}: {source}")]
    Write {
        /// Digest of the source's blob.
        layer: ObjectDigest,
        /// Why.
        source: WriteError,
    },
    /// A blob could not be inspected.
    #[error("{what}: {source}")]
    Inspect {
        /// Which blob.
        what: String,
        /// Why.
        source: InspectError,
    },
    /// The table of contents of a layer cannot be used.
    #[error("layer {layer}: {source}")]
    Toc {
        /// Digest of its blob.
        layer: ObjectDigest,
        /// Why.
        source: chunked_toc::TocError,
    },
    /// The temporary directory cannot be written to.
    #[error("temporary file in {}: {source}; choose another directory with --tmp", directory.display())]
    Temp {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index has nothing for the platform.
    #[error("there is no image for {wanted}; there is: {offered}")]
    Platform {
        /// Platform asked for.
        wanted: String,
        /// Platforms it has.
        offered: String,
    },
    /// A document could not be written as JSON.
    #[error("writing a manifest: {0}")]
    Json(#[from] serde_json::Error),
    /// Stopped from outside, or a thread ended early.
    #[error("stopped before it was done{0}")]
    Stopped(String),
}

impl ConvertError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// What is wrong with a document, whose kind and digest are these.
    pub(crate) fn document(what: &'static str, digest: ObjectDigest) -> impl FnOnce(DocumentError) -> Self {
        move |source| Self::Document { what, digest, reason: source.to_string() }
    }

    pub(crate) fn place(place: impl std::fmt::Display, reason: impl Into<String>) -> Self {
        Self::Place { place: format!("{place}"), reason: reason.into() }
    }
}

/// Runs `work` where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ConvertError> + Send + 'static,
) -> Result<T, ConvertError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(ConvertError::Stopped(format!(": its thread ended early ({error})"))),
    }
}

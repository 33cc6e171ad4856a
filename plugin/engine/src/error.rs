//! Why a layer could not be pulled.

use chunked_assemble::AssembleError;
use chunked_core::Digest;

/// Which proof failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The digest of the compressed TOC, from the manifest's annotation.
    Toc,
    /// The digest of a file or chunk, from the TOC.
    Piece,
    /// The DiffID, from the image config.
    DiffId,
}

/// A failure of one layer. Names the layer by its blob's digest.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The registry could not serve it.
    #[error("layer {layer}: {source}")]
    Registry {
        /// Blob of the layer.
        layer: Digest,
        /// The registry's or the network's answer.
        source: chunked_registry::RegistryError,
    },
    /// A transfer could not be completed.
    #[error("layer {layer}: {source}")]
    Fetch {
        /// Blob of the layer.
        layer: Digest,
        /// What happened.
        source: chunked_fetch::FetchError,
    },
    /// The zstd:chunked metadata is not what the manifest promises.
    #[error("layer {layer}: TOC check failed: {source}")]
    Toc {
        /// Blob of the layer.
        layer: Digest,
        /// What is wrong with it.
        source: chunked_toc::TocError,
    },
    /// The TOC puts a file's bytes before those of an earlier tar entry, while a blob is in the order of its tar.
    #[error(
        "layer {layer}: TOC check failed: the range at byte {offset} of the blob contradicts the order of the tar"
    )]
    TocOrder {
        /// Blob of the layer.
        layer: Digest,
        /// Start of the range in the blob.
        offset: u64,
    },
    /// The layer could not be unpacked.
    #[error("layer {layer}: {source}")]
    Assemble {
        /// Blob of the layer.
        layer: Digest,
        /// What happened.
        source: AssembleError,
    },
    /// A plain layer's compression is broken.
    #[error("layer {layer}: decompressing {format}: {source}")]
    Decompress {
        /// Blob of the layer.
        layer: Digest,
        /// Its compression.
        format: &'static str,
        /// What happened.
        source: std::io::Error,
    },
    /// The bytes are not the ones the image config names.
    #[error(
        "layer {layer}: DiffID check failed: its tar has {found}, the image config says {expected}; nothing was kept. Pull again, and report the image if it stays so"
    )]
    DiffId {
        /// Blob of the layer.
        layer: Digest,
        /// From the config.
        expected: Digest,
        /// Recomputed.
        found: Digest,
    },
    /// The layer store failed.
    #[error("layer {layer}: {source}")]
    Store {
        /// Blob of the layer.
        layer: Digest,
        /// What happened.
        source: chunked_store::StoreError,
    },
    /// Our own code panicked: a bug. Nothing else is harmed.
    #[error(
        "layer {layer}: an internal error while {doing}: {text}; nothing was kept. Pull again, and report it if it stays so"
    )]
    Panic {
        /// Blob of the layer.
        layer: Digest,
        /// What was being done.
        doing: &'static str,
        /// What the panic said.
        text: String,
    },
    /// The job was stopped.
    #[error("layer {layer}: {reason}; pull again")]
    Stopped {
        /// Blob of the layer.
        layer: Digest,
        /// Why.
        reason: String,
    },
}

impl EngineError {
    /// The proof that failed, when this is about integrity. Trying again does not help then.
    pub fn check(&self) -> Option<Check> {
        match self {
            Self::Toc { .. } | Self::TocOrder { .. } => Some(Check::Toc),
            Self::DiffId { .. } | Self::Decompress { .. } => Some(Check::DiffId),
            Self::Assemble {
                source: AssembleError::Digest { .. } | AssembleError::Decode { .. }, ..
            } => Some(Check::Piece),
            Self::Assemble { source: AssembleError::Tar(_) | AssembleError::Entry { .. }, .. } => {
                Some(Check::DiffId)
            }
            _ => None,
        }
    }
}

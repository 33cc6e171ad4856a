//! Why a layer could not be pulled.

use std::path::PathBuf;
use std::sync::Arc;

use chunked_assemble::AssembleError;
use chunked_core::{Digest, ObjectDigest};
use chunked_fair::Denied;
use chunked_fetch::FetchError;
use chunked_registry::RegistryError;
use chunked_tar::TarError;
use rustix::io::Errno;

/// Which proof failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The digest of the compressed TOC, from the manifest's annotation.
    Toc,
    /// The digest of a file or chunk, from the TOC.
    Piece,
    /// The digest of the whole blob, from the manifest.
    Blob,
    /// The DiffID, from the image config.
    DiffId,
}

/// Whose fault a failure is, for whoever decides what to do about it.
#[derive(Debug)]
pub enum Fault<'a> {
    /// What was received is not what its digest promises.
    Wrong(Check),
    /// The registry did not give it, or not in a way that we accept.
    Registry(&'a RegistryError),
    /// The bytes are the right ones, as far as anybody can know, and our reader cannot unpack them.
    Reader,
    /// There is nowhere to read it from.
    Absent,
    /// This machine's.
    Node,
    /// Nobody's: the job ended early.
    Stopped,
}

/// A failure of one layer. Names the layer by its blob's digest.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The registry could not serve it.
    #[error("layer {layer}: {source}")]
    Registry {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// The registry's or the network's answer.
        source: chunked_registry::RegistryError,
    },
    /// A transfer could not be completed.
    #[error("layer {layer}: {source}")]
    Fetch {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// What happened.
        source: chunked_fetch::FetchError,
    },
    /// The zstd:chunked metadata is not what the manifest promises.
    #[error("layer {layer}: TOC check failed: {source}")]
    Toc {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// What is wrong with it.
        source: chunked_toc::TocError,
    },
    /// The TOC puts a file's bytes before those of an earlier tar entry, while a blob is in the order of its tar.
    #[error(
        "layer {layer}: TOC check failed: the range at byte {offset} of the blob contradicts the order of the tar"
    )]
    TocOrder {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// Start of the range in the blob.
        offset: u64,
    },
    /// The layer could not be unpacked.
    #[error("layer {layer}: {source}")]
    Assemble {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// What happened.
        source: AssembleError,
    },
    /// A plain layer's compression is broken.
    #[error("layer {layer}: decompressing {format}: {source}")]
    Decompress {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// Its compression.
        format: &'static str,
        /// What happened.
        source: std::io::Error,
    },
    /// Our reader cannot unpack the layer, and its bytes are proven to be the ones the manifest names.
    #[error(
        "{source}; its bytes are the ones that the manifest names, so this reader is at fault, or the image"
    )]
    Unreadable {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// What the reader said, with the layer.
        source: Box<EngineError>,
    },
    /// The blob is not the one the manifest names. Found when the reader could not unpack it.
    #[error(
        "layer {layer}: blob digest check failed: its bytes have {found}; nothing was kept. Pull again, and report the registry if it stays so"
    )]
    BlobDigest {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// Recomputed.
        found: ObjectDigest,
    },
    /// The bytes are not the ones the image config names.
    #[error(
        "layer {layer}: DiffID check failed: its tar has {found}, the image config says {expected}; nothing was kept. Pull again, and report the image if it stays so"
    )]
    DiffId {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// From the config.
        expected: Digest,
        /// Recomputed.
        found: Digest,
    },
    /// Another layer's job found that the whole image cannot be had.
    #[error("{source}")]
    Image {
        /// Blob of the layer that was not tried to the end.
        layer: ObjectDigest,
        /// What was found.
        source: Arc<EngineError>,
    },
    /// The image came from no registry, and the blob is not on this machine either.
    #[error(
        "layer {layer}: its image came from no registry, and containerd's content store does not have it"
    )]
    Absent {
        /// Blob of the layer.
        layer: ObjectDigest,
    },
    /// The layer store failed.
    #[error("layer {layer}: {source}")]
    Store {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// What happened.
        source: chunked_store::StoreError,
    },
    /// Our own code panicked: a bug. Nothing else is harmed.
    #[error(
        "layer {layer}: an internal error while {doing}: {text}; nothing was kept. Pull again, and report it if it stays so"
    )]
    Panic {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// What was being done.
        doing: &'static str,
        /// What the panic said.
        text: String,
    },
    /// The disk is full, and nothing is left that could be dropped.
    #[error(
        "layer {layer}: no room on the filesystem of {}: about {missing} MiB more are needed than the {free} MiB that are free without \
         it, and nothing is left there that nobody uses. Remove images or containers (`chunked-snapshotter store ls` shows \
         what the layers take), or make the filesystem larger", root.display()
    )]
    NoRoom {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// The store's root.
        root: PathBuf,
        /// About how much is missing, in MiB.
        missing: u64,
        /// What is free without the layer, in MiB.
        free: u64,
        /// What failed for that.
        source: Box<EngineError>,
    },
    /// The job was stopped.
    #[error("layer {layer}: {reason}; pull again")]
    Stopped {
        /// Blob of the layer.
        layer: ObjectDigest,
        /// Why.
        reason: String,
    },
}

impl EngineError {
    /// Blob of the layer it is about.
    pub fn layer(&self) -> ObjectDigest {
        match self {
            Self::Registry { layer, .. }
            | Self::Fetch { layer, .. }
            | Self::Toc { layer, .. }
            | Self::TocOrder { layer, .. }
            | Self::Assemble { layer, .. }
            | Self::Decompress { layer, .. }
            | Self::Unreadable { layer, .. }
            | Self::BlobDigest { layer, .. }
            | Self::DiffId { layer, .. }
            | Self::Absent { layer }
            | Self::Image { layer, .. }
            | Self::Panic { layer, .. }
            | Self::Store { layer, .. }
            | Self::NoRoom { layer, .. }
            | Self::Stopped { layer, .. } => *layer,
        }
    }

    /// True when the registry would say the same of every layer of the image.
    pub(crate) fn is_about_the_image(&self) -> bool {
        matches!(self.fault(), Fault::Registry(error) if error.holds_for_repository())
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault<'_> {
        match self {
            Self::Registry { source, .. }
            | Self::Fetch { source: FetchError::Registry { source, .. }, .. } => Fault::Registry(source),
            Self::Toc { .. } | Self::TocOrder { .. } => Fault::Wrong(Check::Toc),
            Self::DiffId { .. } => Fault::Wrong(Check::DiffId),
            Self::BlobDigest { .. } => Fault::Wrong(Check::Blob),
            // A panic is our reader's as well: containerd has another one.
            Self::Unreadable { .. } | Self::Decompress { .. } | Self::Panic { .. } => Fault::Reader,
            Self::Assemble { source, .. } => of_assemble(source),
            Self::Absent { .. } | Self::Fetch { source: FetchError::Here { .. }, .. } => Fault::Absent,
            Self::Image { source, .. } => source.fault(),
            Self::Fetch { .. } | Self::Store { .. } | Self::NoRoom { .. } => Fault::Node,
            Self::Stopped { .. } => Fault::Stopped,
        }
    }

    /// The table of contents, which is the one that the manifest names, does not fit the layer: no other try ends otherwise.
    pub(crate) fn is_about_the_toc(&self) -> bool {
        matches!(self, Self::Toc { .. } | Self::TocOrder { .. })
    }

    /// The bytes of memory that it needs at once, if it failed because no layer may have so many.
    pub fn lacks_memory(&self) -> Option<u64> {
        match self {
            Self::Assemble { source: AssembleError::Memory(Denied::TooMuch { wanted, .. }), .. } => {
                Some(*wanted)
            }
            Self::Unreadable { source, .. } => source.lacks_memory(),
            Self::Image { source, .. } => source.lacks_memory(),
            _ => None,
        }
    }

    /// Nothing more is to be found out about it by reading the blob once more: it is proven, or a matter of memory.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::Assemble { source: AssembleError::Memory(_), .. })
    }

    /// The same of bytes that are known to be the right ones: a refusal of the reader's is then nobody else's.
    pub(crate) fn proven(self) -> Self {
        match self.fault() {
            Fault::Reader => match &self {
                Self::Unreadable { .. } => self,
                Self::Decompress { layer, .. } | Self::Assemble { layer, .. } => {
                    Self::Unreadable { layer: *layer, source: Box::new(self) }
                }
                _ => self,
            },
            _ => self,
        }
    }

    /// The proof that failed, when this is about integrity. Trying again does not help then.
    pub fn check(&self) -> Option<Check> {
        match self.fault() {
            Fault::Wrong(check) => Some(check),
            _ => None,
        }
    }
}

fn of_assemble(error: &AssembleError) -> Fault<'_> {
    match error {
        AssembleError::Digest { .. } | AssembleError::Decode { .. } => Fault::Wrong(Check::Piece),
        // Sizes of the TOC, which the manifest vouches for, against those of the tar.
        AssembleError::Tar(TarError::Payload { .. }) => Fault::Wrong(Check::Toc),
        AssembleError::Tar(_) | AssembleError::Entry { .. } | AssembleError::Memory(_) => Fault::Reader,
        AssembleError::Io { source, .. } if is_about_the_entry(source) => Fault::Reader,
        AssembleError::Cancelled => Fault::Stopped,
        _ => Fault::Node,
    }
}

/// The system refuses what an entry asks for, and would take another one: containerd may ask in another way.
fn is_about_the_entry(error: &std::io::Error) -> bool {
    let refused = [
        Errno::INVAL,
        Errno::OPNOTSUPP,
        Errno::PERM,
        Errno::ACCESS,
        Errno::NAMETOOLONG,
        Errno::NOENT,
        Errno::EXIST,
        Errno::NOTDIR,
        Errno::ISDIR,
        Errno::NOTEMPTY,
        Errno::LOOP,
        Errno::XDEV,
        Errno::RANGE,
        Errno::TOOBIG,
        Errno::MLINK,
        Errno::ILSEQ,
        Errno::OVERFLOW,
    ];
    error.raw_os_error().is_some_and(|code| refused.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests;

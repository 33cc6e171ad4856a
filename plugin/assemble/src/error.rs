//! Why a layer could not be unpacked.

use chunked_core::Digest;

/// A failure while unpacking one layer; the layer itself is named by the caller.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The tar stream is malformed.
    #[error(transparent)]
    Tar(#[from] chunked_tar::TarError),
    /// An entry that cannot be placed in the tree.
    #[error("entry {path:?}: {reason}")]
    Entry {
        /// Name in the archive, lossily.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A system call failed for an entry.
    #[error("entry {path:?}: {doing}: {source}")]
    Io {
        /// Name in the archive, lossily.
        path: String,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A fetched piece does not decompress to what the TOC says.
    #[error("entry {path:?}: the piece at byte {offset} of the blob does not decompress to {len} bytes")]
    Decode {
        /// Name in the archive, lossily.
        path: String,
        /// Offset of the piece in the blob.
        offset: u64,
        /// Expected length in bytes.
        len: u64,
    },
    /// A piece came wrong twice, each time with other bytes: the line, not the blob. The whole blob may come right.
    #[error("entry {path:?}: the piece at byte {offset} of the blob came wrong twice, in different ways")]
    Garbled {
        /// Name in the archive, lossily.
        path: String,
        /// Offset of the piece in the blob.
        offset: u64,
    },
    /// A piece has other contents than the TOC says.
    #[error(
        "entry {path:?}: TOC digest check failed: the piece at byte {offset} of the blob has digest {found}, expected {expected}"
    )]
    Digest {
        /// Name in the archive, lossily.
        path: String,
        /// Offset of the piece in the blob.
        offset: u64,
        /// What the TOC says.
        expected: Digest,
        /// What was found.
        found: Digest,
    },
    /// Too many local files are not what the index says. The caller can plan anew, without them.
    #[error("entry {path:?}: this and too many other local files are not what the index says: {reason}")]
    Donors {
        /// Name in the archive of the last one, lossily.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Too many files that other layers were to bring did not come. The caller can plan anew, and keep what it has.
    #[error(
        "entry {path:?}: this and too many other files did not come from the layers that were to bring them"
    )]
    Broken {
        /// Name in the archive of the last one, lossily.
        path: String,
    },
    /// The layer's TOC describes what cannot be had from pieces; the whole blob can be unpacked instead.
    #[error("entry {path:?}: {reason}")]
    NotChunked {
        /// Name in the archive, lossily.
        path: String,
        /// Why.
        reason: &'static str,
    },
    /// It needs more memory at once than a layer may ever have.
    #[error("{0}; raise [pull] memory")]
    Memory(chunked_fair::Denied),
    /// The DiffID could not be computed.
    #[error(transparent)]
    Verify(#[from] chunked_verify::VerifyError),
    /// A fault of this program: a worker panicked. Only this layer is given up.
    #[error(
        "entry {path:?}: a fault of chunked-snapshotter, please report it: its worker panicked: {message}"
    )]
    Panicked {
        /// Path in the layer, lossily.
        path: String,
        /// What the panic said.
        message: String,
    },
    /// The pull was cancelled.
    #[error("the pull was cancelled")]
    Cancelled,
}

impl AssembleError {
    /// An I/O error of `path`.
    pub(crate) fn io(path: &[u8], doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: lossy(path), doing, source }
    }

    pub(crate) fn entry(path: &[u8], reason: impl Into<String>) -> Self {
        Self::Entry { path: lossy(path), reason: reason.into() }
    }
}

pub(crate) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

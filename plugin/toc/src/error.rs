//! What can be wrong with a TOC or a tar-split.

use std::io;

use chunked_core::{ByteRange, Digest, DigestError};

/// Metadata of a layer that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TocError {
    /// Not as many bytes as the metadata range has.
    #[error("got {got} bytes of metadata, wanted bytes {wanted} of the blob")]
    MetadataLength {
        /// The range asked for.
        wanted: ByteRange,
        /// Bytes given.
        got: usize,
    },
    /// Bytes that do not have their digest.
    #[error("{what} has digest {actual}, expected {expected}")]
    Digest {
        /// `toc` or `tar-split`.
        what: &'static str,
        /// What the manifest (or the TOC) says.
        expected: Digest,
        /// What the bytes give.
        actual: Digest,
    },
    /// Not zstd, cut short, or with a window beyond the limit.
    #[error("{what} cannot be decompressed")]
    Decompress {
        /// `toc` or `tar-split`.
        what: &'static str,
        /// The decoder's error.
        #[source]
        source: io::Error,
    },
    /// More or fewer bytes than the annotation declares.
    #[error("{what} decompresses to {}{actual} bytes, {declared} were declared", if actual > declared { "at least " } else { "" })]
    Length {
        /// `toc` or `tar-split`.
        what: &'static str,
        /// Uncompressed length of the annotation, in bytes.
        declared: u64,
        /// Bytes that came out before decoding stopped.
        actual: u64,
    },
    /// The TOC is not JSON of the expected shape.
    #[error("toc is not valid")]
    Json(#[source] serde_json::Error),
    /// A TOC version other than 1, or none.
    #[error("toc version {0:?} is not supported")]
    Version(Option<u64>),
    /// Without a digest in the TOC nothing authenticates the tar-split (generations C to E).
    #[error("toc has no tar-split digest")]
    NoTarSplitDigest,
    /// The TOC's digest of the tar-split is no SHA-256.
    #[error("tar-split digest in the toc")]
    TarSplitDigest(#[source] DigestError),
    /// More entries than [`limits::ENTRIES`](crate::limits::ENTRIES).
    #[error("toc has more than {} entries", crate::limits::ENTRIES)]
    TooManyEntries,
    /// An entry that contradicts the rest.
    #[error("toc entry {number} ({name:?})")]
    Entry {
        /// Index in `entries`.
        number: u64,
        /// Its name, shortened.
        name: String,
        /// What is wrong.
        #[source]
        source: EntryError,
    },
    /// Two files claim the same bytes.
    #[error("toc files {first:?}, up to byte {end} of the blob, and {second:?}, from {start}, overlap")]
    Overlap {
        /// Name of the one that starts first, shortened.
        first: String,
        /// Name of the other, shortened.
        second: String,
        /// `offset` of the second.
        start: u64,
        /// `endOffset` of the first.
        end: u64,
    },
    /// A line of the tar-split that cannot be used.
    #[error("tar-split line {line}")]
    Split {
        /// From 1.
        line: u64,
        /// What is wrong.
        #[source]
        source: SplitError,
    },
    /// The tar-split names a file that the TOC does not have (any more).
    #[error("tar-split file {name:?} of {size} bytes is not in the toc")]
    NotInToc {
        /// Its name, shortened.
        name: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The TOC describes a file that the tar does not have.
    #[error("the TOC lists {name:?} with {size} bytes, which is not in the layer's tar")]
    NotInTar {
        /// Name in the TOC, lossily, perhaps cut.
        name: String,
        /// Bytes of the file.
        size: u64,
    },
}

/// A contradiction in one TOC entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// A field that a non-empty file or a chunk must have.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A digest that is no SHA-256.
    #[error("{field}")]
    Digest {
        /// `digest` or `chunkDigest`.
        field: &'static str,
        /// The text.
        #[source]
        source: DigestError,
    },
    /// An empty or inverted range, or one that leaves the payload part of the blob.
    #[error("bytes {start}..{end} are not a range within the {limit} bytes of payload")]
    Range {
        /// `offset`.
        start: u64,
        /// `endOffset`.
        end: u64,
        /// End of the payload part.
        limit: u64,
    },
    /// A chunk that does not directly follow its file.
    #[error("a chunk without its file before it")]
    StrayChunk,
    /// A chunk that leaves a gap, or goes back.
    #[error("chunk is at {found} in the file, expected {expected}")]
    ChunkOffset {
        /// Where the chunks so far end.
        expected: u64,
        /// `chunkOffset`.
        found: u64,
    },
    /// A chunk that starts in the blob where the one before has not ended, or after the file's end.
    #[error("chunk starts at byte {start} of the blob, outside {previous}..{end}")]
    ChunkOrder {
        /// `offset` of the chunk.
        start: u64,
        /// Start of the chunk before.
        previous: u64,
        /// `endOffset` of the file.
        end: u64,
    },
    /// Chunks that are more or less than the file, or one of no bytes.
    #[error("chunks add up to {sum} bytes, the file has {size}")]
    ChunkSum {
        /// Sum of `chunkSize`.
        sum: u64,
        /// `size` of the file.
        size: u64,
    },
    /// Frames longer than any compressor makes them: most of it is not content.
    #[error("the frames of {len} bytes of content take {frames} bytes, more than zstd ever needs")]
    Padded {
        /// Length of the content in bytes.
        len: u64,
        /// Length of its frames in bytes.
        frames: u64,
    },
    /// A chunk type other than data and zeros.
    #[error("chunk type is unknown")]
    ChunkType,
    /// The files of the layer together are larger than a tar can be.
    #[error("layer is larger than any tar")]
    LayerSize,
}

/// What is wrong with a tar-split line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SplitError {
    /// Longer than [`limits::LINE_BYTES`](crate::limits::LINE_BYTES).
    #[error("longer than {} bytes", crate::limits::LINE_BYTES)]
    TooLong,
    /// Not JSON of the expected shape.
    #[error("not valid json")]
    Json(#[source] serde_json::Error),
    /// Neither 1 (file) nor 2 (segment).
    #[error("type {0} is unknown")]
    Type(u64),
    /// A field that the type must have.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A negative size.
    #[error("size is negative")]
    Size,
    /// Not standard base64.
    #[error("{field} is not base64")]
    Base64 {
        /// `payload` or `name_raw`.
        field: &'static str,
        /// The decoder's error.
        #[source]
        source: base64::DecodeError,
    },
    /// A checksum that is not 8 bytes long.
    #[error("checksum is not 8 bytes long")]
    Checksum,
}

/// What a caller can do about a [`TocError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes are not the ones the manifest vouches for, so that the transfer or the registry is at fault; or what they
    /// say is not so.
    Integrity,
    /// The bytes are the right ones, but this reader refuses them: pull the layer whole.
    Unusable,
}

impl TocError {
    /// Tells a bad transfer from a bad layer.
    ///
    /// A tar-split that does not have the digest in the (authenticated) TOC may be either; it counts as a bad
    /// transfer, as both came in one response.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Digest { .. } | Self::MetadataLength { .. } | Self::NotInTar { .. } => ErrorKind::Integrity,
            _ => ErrorKind::Unusable,
        }
    }
}

/// At most 200 characters of a name from outside, for messages.
pub(crate) fn shown(name: &[u8]) -> String {
    let start = name.get(..800).unwrap_or(name);
    String::from_utf8_lossy(start).chars().take(200).collect()
}

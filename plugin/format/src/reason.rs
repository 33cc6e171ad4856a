//! Why a tar became a plain zstd layer.

/// What the format cannot express about a tar. Such a tar is written as an ordinary multi-frame zstd stream
/// without a TOC: every client can still pull it, whole.
///
/// Offsets are bytes in the tar; names are shown lossily.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No bytes at all.
    #[error("the tar is empty")]
    Empty,
    /// A PAX global header (type `g`): readers take it for an entry that the TOC cannot have.
    #[error("PAX global header at byte {offset}")]
    GlobalHeader {
        /// Where its header starts.
        offset: u64,
    },
    /// A sparse file, old GNU (type `S`) or PAX (`GNU.sparse.*`): readers expand it, and the tar would change.
    #[error("{name:?} is stored as a sparse file")]
    Sparse {
        /// Name of the entry.
        name: String,
    },
    /// A type of entry that the TOC has no word for.
    #[error("{name:?} is an entry of type {typeflag:?}")]
    Type {
        /// Name of the entry.
        name: String,
        /// The header's type byte.
        typeflag: char,
    },
    /// Two entries with one path. Tar-split readers refuse them (`a` and `./a` count as one).
    #[error("{name:?} occurs twice")]
    Duplicate {
        /// Name of the second entry.
        name: String,
    },
    /// Text that JSON cannot hold, so that the TOC would not match the tar.
    #[error("the {what} of {name:?} is not UTF-8")]
    NotUtf8 {
        /// Name of the entry.
        name: String,
        /// Which text.
        what: &'static str,
    },
    /// A directory, link or device whose header gives a size although it has no payload.
    #[error("{name:?} has no payload but a size of {size}")]
    SizeWithoutPayload {
        /// Name of the entry.
        name: String,
        /// The size in its header.
        size: i64,
    },
    /// A time that RFC 3339 cannot write: before year 0 or after 9999.
    #[error("the {what} of {name:?} is outside the years 0 to 9999")]
    Time {
        /// Name of the entry.
        name: String,
        /// Which time.
        what: &'static str,
    },
    /// An entry without a name.
    #[error("the entry at byte {offset} has no name")]
    NoName {
        /// Where its headers start.
        offset: u64,
    },
    /// Bytes that are no tar header, or extension headers that do not parse.
    #[error("no valid tar header at byte {offset}: {what}")]
    Header {
        /// Where the header starts.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The input ends within an entry.
    #[error("the tar ends at byte {offset}, inside {inside}")]
    Truncated {
        /// Length of the tar.
        offset: u64,
        /// What is incomplete.
        inside: &'static str,
    },
    /// More than a MiB, not all of it zeros, follows the end-of-archive blocks.
    #[error("other data follows the end of the archive, from byte {offset}")]
    Trailing {
        /// Where the piece with that data starts.
        offset: u64,
    },
    /// The TOC would be larger than readers accept (150 MiB).
    #[error("its table of contents would exceed {limit} bytes")]
    TocSize {
        /// The limit in bytes.
        limit: u64,
    },
    /// The tar-split would be larger than readers accept.
    #[error("its tar headers would need a tar-split of more than {limit} bytes")]
    TarSplitSize {
        /// The limit in bytes.
        limit: u64,
    },
}

//! Why bytes are not a tar that can be unpacked.

/// Why Go's archive/tar stops reading, in its words, with what is wrong in ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `ErrHeader`.
    #[error("archive/tar: invalid tar header: {0}")]
    Header(&'static str),
    /// `ErrFieldTooLong`.
    #[error("archive/tar: header field too long: {0}")]
    TooLong(&'static str),
    /// `errSparseTooLong`.
    #[error("archive/tar: sparse map too long")]
    SparseTooLong,
    /// `errMissData` and `errUnrefData`.
    #[error("archive/tar: sparse file {0} data")]
    SparseData(&'static str),
    /// `io.ErrUnexpectedEOF`: the tar ends where it may not.
    #[error("unexpected EOF inside {0}")]
    UnexpectedEnd(&'static str),
}

impl Refusal {
    /// What is wrong, without Go's words.
    pub fn what(self) -> &'static str {
        match self {
            Self::Header(what) | Self::TooLong(what) => what,
            Self::SparseTooLong => "a sparse map is too long",
            Self::SparseData(_) => "the parts of a sparse file do not add up to its payload",
            Self::UnexpectedEnd(_) => "the tar ends too early",
        }
    }
}

/// Why bytes are not a tar that can be unpacked. All but [`TarError::Payload`] say that this reader refuses the tar, not
/// that the tar's bytes are wrong: only its digest tells that.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A header that does not parse.
    #[error("tar header at byte {offset}: {source}")]
    Header {
        /// Offset of the header in the tar stream.
        offset: u64,
        /// What is wrong with it.
        source: Refusal,
    },
    /// A type of entry that containerd's unpack refuses.
    #[error("tar entry {path:?} at byte {offset} has type {typeflag:?}, which cannot be unpacked")]
    Type {
        /// Offset of the header in the tar stream.
        offset: u64,
        /// Name of the entry, lossily.
        path: String,
        /// The type byte.
        typeflag: char,
    },
    /// A value that is out of range for Linux.
    #[error("tar entry {path:?} at byte {offset}: {what}")]
    Value {
        /// Offset of the header in the tar stream.
        offset: u64,
        /// Name of the entry, lossily.
        path: String,
        /// Which value.
        what: &'static str,
    },
    /// The stream ends inside a header or payload.
    #[error("tar ends at byte {offset}, inside {inside}")]
    Truncated {
        /// Bytes seen.
        offset: u64,
        /// What was incomplete.
        inside: &'static str,
    },
    /// The caller offered a payload where the tar has none, or of another size.
    #[error(
        "tar stream at byte {offset} expects {expected} payload bytes, the layer's metadata has {offered}"
    )]
    Payload {
        /// Position in the tar stream.
        offset: u64,
        /// Bytes the headers announce here.
        expected: u64,
        /// Bytes offered.
        offered: u64,
    },
}

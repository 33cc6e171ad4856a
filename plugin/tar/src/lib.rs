//! Tar headers to entries, without I/O.
//!
//! In the flow: below `toc` and `assemble`. [`Machine`] takes a layer's tar bytes in any cuts and gives entries
//! and payload slices; it serves plain layers, whose payload is in the stream, and zstd:chunked ones, whose
//! payload comes from elsewhere ([`Machine::take_payload`]). The header grammar itself is `tar-core`'s; this
//! crate adds what containerd's unpack (Go's archive/tar) does on top: sub-second times, times before 1970,
//! header-only types, the trailing-slash directories of V7 archives.
//!
//! It must not touch files or the network.

mod machine;
mod parse;

pub use machine::{Event, Machine};

/// Why bytes are not a tar that can be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A header that does not parse.
    #[error("tar header at byte {offset}: {source}")]
    Header {
        /// Offset of the header in the tar stream.
        offset: u64,
        /// What is wrong with it.
        source: tar_core::parse::ParseError,
    },
    /// A type of entry that no layer may have.
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
    /// Extension headers beyond any honest archive.
    #[error("tar headers at byte {offset} are longer than {limit} bytes")]
    TooLong {
        /// Offset of the header in the tar stream.
        offset: u64,
        /// The limit in bytes.
        limit: usize,
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

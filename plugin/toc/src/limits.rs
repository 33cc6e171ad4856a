//! Upper bounds on what a manifest or a TOC may make this crate allocate.

/// Compressed and uncompressed bytes of a TOC. The reference reader's limit; a 1.43 GB image has 92 MB.
pub const TOC_BYTES: u64 = 150 << 20;

/// Compressed bytes of a tar-split. It is held in memory, next to the TOC.
pub const TAR_SPLIT_COMPRESSED_BYTES: u64 = 256 << 20;

/// Uncompressed bytes of a tar-split. It is only ever streamed.
pub const TAR_SPLIT_BYTES: u64 = 1 << 30;

/// Bytes that may lie between TOC and tar-split; writers leave one 8-byte frame header. One request gets
/// both, so more than this would be downloaded for nothing.
pub const METADATA_GAP_BYTES: u64 = 64 << 10;

/// Entries of a TOC, chunks included.
pub const ENTRIES: u64 = 5_000_000;

/// Bytes of one tar-split line, base64 included. Writers make segments of at most 1 MiB, and one per tar
/// header, whose extension records have at most 1 MiB (Go's archive/tar).
pub const LINE_BYTES: u64 = 2 << 20;

/// Sum of all file sizes of one layer. A tar larger than an `i64` says cannot be written by the reference.
pub const LAYER_BYTES: u64 = i64::MAX as u64;

/// Bytes of output reserved before a decoder has produced them.
pub(crate) const RESERVED_BYTES: u64 = 64 << 20;

/// Base-2 logarithm of the largest zstd window accepted (128 MiB, zstd's own default limit). Go writers
/// declare up to 8 MiB, older ones up to 32 MiB.
pub(crate) const WINDOW_LOG: u32 = 27;

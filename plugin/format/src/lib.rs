//! The zstd:chunked layer format: writer, reader and inspector.
//!
//! A zstd:chunked layer is an ordinary multi-frame zstd stream of a tar, cut so that every file can be
//! fetched and decompressed by itself, followed by a table of contents (TOC), a tar-split (the tar's bytes
//! that are no file's payload) and a footer, in zstd skippable frames. Clients that know nothing of this
//! decompress it like any other layer.
//!
//! - [`write()`] turns a tar into such a blob and the annotations its descriptor needs. It streams, uses all cores, and
//!   gives the same bytes on every machine. The blob always decompresses to exactly the tar it was made from.
//! - [`inspect()`] looks at a local blob: frames, TOC, chunks, generation; and verifies all of it on request.
//! - [`read`] finds files and chunks in a blob by its TOC, for those who fetch by ranges.
//!
//! There is no network, no async and no clock in this crate. Threads live no longer than the call.
//!
//! ```
//! use std::io::Cursor;
//! use chunked_format::{Outcome, WriteOptions};
//!
//! let mut tar = tar::Builder::new(Vec::new());
//! let mut header = tar::Header::new_gnu();
//! header.set_size(5);
//! tar.append_data(&mut header, "hello", b"world".as_slice())?;
//! let tar = tar.into_inner()?;
//!
//! let mut blob = Vec::new();
//! let written = chunked_format::write(tar.as_slice(), &mut blob, &WriteOptions::default())?;
//! assert_eq!(written.diff_id, chunked_format::Digest::of(&tar));
//! assert_eq!(zstd::decode_all(Cursor::new(&blob))?, tar);
//! let Outcome::Chunked { annotations } = &written.toc else { panic!("an ordinary tar") };
//! assert!(annotations.contains_key("io.github.containers.zstd-chunked.manifest-checksum"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod crc;
mod entry;
mod error;
mod header;
mod inspect;
mod options;
mod reason;
mod skippable;
mod time;
mod writer;

pub use chunked_core::{ByteRange, Digest};
pub use chunked_cuts::Cuts;
/// Finding files and chunks in a blob by its TOC, without I/O: the reader of this format.
pub use chunked_toc as read;
pub use entry::TocEntry;
pub use error::WriteError;
pub use inspect::{
    ChunkStats, Evidence, FrameStats, Generation, InspectError, InspectOptions, Inspection, Outline,
    TocStats, Verified, inspect, outline,
};
pub use options::{DEFAULT_LEVEL, LEVELS, WriteOptions};
pub use reason::Reason;
pub use writer::{Outcome, Stats, Written, write};

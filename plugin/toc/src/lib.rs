//! zstd:chunked metadata to a [`LayerIndex`]: which bytes of a blob make up which file, and the tar bytes
//! that are no file's payload.
//!
//! Second stage of the way of a layer: registry → **toc** → plan. It takes bytes and text and gives values:
//! no I/O, no async, no clock. It must not fetch, must not decide what to fetch, and must not interpret file
//! metadata (modes, owners, times): those come from the real tar headers inside the tar-split.
//!
//! # Facts of the format that this crate rests on
//!
//! A blob is a multi-frame zstd stream of a tar, followed by three zstd skippable frames (RFC 8878, magic
//! `50 2a 4d 18`, u32 little-endian payload length):
//!
//! ```text
//! [F0][F1]…[Fn] [skip: TOC] [skip: tar-split] [skip: footer]
//! ```
//!
//! - All positions (annotations, footer) point at the *payload* of a skippable frame, 8 bytes after its magic.
//! - Every non-empty regular file starts and ends on a zstd frame boundary, so `offset..endOffset` is a stream
//!   of its own that gives exactly `size` bytes. Frames with no output occur at a file's end; they belong to
//!   the last piece.
//! - Big files are cut into chunks: the `reg` entry describes chunk 0, `chunk` entries follow directly. Chunk
//!   i ends where chunk i+1 starts, the last one at the file's `endOffset`. A file with one chunk has no
//!   `chunk*` fields.
//! - A chunk of type `zeros` is a hole. Its zeros are compressed into the stream all the same, so it has a
//!   blob range, which a reader of pieces need not fetch.
//! - Bytes between files (tar headers, padding) are frames of their own and are never needed: the tar-split
//!   has them.
//! - The tar-split is zstd-compressed JSON lines: segments (raw tar bytes) and files (a name and a size), in
//!   tar order. Non-UTF-8 names are in `name_raw`; the TOC has U+FFFD for each of their invalid bytes.
//!
//! Trust: manifest annotation `manifest-checksum` → SHA-256 of the compressed TOC → `tarSplitDigest`, file
//! and chunk digests. Positions come from the manifest too. Contents are proven later, by the DiffID. Only the
//! current generation (since 2024-05) authenticates its tar-split; the older ones, and eStargz, are
//! [`Format::Plain`] and pulled whole.
//!
//! What is checked beyond the reference reader: lengths before allocating, decoded lengths exactly, ranges
//! inside the payload part of the blob, no overlap, running chunk offsets, sums.

mod annotations;
mod build;
mod cursor;
mod decode;
mod error;
mod footer;
mod index;
pub mod limits;
mod position;
mod schema;
mod tar_split;
mod toc;

pub use annotations::{Annotations, Format, classify, classify_layer};
pub use cursor::FileCursor;
pub use error::{EntryError, ErrorKind, SplitError, TocError};
pub use footer::{Footer, FooterKind, footer};
pub use index::{LayerIndex, parse};
pub use position::FrameRef;
pub use tar_split::{SplitItem, TarSplit};
pub use toc::{Piece, PieceKind, Toc, TocFile};

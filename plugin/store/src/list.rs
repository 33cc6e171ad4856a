//! The list in a layer's directory of what other layers can take from it: its files, and chunks of its large
//! files. The index holds only keys and positions in this list; digests, lengths and paths stay here, once.
//!
//! `chunked-files-4\n`; flags (u8, 1: chunks of all large files are here); length of all file records (u64 LE); per file
//! digest (32 bytes), length (u64 LE), path length (u16 LE), flags (u8, 1: proven), path; then per chunk digest (32 bytes),
//! length, offset in its file and position of the file's record in this list (u64 LE each), flags (u8, 1: proven); then the
//! SHA-256 of all before.
//!
//! *Proven*: somebody computed the digest from the bytes. Otherwise it is what a TOC says, and a wrong one is no sign of
//! damage. Versions before 4 had no flags: of them, digests of large files and of files with chunks count as unproven.
//! Version 3 said by its number that all large files are cut, version 2 said nothing of that; version 1 had neither the
//! length nor chunks.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

mod format;
mod read;
mod write;

use chunked_core::Digest;

pub(crate) use read::{List, Records};
pub(crate) use write::{replace, write};

/// Name of the list in a layer's directory.
pub(crate) const NAME: &str = "files";

/// Its name while it is written for a directory that is in use.
const NEW: &str = "files.new";

/// Files longer than this have several chunks as a rule, in bytes.
pub(crate) const LARGE: u64 = 64 << 10;

/// Where in a list a file or chunk is, under the key that the index finds it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) key: i64,
    /// Nobody computed its digest.
    pub(crate) unproven: bool,
    /// Position of its record, bytes from the list's start.
    pub(crate) at: u64,
}

/// What the index has to know of one list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Entries {
    pub(crate) files: Vec<Entry>,
    pub(crate) chunks: Vec<Entry>,
    /// Chunks of all large files are in the list.
    pub(crate) cut: bool,
}

impl Entries {
    /// Number of those whose digest nobody computed.
    pub(crate) fn unproven(&self) -> usize {
        self.files.iter().chain(&self.chunks).filter(|entry| entry.unproven).count()
    }
}

/// A chunk's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRecord {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Offset in its file.
    pub(crate) offset: u64,
    /// Position of the file's record.
    pub(crate) file: u64,
    /// See [`crate::NewChunk::proven`].
    pub(crate) proven: bool,
}

/// The key of a content: its digest's first eight bytes, mixed with its length. Two contents may share one;
/// the record tells them apart.
pub(crate) fn key(digest: &Digest, size: u64) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    let start = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    // An odd factor: different lengths never fall together for the same digest.
    start.wrapping_add(size.wrapping_mul(0x9e37_79b9_7f4a_7c15)).cast_signed()
}

#[cfg(test)]
mod tests;

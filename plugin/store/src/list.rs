//! The list in a layer's directory of what other layers can take from it: its files, and chunks of its large
//! files. The index holds only keys and positions in this list; digests, lengths and paths stay here, once.
//!
//! `chunked-files-3\n`; length of all file records (u64 LE); per file digest (32 bytes), length (u64 LE), path
//! length (u16 LE), path; then per chunk digest (32 bytes), length, offset in its file and position of the
//! file's record in this list (u64 LE each); then the SHA-256 of all before. Version 2 is the same, but says nothing
//! of files that are not cut into chunks yet; version 1 had neither the length nor chunks.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use chunked_core::{Digest, Hasher};

use crate::layer::{NewChunk, NewFile};

/// Name of the list in a layer's directory.
pub(crate) const NAME: &str = "files";

/// Its name while it is written for a directory that is in use.
const NEW: &str = "files.new";

const MAGIC_1: &[u8] = b"chunked-files-1\n";
const MAGIC_2: &[u8] = b"chunked-files-2\n";
const MAGIC_3: &[u8] = b"chunked-files-3\n";
/// Largest list accepted, in bytes: far above what limits on layers allow.
const MAX: u64 = 1 << 30;
/// Bytes of a file record before its path, and of a chunk record.
const FILE_HEAD: usize = 42;
const CHUNK: usize = 56;
/// Read at once for one file record: most paths are shorter than what this leaves.
const GUESS: usize = 512;

/// Files longer than this have several chunks as a rule, in bytes.
pub(crate) const LARGE: u64 = 64 << 10;

/// Where in a list a file or chunk is, under the key that the index finds it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) key: i64,
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

/// A chunk's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRecord {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Offset in its file.
    pub(crate) offset: u64,
    /// Position of the file's record.
    pub(crate) file: u64,
}

/// The key of a content: its digest's first eight bytes, mixed with its length. Two contents may share one;
/// the record tells them apart.
pub(crate) fn key(digest: &Digest, size: u64) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    let start = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    // An odd factor: different lengths never fall together for the same digest.
    start.wrapping_add(size.wrapping_mul(0x9e37_79b9_7f4a_7c15)).cast_signed()
}

/// Writes the list into `dir`. It becomes durable with the layer's data. Chunks of files that are not in
/// `files` are left out, and so are paths too long for any system call. Without `chunks`, large files are still
/// to be cut.
pub(crate) fn write(dir: &Path, files: &[NewFile], chunks: Option<&[NewChunk]>) -> io::Result<Entries> {
    write_to(&dir.join(NAME), files, chunks)
}

/// As [`write`], to this path.
fn write_to(path: &Path, files: &[NewFile], chunks: Option<&[NewChunk]>) -> io::Result<Entries> {
    let cut = chunks.is_some() || !files.iter().any(|file| file.size > LARGE);
    let fits = |file: &&NewFile| u16::try_from(file.path.len()).is_ok();
    let len: usize = files.iter().filter(fits).map(|file| FILE_HEAD + file.path.len()).sum();
    let mut out = Out { to: BufWriter::new(File::create(path)?), hasher: Hasher::new(), at: 0 };
    out.put(if cut { MAGIC_3 } else { MAGIC_2 })?;
    out.put(&(len as u64).to_le_bytes())?;
    let mut entries = Entries { cut, ..Entries::default() };
    let mut positions = HashMap::new();
    for file in files.iter().filter(fits) {
        let len = u16::try_from(file.path.len()).unwrap_or(u16::MAX);
        positions.insert(file.path.as_slice(), out.at);
        entries.files.push(Entry { key: key(&file.digest, file.size), at: out.at });
        out.put(file.digest.as_bytes())?;
        out.put(&file.size.to_le_bytes())?;
        out.put(&len.to_le_bytes())?;
        out.put(&file.path)?;
    }
    for chunk in chunks.unwrap_or_default() {
        let Some(file) = positions.get(chunk.path.as_slice()) else { continue };
        entries.chunks.push(Entry { key: key(&chunk.digest, chunk.size), at: out.at });
        out.put(chunk.digest.as_bytes())?;
        out.put(&chunk.size.to_le_bytes())?;
        out.put(&chunk.offset.to_le_bytes())?;
        out.put(&file.to_le_bytes())?;
    }
    out.to.write_all(out.hasher.finish().as_bytes())?;
    out.to.flush()?;
    Ok(entries)
}

/// Writes the list of a directory that is in use anew, with the chunks of its large files, and durably if `sync`: at
/// no time is there none.
pub(crate) fn replace(dir: &Path, files: &[NewFile], chunks: &[NewChunk], sync: bool) -> io::Result<Entries> {
    let new = dir.join(NEW);
    let entries = write_to(&new, files, Some(chunks))?;
    if sync {
        File::open(&new)?.sync_data()?;
    }
    std::fs::rename(&new, dir.join(NAME))?;
    Ok(entries)
}

struct Out {
    to: BufWriter<File>,
    hasher: Hasher,
    at: u64,
}

impl Out {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.at += bytes.len() as u64;
        self.to.write_all(bytes)
    }
}

/// A list with its checksum proven, all in memory.
#[derive(Debug)]
pub(crate) struct List {
    bytes: Vec<u8>,
    /// Where the file records begin and end.
    files: (usize, usize),
}

impl List {
    /// The list of the layer in `dir`.
    pub(crate) fn read(dir: &Path) -> io::Result<Self> {
        let mut bytes = Vec::new();
        File::open(dir.join(NAME))?.take(MAX).read_to_end(&mut bytes)?;
        Self::parse(bytes).ok_or_else(broken)
    }

    fn parse(mut bytes: Vec<u8>) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body) != Digest::from_bytes(*sum) {
            return None;
        }
        let body = body.len();
        bytes.truncate(body);
        let files = match bytes.get(..MAGIC_2.len())? {
            MAGIC_1 => (MAGIC_1.len(), body),
            MAGIC_2 | MAGIC_3 => {
                let start = MAGIC_2.len() + 8;
                let len = number(bytes.get(MAGIC_2.len()..start)?)?;
                (start, start.checked_add(usize::try_from(len).ok()?)?)
            }
            _ => return None,
        };
        let list = Self { bytes, files };
        // All of it parses, so that nobody has to ask again.
        list.bytes.get(files.0..files.1)?;
        let mut at = files.0;
        while at < files.1 {
            at += FILE_HEAD + file(list.bytes.get(at..files.1)?)?.path.len();
        }
        list.bytes.get(files.1..)?.len().is_multiple_of(CHUNK).then_some(list)
    }

    /// Chunks of all large files are in the list.
    pub(crate) fn is_cut(&self) -> bool {
        // Before version 3, chunks came with a TOC, and then all of them.
        self.bytes.starts_with(MAGIC_3)
            || self.chunks().next().is_some()
            || !self.files().any(|(_, file)| file.size > LARGE)
    }

    /// A list written anew has the files' records where they are in this one.
    pub(crate) fn keeps_positions(&self) -> bool {
        !self.bytes.starts_with(MAGIC_1)
    }

    /// Files, each with its record's position.
    pub(crate) fn files(&self) -> impl Iterator<Item = (u64, NewFile)> + '_ {
        let mut at = self.files.0;
        std::iter::from_fn(move || {
            let found = file(self.bytes.get(at..self.files.1)?)?;
            let position = at as u64;
            at += FILE_HEAD + found.path.len();
            Some((position, found))
        })
    }

    /// Chunks, each with its record's position.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, ChunkRecord)> + '_ {
        let start = self.files.1;
        let records = self.bytes.get(start..).unwrap_or_default().chunks_exact(CHUNK).enumerate();
        records.filter_map(move |(n, record)| Some(((start + n * CHUNK) as u64, chunk(record)?)))
    }

    /// What goes into the index.
    pub(crate) fn entries(&self) -> Entries {
        Entries {
            files: self.files().map(|(at, f)| Entry { key: key(&f.digest, f.size), at }).collect(),
            chunks: self.chunks().map(|(at, c)| Entry { key: key(&c.digest, c.size), at }).collect(),
            cut: self.is_cut(),
        }
    }
}

/// A list read record by record. Its checksum is not looked at: whoever uses a record compares its digest with
/// the one wanted, and hashes what the path leads to.
#[derive(Debug)]
pub(crate) struct Records(File);

impl Records {
    /// The list of the layer in `dir`.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self(File::open(dir.join(NAME))?))
    }

    pub(crate) fn file(&self, at: u64) -> io::Result<NewFile> {
        let mut bytes = [0; GUESS];
        let n = self.read(&mut bytes, at)?;
        let head = bytes.get(..n).ok_or_else(broken)?;
        if let Some(found) = file(head) {
            return Ok(found);
        }
        // A long path, or the list's end.
        let mut bytes = vec![0; FILE_HEAD + usize::from(u16::MAX)];
        let n = self.read(&mut bytes, at)?;
        bytes.get(..n).and_then(file).ok_or_else(broken)
    }

    pub(crate) fn chunk(&self, at: u64) -> io::Result<ChunkRecord> {
        let mut bytes = [0; CHUNK];
        self.0.read_exact_at(&mut bytes, at)?;
        chunk(&bytes).ok_or_else(broken)
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(bytes, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

fn file(record: &[u8]) -> Option<NewFile> {
    let (digest, after) = record.split_first_chunk::<32>()?;
    let (size, after) = after.split_first_chunk::<8>()?;
    let (len, after) = after.split_first_chunk::<2>()?;
    let path = after.get(..usize::from(u16::from_le_bytes(*len)))?;
    Some(NewFile {
        path: path.to_vec(),
        digest: Digest::from_bytes(*digest),
        size: u64::from_le_bytes(*size),
    })
}

fn chunk(record: &[u8]) -> Option<ChunkRecord> {
    let (digest, after) = record.split_first_chunk::<32>()?;
    Some(ChunkRecord {
        digest: Digest::from_bytes(*digest),
        size: number(after.get(..8)?)?,
        offset: number(after.get(8..16)?)?,
        file: number(after.get(16..24)?)?,
    })
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "broken list of files")
}

#[cfg(test)]
mod tests;

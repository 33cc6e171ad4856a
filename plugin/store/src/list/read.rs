//! Reading a list, whole or record by record.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use chunked_core::Digest;

use super::format::{CUT, MAGIC, Version, number};
use super::{ChunkRecord, Entries, Entry, LARGE, NAME, key};
use crate::layer::{NewChunk, NewFile};

/// Largest list accepted, in bytes: far above what limits on layers allow.
const MAX: u64 = 1 << 30;
/// Read at once for one file record: most paths are shorter than what this leaves.
const GUESS: usize = 512;
/// Bytes read at once where records follow one another.
const MANY: usize = 64 << 10;

/// A list with its checksum proven, all in memory.
#[derive(Debug)]
pub(crate) struct List {
    bytes: Vec<u8>,
    version: Version,
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

    pub(super) fn parse(mut bytes: Vec<u8>) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        if Digest::of(body) != Digest::from_bytes(*sum) {
            return None;
        }
        let body = body.len();
        bytes.truncate(body);
        let version = Version::of(bytes.get(..MAGIC)?)?;
        let files = match version {
            Version::One => (MAGIC, body),
            version => {
                let len = MAGIC + usize::from(version == Version::Four);
                let start = len + 8;
                let len = usize::try_from(number(bytes.get(len..start)?)?).ok()?;
                (start, start.checked_add(len)?)
            }
        };
        let list = Self { bytes, version, files };
        // All of it parses, so that nobody has to ask again.
        list.bytes.get(files.0..files.1)?;
        let mut at = files.0;
        while at < files.1 {
            at += version.file_head() + version.file(list.bytes.get(at..files.1)?)?.path.len();
        }
        list.bytes.get(files.1..)?.len().is_multiple_of(version.chunk()).then_some(list)
    }

    /// Chunks of all large files are in the list.
    pub(crate) fn is_cut(&self) -> bool {
        match self.version {
            Version::Four => self.bytes.get(MAGIC).is_some_and(|flags| flags & CUT != 0),
            Version::Three => true,
            // Chunks came with a TOC, and then all of them.
            Version::One | Version::Two => {
                self.chunks().next().is_some() || !self.records().any(|(_, file)| file.size > LARGE)
            }
        }
    }

    /// The list says what in it is proven.
    pub(crate) fn is_marked(&self) -> bool {
        self.version == Version::Four
    }

    /// Files, each with its record's position.
    pub(crate) fn files(&self) -> impl Iterator<Item = (u64, NewFile)> + '_ {
        let with_chunks: HashSet<u64> = match self.version {
            Version::Four => HashSet::new(),
            _ => self.chunks().map(|(_, chunk)| chunk.file).collect(),
        };
        self.records().map(move |(at, mut file)| {
            // Which came with a TOC, and in several pieces, is not known.
            if self.version < Version::Four && (file.size > LARGE || with_chunks.contains(&at)) {
                file.proven = false;
            }
            (at, file)
        })
    }

    fn records(&self) -> impl Iterator<Item = (u64, NewFile)> + '_ {
        let mut at = self.files.0;
        std::iter::from_fn(move || {
            let found = self.version.file(self.bytes.get(at..self.files.1)?)?;
            let position = at as u64;
            at += self.version.file_head() + found.path.len();
            Some((position, found))
        })
    }

    /// Chunks, each with its record's position.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, ChunkRecord)> + '_ {
        let (start, len) = (self.files.1, self.version.chunk());
        let records = self.bytes.get(start..).unwrap_or_default().chunks_exact(len).enumerate();
        records.filter_map(move |(n, record)| Some(((start + n * len) as u64, self.version.record(record)?)))
    }

    /// Files and chunks, as they are written; chunks of no file are left out.
    pub(crate) fn contents(&self) -> (Vec<NewFile>, Vec<NewChunk>) {
        let (positions, files): (Vec<u64>, Vec<NewFile>) = self.files().unzip();
        let paths: HashMap<u64, &NewFile> = positions.into_iter().zip(&files).collect();
        let chunks = self.chunks().filter_map(|(_, chunk)| {
            let ChunkRecord { digest, size, offset, file, proven } = chunk;
            Some(NewChunk { digest, size, path: paths.get(&file)?.path.clone(), offset, proven })
        });
        let chunks = chunks.collect();
        (files, chunks)
    }

    /// What goes into the index.
    pub(crate) fn entries(&self) -> Entries {
        let entry =
            |at, digest: &Digest, size, proven: bool| Entry { key: key(digest, size), unproven: !proven, at };
        Entries {
            files: self.files().map(|(at, f)| entry(at, &f.digest, f.size, f.proven)).collect(),
            chunks: self.chunks().map(|(at, c)| entry(at, &c.digest, c.size, c.proven)).collect(),
            cut: self.is_cut(),
        }
    }
}

/// A list read record by record. Its checksum is not looked at: whoever uses a record compares its digest with
/// the one wanted, and hashes what the path leads to.
#[derive(Debug)]
pub(crate) struct Records {
    file: File,
    version: Version,
    window: RefCell<Window>,
}

/// What was read last of a list.
#[derive(Debug, Default)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }
}

impl Records {
    /// The list of the layer in `dir`.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let file = File::open(dir.join(NAME))?;
        let mut magic = [0; MAGIC];
        file.read_exact_at(&mut magic, 0)?;
        let version = Version::of(&magic).ok_or_else(broken)?;
        Ok(Self { file, version, window: RefCell::default() })
    }

    pub(crate) fn file(&self, at: u64) -> io::Result<NewFile> {
        if let Some(found) = self.near(at)? {
            return Ok(found);
        }
        // A long path, or the list's end.
        let mut bytes = vec![0; self.version.file_head() + usize::from(u16::MAX)];
        let n = self.read(&mut bytes, at)?;
        bytes.get(..n).and_then(|record| self.version.file(record)).ok_or_else(broken)
    }

    /// The file record at `at`, unless it is a long one. Of records that are read one soon after the other many are read
    /// at once.
    fn near(&self, at: u64) -> io::Result<Option<NewFile>> {
        let mut window = self.window.borrow_mut();
        let (begin, end) = (window.at, window.end());
        if at < begin || end < at.saturating_add(GUESS as u64) {
            let soon = begin <= at && at < end.saturating_add(GUESS as u64);
            let mut bytes = std::mem::take(&mut window.bytes);
            bytes.resize(if soon { MANY } else { GUESS }, 0);
            let n = self.read(&mut bytes, at)?;
            bytes.truncate(n);
            *window = Window { at, bytes };
        }
        let skip = usize::try_from(at - window.at).unwrap_or(usize::MAX);
        Ok(window.bytes.get(skip..).and_then(|head| self.version.file(head)))
    }

    pub(crate) fn chunk(&self, at: u64) -> io::Result<ChunkRecord> {
        let mut bytes = vec![0; self.version.chunk()];
        self.file.read_exact_at(&mut bytes, at)?;
        self.version.record(&bytes).ok_or_else(broken)
    }

    fn read(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(bytes, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

pub(super) fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "broken list of files")
}

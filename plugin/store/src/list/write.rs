//! Writing a list.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use chunked_core::Hasher;

use super::format::{CURRENT, CUT, PROVEN, Version};
use super::{Entries, Entry, LARGE, NAME, NEW, key};
use crate::layer::{NewChunk, NewFile};

/// Writes the list into `dir`. It becomes durable with the layer's data. Chunks of files that are not in
/// `files` are left out, and so are paths too long for any system call. Without `chunks`, large files are still
/// to be cut.
pub(crate) fn write(dir: &Path, files: &[NewFile], chunks: Option<&[NewChunk]>) -> io::Result<Entries> {
    write_to(&dir.join(NAME), files, chunks)
}

/// As [`write()`], to this path.
fn write_to(path: &Path, files: &[NewFile], chunks: Option<&[NewChunk]>) -> io::Result<Entries> {
    let cut = chunks.is_some() || !files.iter().any(|file| file.size > LARGE);
    let fits = |file: &&NewFile| u16::try_from(file.path.len()).is_ok();
    let head = Version::Four.file_head();
    let len: usize = files.iter().filter(fits).map(|file| head + file.path.len()).sum();
    let mut out = Out { to: BufWriter::new(File::create(path)?), hasher: Hasher::new(), at: 0 };
    out.put(CURRENT)?;
    out.put(&[if cut { CUT } else { 0 }])?;
    out.put(&(len as u64).to_le_bytes())?;
    let mut entries = Entries { cut, ..Entries::default() };
    let mut positions = HashMap::new();
    for file in files.iter().filter(fits) {
        let len = u16::try_from(file.path.len()).unwrap_or(u16::MAX);
        positions.insert(file.path.as_slice(), out.at);
        let key = key(&file.digest, file.size);
        entries.files.push(Entry { key, unproven: !file.proven, at: out.at });
        out.put(file.digest.as_bytes())?;
        out.put(&file.size.to_le_bytes())?;
        out.put(&len.to_le_bytes())?;
        out.put(&[flags(file.proven)])?;
        out.put(&file.path)?;
    }
    for chunk in chunks.unwrap_or_default() {
        let Some(file) = positions.get(chunk.path.as_slice()) else { continue };
        let key = key(&chunk.digest, chunk.size);
        entries.chunks.push(Entry { key, unproven: !chunk.proven, at: out.at });
        out.put(chunk.digest.as_bytes())?;
        out.put(&chunk.size.to_le_bytes())?;
        out.put(&chunk.offset.to_le_bytes())?;
        out.put(&file.to_le_bytes())?;
        out.put(&[flags(chunk.proven)])?;
    }
    out.to.write_all(out.hasher.finish().as_bytes())?;
    out.to.flush()?;
    Ok(entries)
}

fn flags(proven: bool) -> u8 {
    if proven { PROVEN } else { 0 }
}

/// Writes the list of a directory that is in use anew, with the chunks of its large files, and durably if `sync`: at
/// no time is there none.
pub(crate) fn replace(dir: &Path, files: &[NewFile], chunks: &[NewChunk], sync: bool) -> io::Result<Entries> {
    let new = dir.join(NEW);
    let written = write_to(&new, files, Some(chunks)).and_then(|entries| {
        if sync {
            File::open(&new)?.sync_data()?;
        }
        std::fs::rename(&new, dir.join(NAME))?;
        Ok(entries)
    });
    if written.is_err() {
        // On a full disk, half of it would only take room.
        let _ = std::fs::remove_file(&new);
    }
    written
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

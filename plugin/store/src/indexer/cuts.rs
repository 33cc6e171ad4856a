//! The chunks of a layer's large files, cut as the format's writers cut, when no TOC told them.
//!
//! The list in the layer's directory says whether they are in it, and the index whether it has them: a layer that
//! was in work at a crash is cut again, one that was finished never.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;

use chunked_core::Digest;
use chunked_cuts::{Chunk, Chunker, Cuts};
use chunked_linux::{Dir, Mounts};
use rustix::fs::Advice;

use super::Pace;
use crate::layer::{NewChunk, NewFile};
use crate::list::{self, List};
use crate::store::Inner;
use crate::tree;

/// Longest chunk worth a row, in bytes: the planner asks for none longer (`chunked_plan::MAX_REUSED_PIECE`).
const LONGEST: u64 = 8 << 20;
/// Chunks of one layer that are indexed, at most: some 32 GB of content, unless the content was made to have many.
const MAX_CHUNKS: usize = 500_000;

/// Chunks of a layer, each content once.
#[derive(Default)]
pub(super) struct Chunks(HashMap<(Digest, u64), NewChunk>);

/// Cuts one file.
pub(super) struct Cutting {
    chunker: Chunker,
    found: Vec<Chunk>,
    /// Bytes taken.
    len: u64,
    /// Chunks there is room for.
    room: usize,
}

impl Cutting {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let (found, room) = (&mut self.found, self.room);
        self.len += bytes.len() as u64;
        self.chunker.feed(bytes, |chunk| keep(found, room, chunk));
    }
}

fn keep(found: &mut Vec<Chunk>, room: usize, chunk: Chunk) {
    if found.len() < room && chunk.len <= LONGEST {
        found.push(chunk);
    }
}

impl Chunks {
    pub(super) fn begin(&self) -> Cutting {
        let room = MAX_CHUNKS.saturating_sub(self.0.len());
        Cutting { chunker: Chunker::new(Cuts::Compatible), found: Vec::new(), len: 0, room }
    }

    /// Takes what was cut of the file at `path`; nothing if that is the whole file, which is found as such.
    pub(super) fn end(&mut self, mut cutting: Cutting, path: &[u8]) {
        let (found, room, len) = (&mut cutting.found, cutting.room, cutting.len);
        cutting.chunker.finish(|chunk| keep(found, room, chunk));
        for Chunk { offset, len, digest } in cutting.found.into_iter().filter(|chunk| chunk.len < len) {
            let new = || NewChunk { digest, size: len, path: path.to_vec(), offset };
            self.0.entry((digest, len)).or_insert_with(new);
        }
    }

    /// In the order of files and offsets, as they are read.
    pub(super) fn into_list(self) -> Vec<NewChunk> {
        let mut list: Vec<_> = self.0.into_values().collect();
        list.sort_unstable_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
        list
    }
}

impl Inner {
    /// Puts the chunks of a layer's large files into its list, unless they are there, and into the index.
    pub(super) fn cut(self: &Arc<Self>, id: u64, pace: &mut Pace<'_>) -> io::Result<()> {
        let dir = self.layout.snapshot(id);
        let list = List::read(&dir)?;
        if list.is_cut() {
            self.index.insert_chunks(id, list.entries().chunks);
            return Ok(());
        }
        let files: Vec<NewFile> = list.files().map(|(_, file)| file).collect();
        let chunks = cut_all(&Dir::open(&self.layout.fs(id))?, &files, pace)?;
        if list.keeps_positions() {
            let entries = list::replace(&dir, &files, &chunks, self.options.sync)?;
            self.index.insert_chunks(id, entries.chunks);
        } else {
            self.index.remove(id, &dir);
            let entries = list::replace(&dir, &files, &chunks, self.options.sync)?;
            self.index.insert(id, entries);
        }
        Ok(())
    }
}

fn cut_all(tree: &Dir, files: &[NewFile], pace: &mut Pace<'_>) -> io::Result<Vec<NewChunk>> {
    let mut chunks = Chunks::default();
    let mut seen = HashSet::new();
    for listed in files.iter().filter(|file| file.size > list::LARGE) {
        if !seen.insert((listed.digest, listed.size)) {
            continue;
        }
        // One that is damaged gives what it has now, or nothing: verification tells of it.
        let Ok(mut file) = tree.open_file_beneath(&listed.path, Mounts::One) else { continue };
        // A container that is just starting wants the memory for what it reads itself.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::NoReuse);
        let mut cutting = chunks.begin();
        let read = tree::read(&mut file, |bytes| {
            cutting.feed(bytes);
            pace.rest()
        });
        match read {
            Ok(()) => chunks.end(cutting, &listed.path),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(_) => {}
        }
    }
    Ok(chunks.into_list())
}

#[cfg(test)]
mod tests;

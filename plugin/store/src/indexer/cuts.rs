//! The chunks of a layer's large files, cut as the format's writers cut, when no TOC told them.
//!
//! The list in the layer's directory says whether they are in it, and the index whether it has them: a layer that
//! was in work at a crash is cut again, one that was finished never.

use std::collections::HashMap;

use chunked_core::Digest;
use chunked_cuts::{Chunk, Chunker, Cuts};

use crate::layer::NewChunk;

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
            let new = || NewChunk { digest, size: len, path: path.to_vec(), offset, proven: true };
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

#[cfg(test)]
mod tests;

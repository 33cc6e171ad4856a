//! What a node has when it has pulled an image: the files of its layers, and the chunks of large ones.

use std::collections::HashSet;

use chunked_core::Digest;
use chunked_plan::{MAX_REUSED_PIECE, Reuse};
use chunked_toc::{PieceKind, Toc};

/// Contents by digest and length in bytes.
#[derive(Debug, Default)]
pub(super) struct Held {
    files: HashSet<(Digest, u64)>,
    chunks: HashSet<(Digest, u64)>,
}

impl Held {
    /// Adds a layer that was pulled before: its files, and the chunks that the index of a store has of it.
    pub(super) fn add(&mut self, toc: &Toc) {
        self.add_files(toc);
        for file in toc.files.iter().filter(|file| file.pieces.len() > 1) {
            for piece in toc.pieces_of(file) {
                if let (Some(digest), PieceKind::Data) = (piece.digest, piece.kind)
                    && piece.len <= MAX_REUSED_PIECE
                {
                    self.chunks.insert((digest, piece.len));
                }
            }
        }
    }

    /// Adds a layer that is pulled at the same time: its files only, as for files in flight.
    pub(super) fn add_files(&mut self, toc: &Toc) {
        self.files.extend(toc.files.iter().map(|file| (file.digest, file.size)));
    }
}

impl Reuse for Held {
    type Donor = ();

    fn lookup(&self, wanted: &[(Digest, u64)]) -> Vec<Option<()>> {
        wanted.iter().map(|key| self.files.contains(key).then_some(())).collect()
    }

    fn lookup_chunks(&self, wanted: &[(Digest, u64)]) -> Vec<Option<((), u64)>> {
        wanted.iter().map(|key| self.chunks.contains(key).then_some(((), 0))).collect()
    }
}

//! The chunks of a layer's large files, for the index: the TOC says what they are, the tree where their files
//! ended up.

use std::collections::HashMap;

use chunked_plan::MAX_REUSED_PIECE;
use chunked_store::{NewChunk, NewFile};
use chunked_toc::{PieceKind, Toc};

/// Chunks of those of `files` that have several. Each content is named once.
pub(crate) fn of(toc: &Toc, files: &[NewFile]) -> Vec<NewChunk> {
    let several = toc.files.iter().filter(|file| file.pieces.len() > 1);
    let by_content: HashMap<_, _> = several.map(|file| ((file.digest, file.size), file)).collect();
    let mut chunks = HashMap::new();
    for file in files {
        let Some(described) = by_content.get(&(file.digest, file.size)) else { continue };
        for piece in toc.pieces_of(described) {
            let (Some(digest), true) =
                (piece.digest, piece.kind == PieceKind::Data && piece.len <= MAX_REUSED_PIECE)
            else {
                continue;
            };
            let path = || file.path.clone();
            let new = || NewChunk { digest, size: piece.len, path: path(), offset: piece.file_offset };
            chunks.entry((digest, piece.len)).or_insert_with(new);
        }
    }
    chunks.into_values().collect()
}

#[cfg(test)]
mod tests {
    use chunked_core::{ByteRange, Digest};
    use chunked_toc::{Piece, TocFile};

    use super::*;

    #[test]
    fn data_pieces_of_files_with_several() {
        let blob = ByteRange { start: 0, end: 1 };
        let piece = |n: u8, file_offset, kind| Piece {
            blob,
            file_offset,
            len: 10,
            digest: Some(Digest::of(&[n])),
            kind,
        };
        let file = |n: u8, pieces: std::ops::Range<u32>| TocFile {
            name: [n][..].into(),
            size: 10 * u64::from(pieces.end - pieces.start),
            digest: Digest::of(&[n]),
            range: blob,
            pieces,
        };
        let data = PieceKind::Data;
        let toc = Toc {
            files: vec![file(b'a', 0..1), file(b'b', 1..5)],
            pieces: vec![
                piece(0, 0, data),
                piece(1, 0, data),
                piece(2, 10, PieceKind::Hole),
                piece(3, 20, data),
                piece(1, 30, data),
            ],
            metadata_bytes: 0,
        };
        let stored = |n: u8, size, path: &[u8]| NewFile { path: path.into(), digest: Digest::of(&[n]), size };
        let files = [stored(b'a', 10, b"a"), stored(b'b', 40, b"here"), stored(b'b', 30, b"other")];
        let mut chunks = of(&toc, &files);
        chunks.sort_by_key(|chunk| chunk.offset);
        let found: Vec<_> = chunks.iter().map(|c| (c.digest, c.path.as_slice(), c.offset)).collect();
        assert_eq!(found, [(Digest::of(&[1]), &b"here"[..], 0), (Digest::of(&[3]), b"here", 20)]);
    }
}

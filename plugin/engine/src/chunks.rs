//! What of a layer goes into the index: its files, and the chunks of its large files. The TOC says what the chunks are,
//! the tree where their files ended up, and the extractor what of it was hashed.

use std::collections::HashMap;

use chunked_assemble::{Proof, Stored};
use chunked_plan::MAX_REUSED_PIECE;
use chunked_store::{NewChunk, NewFile};
use chunked_toc::{PieceKind, Toc};

/// The files, for the index.
pub(crate) fn files(stored: Vec<Stored>) -> Vec<NewFile> {
    let new = |file: Stored| NewFile {
        path: file.path,
        digest: file.digest,
        size: file.size,
        proven: file.proof == Proof::Whole,
    };
    stored.into_iter().map(new).collect()
}

/// Chunks of those of `files` that have several. Each content is named once, where it was hashed if it was anywhere.
/// `checked`: fetched pieces were compared with their digests, one by one.
pub(crate) fn of(toc: &Toc, files: &[Stored], checked: bool) -> Vec<NewChunk> {
    let several = toc.files.iter().filter(|file| file.pieces.len() > 1);
    let by_content: HashMap<_, _> = several.map(|file| ((file.digest, file.size), file)).collect();
    let mut chunks: HashMap<_, NewChunk> = HashMap::new();
    for file in files {
        let Some(described) = by_content.get(&(file.digest, file.size)) else { continue };
        for piece in toc.pieces_of(described) {
            let (Some(digest), true) =
                (piece.digest, piece.kind == PieceKind::Data && piece.len <= MAX_REUSED_PIECE)
            else {
                continue;
            };
            // A file that came from elsewhere was hashed as a whole, if at all.
            let proven = checked && file.proof == Proof::Pieces;
            if chunks.get(&(digest, piece.len)).is_some_and(|known| known.proven || !proven) {
                continue;
            }
            let (path, offset) = (file.path.clone(), piece.file_offset);
            chunks.insert((digest, piece.len), NewChunk { digest, size: piece.len, path, offset, proven });
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
        let stored = |n: u8, size, path: &[u8], proof| Stored {
            path: path.into(),
            digest: Digest::of(&[n]),
            size,
            proof,
        };
        let (whole, pieces) = (Proof::Whole, Proof::Pieces);
        let files = [
            stored(b'a', 10, b"a", whole),
            stored(b'b', 40, b"here", pieces),
            stored(b'b', 30, b"other", pieces),
        ];
        let mut chunks = of(&toc, &files, true);
        chunks.sort_by_key(|chunk| chunk.offset);
        let found: Vec<_> =
            chunks.iter().map(|c| (c.digest, c.path.as_slice(), c.offset, c.proven)).collect();
        assert_eq!(found, [(Digest::of(&[1]), &b"here"[..], 0, true), (Digest::of(&[3]), b"here", 20, true)]);
        // Of a donor, whose pieces nobody looked at; unless another file of the same content came in pieces.
        let donor = stored(b'b', 40, b"donor", whole);
        let of_donor = of(&toc, std::slice::from_ref(&donor), true);
        assert!(of_donor.len() == 2 && of_donor.iter().all(|chunk| !chunk.proven));
        for both in [[donor.clone(), files[1].clone()], [files[1].clone(), donor]] {
            let chunks = of(&toc, &both, true);
            assert!(chunks.len() == 2 && chunks.iter().all(|c| c.proven && c.path == b"here"));
        }
        // The DiffID proved the bytes, and nobody looked at the digests of pieces.
        let unchecked = of(&toc, &files, false);
        assert!(unchecked.len() == 2 && unchecked.iter().all(|chunk| !chunk.proven));
    }
}

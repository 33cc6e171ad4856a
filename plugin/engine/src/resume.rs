//! What an earlier try of the same layer left: files and chunks of an unfinished tree that are right, each of which
//! is hashed before it counts.
//!
//! They are donors like any other: files of the new tree are links to them or share their blocks, or are copies if a
//! thread of the earlier try may still be writing.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use chunked_core::{Digest, Hasher};
use chunked_linux::Dir;
use chunked_store::{Partial, Store};
use chunked_toc::{LayerIndex, PieceKind, Toc, TocFile};

use crate::blocking::Wanted;

/// A file of an unfinished tree.
#[derive(Debug, Clone)]
pub(crate) struct Leftover {
    pub(crate) root: Arc<Dir>,
    pub(crate) path: Arc<[u8]>,
    /// Nobody can be writing to it, so that blocks may be shared.
    pub(crate) settled: bool,
    /// It goes when the layer is there.
    pub(crate) goes: bool,
}

type Key = (Digest, u64);

/// What of a layer is here from earlier tries.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    files: HashMap<Key, Leftover>,
    chunks: HashMap<Key, (Leftover, u64)>,
}

impl Leftovers {
    /// Looks through the unfinished trees of `diff_id` for what `index` wants, as long as that is `wanted`. Reads them: blocks
    /// on the disk.
    pub(crate) fn find(store: &Store, diff_id: &Digest, index: &LayerIndex, wanted: &Wanted) -> Self {
        let mut found = Self::default();
        for Partial { fs, settled, goes, .. } in store.partials(diff_id) {
            // A tree that vanished in between is no loss.
            if let Ok(root) = Dir::open(&fs) {
                found.look(settled, goes, &Arc::new(root), &index.toc, wanted);
            }
        }
        if !found.files.is_empty() || !found.chunks.is_empty() {
            let (files, chunks) = (found.files.len(), found.chunks.len());
            tracing::info!(%diff_id, files, chunks, "going on from an earlier try");
        }
        found
    }

    fn look(&mut self, settled: bool, goes: bool, root: &Arc<Dir>, toc: &Toc, wanted: &Wanted) {
        for file in &toc.files {
            if wanted.is_over() {
                return;
            }
            let key = (file.digest, file.size);
            if self.files.contains_key(&key) {
                continue;
            }
            let Some(path) = clean(&file.name) else { continue };
            let Ok(opened) = root.open_file(&path) else { continue };
            // Files are as long as they will be from the start on, or not worth a look.
            if opened.metadata().is_ok_and(|meta| meta.len() != file.size) {
                continue;
            }
            let leftover = Leftover { root: Arc::clone(root), path: path.into(), settled, goes };
            if holds(&opened, 0, key, wanted) {
                self.files.insert(key, leftover);
            } else if file.pieces.len() > 1 {
                self.pieces(toc, file, (&opened, &leftover), wanted);
            }
        }
    }

    /// The pieces of a file that was being written.
    fn pieces(
        &mut self,
        toc: &Toc,
        file: &TocFile,
        (opened, leftover): (&std::fs::File, &Leftover),
        wanted: &Wanted,
    ) {
        for piece in toc.pieces_of(file).iter().filter(|piece| piece.kind == PieceKind::Data) {
            let Some(digest) = piece.digest else { continue };
            let key = (digest, piece.len);
            if !self.chunks.contains_key(&key) && holds(opened, piece.file_offset, key, wanted) {
                self.chunks.insert(key, (leftover.clone(), piece.file_offset));
            }
        }
    }

    pub(crate) fn file(&self, key: &Key) -> Option<Leftover> {
        self.files.get(key).cloned()
    }

    /// A file that has it, and the offset in that.
    pub(crate) fn chunk(&self, key: &Key) -> Option<(Leftover, u64)> {
        self.chunks.get(key).cloned()
    }
}

/// The path in the tree of an entry called `name`, if it is that simple: entries below symlinks are not found, and
/// fetched again.
fn clean(name: &[u8]) -> Option<Vec<u8>> {
    let mut path: Vec<u8> = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return None,
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    (!path.is_empty()).then_some(path)
}

/// Has the file beneath `root` this content at `offset`?
///
/// # Errors
/// When it cannot be told, because the file cannot be opened, or the answer is not wanted any more.
pub(crate) fn holds_at(
    root: &Path,
    path: &[u8],
    offset: u64,
    key: Key,
    wanted: &Wanted,
) -> std::io::Result<bool> {
    let file = match Dir::open(root)?.open_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    let holds = holds(&file, offset, key, wanted);
    if wanted.is_over() { Err(std::io::ErrorKind::Interrupted.into()) } else { Ok(holds) }
}

/// `false` also when it is not `wanted` any more.
fn holds(file: &std::fs::File, offset: u64, (digest, len): Key, wanted: &Wanted) -> bool {
    let (mut hasher, mut buffer, mut done) = (Hasher::new(), vec![0; 256 * 1024], 0);
    while done < len {
        if wanted.is_over() {
            return false;
        }
        let room = usize::try_from(len - done).unwrap_or(usize::MAX).min(buffer.len());
        match file.read_at(&mut buffer[..room], offset + done) {
            Ok(n) if n > 0 => {
                hasher.update(&buffer[..n]);
                done += n as u64;
            }
            _ => return false,
        }
    }
    hasher.finish() == digest
}

#[cfg(test)]
mod tests {
    use chunked_core::ByteRange;
    use chunked_toc::Piece;

    use super::*;
    use crate::blocking::Waiting;

    #[test]
    fn paths_are_clean() {
        for (name, path) in [
            ("./usr/bin/x", Some("usr/bin/x")),
            ("usr//bin/./x", Some("usr/bin/x")),
            ("/etc/passwd", Some("etc/passwd")),
            ("a/../b", None),
            ("..", None),
            ("./", None),
        ] {
            assert_eq!(clean(name.as_bytes()).as_deref(), path.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn contents_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), b"0123456789").unwrap();
        let waiting = Waiting::new();
        let wanted = waiting.wanted();
        let key = |content: &[u8]| (Digest::of(content), content.len() as u64);
        let holds = |offset, content| holds_at(dir.path(), b"file", offset, key(content), &wanted).unwrap();
        assert!(holds(0, b"0123456789") && holds(3, b"345"));
        assert!(!holds(3, b"346") && !holds(8, b"890") && !holds(0, b"0123456789\0"));
        assert!(!holds_at(dir.path(), b"none", 0, key(b""), &wanted).unwrap());
    }
    #[test]
    fn what_is_not_wanted_any_more_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let content = vec![7; 600_000];
        std::fs::write(dir.path().join("file"), &content).unwrap();
        let (digest, size, blob) =
            (Digest::of(&content), content.len() as u64, ByteRange { start: 0, end: 1 });
        let half = |file_offset| Piece {
            blob,
            file_offset,
            len: 300_000,
            digest: Some(Digest::of(&content[..300_000])),
            kind: PieceKind::Data,
        };
        // Once with its right digest, once with another, so that its pieces are looked at.
        for (digest, files, chunks) in [(digest, 1, 0), (Digest::of(b"other"), 0, 1)] {
            let file = TocFile { name: (*b"file").into(), size, digest, range: blob, pieces: 0..2 };
            let toc = Toc { files: vec![file], pieces: vec![half(0), half(300_000)], metadata_bytes: 0 };
            let (root, waiting) = (Arc::new(Dir::open(dir.path()).unwrap()), Waiting::new());
            let wanted = waiting.wanted();
            let mut found = Leftovers::default();
            found.look(true, true, &root, &toc, &wanted);
            assert_eq!((found.files.len(), found.chunks.len()), (files, chunks));
            drop(waiting);
            let mut found = Leftovers::default();
            found.look(true, true, &root, &toc, &wanted);
            assert!(found.files.is_empty() && found.chunks.is_empty());
            let opened = root.open_file(b"file").unwrap();
            assert!(
                !holds(&opened, 0, (Digest::of(&content), size), &wanted),
                "in the middle of a file, too"
            );
            let told = holds_at(dir.path(), b"file", 0, (Digest::of(&content), size), &wanted);
            assert!(told.is_err(), "and nobody is told that it holds something else");
        }
    }
}

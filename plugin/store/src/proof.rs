//! Does a file hold what its list says, or was the list wrong from the start?
//!
//! The digest of a file that came in pieces is what the TOC said: the DiffID proves the file's bytes, but not that digest.
//! Where a whole file has another digest and all its pieces are right, the TOC lied. Where a piece is wrong, too, that
//! cannot be told from damage, and counts as such.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use chunked_core::{Digest, Hasher};

use crate::layer::{NewChunk, NewFile};

const BUFFER: usize = 256 * 1024;

/// What a file turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// What the list says.
    Right,
    /// The list names a digest that the file never had; this is the one it has.
    Misnamed(Digest),
    /// Not what was committed, for this reason.
    Damaged(String),
}

/// Compares an open file, whose bytes have the digest and length `found`, with what is `listed`, `chunks` being those of
/// this file in the list. `marked`: the list says what in it is proven.
pub(crate) fn compare<'a>(
    file: &File,
    listed: &NewFile,
    found: (Digest, u64),
    chunks: impl IntoIterator<Item = &'a NewChunk>,
    marked: bool,
) -> io::Result<Finding> {
    let (digest, len) = found;
    if len != listed.size {
        return Ok(Finding::Damaged(format!("it has {len} bytes, not {}", listed.size)));
    }
    if digest == listed.digest {
        return Ok(Finding::Right);
    }
    let damaged = Finding::Damaged(format!("it has digest {digest}, not {}", listed.digest));
    if listed.proven {
        return Ok(damaged);
    }
    let mut compared = false;
    for chunk in chunks {
        compared = true;
        if !holds(file, chunk)? {
            return Ok(damaged);
        }
    }
    Ok(if compared || marked { Finding::Misnamed(digest) } else { damaged })
}

/// Has the file this chunk where it should be?
pub(crate) fn holds(file: &File, chunk: &NewChunk) -> io::Result<bool> {
    let (mut hasher, mut buffer, mut done) = (Hasher::new(), vec![0; BUFFER], 0);
    while done < chunk.size {
        let room = usize::try_from(chunk.size - done).unwrap_or(usize::MAX).min(buffer.len());
        let Some(at) = chunk.offset.checked_add(done) else { return Ok(false) };
        match file.read_at(buffer.get_mut(..room).unwrap_or_default(), at) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                hasher.update(buffer.get(..n).unwrap_or_default());
                done += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish() == chunk.digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(content: &[u8], proven: bool) -> NewFile {
        NewFile { path: b"f".to_vec(), digest: Digest::of(content), size: content.len() as u64, proven }
    }

    fn chunk(content: &[u8], offset: u64) -> NewChunk {
        let (digest, size) = (Digest::of(content), content.len() as u64);
        NewChunk { digest, size, path: b"f".to_vec(), offset, proven: true }
    }

    #[test]
    fn lies_and_damage_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "0123456789").unwrap();
        let file = File::open(dir.path().join("f")).unwrap();
        let found = (Digest::of(b"0123456789"), 10);
        let compare = |listed: &NewFile, chunks: &[NewChunk], marked| {
            compare(&file, listed, found, chunks, marked).unwrap()
        };
        let right = [chunk(b"01234", 0), chunk(b"56789", 5)];
        let wrong = [chunk(b"01234", 0), chunk(b"5678x", 5)];
        let beyond = [chunk(b"9x", 9)];
        let other = listed(b"abcdefghij", false);
        assert_eq!(compare(&listed(b"0123456789", false), &wrong, true), Finding::Right);
        assert_eq!(compare(&other, &right, true), Finding::Misnamed(found.0));
        assert_eq!(compare(&other, &right, false), Finding::Misnamed(found.0));
        assert_eq!(compare(&other, &[], true), Finding::Misnamed(found.0));
        for (listed, chunks, marked) in [
            (&other, &wrong[..], true),
            (&other, &beyond[..], true),
            (&other, &[], false),
            (&listed(b"abcdefghij", true), &right[..], true),
            (&listed(b"0123", false), &right[..], true),
        ] {
            assert!(matches!(compare(listed, chunks, marked), Finding::Damaged(_)), "{listed:?} {chunks:?}");
        }
    }
}

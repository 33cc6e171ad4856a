//! Checks files against a TOC of an older generation, or of stargz-snapshotter (zstd-chunked.md §2, §12).
//!
//! Their entries say in which frame a file or chunk begins and how long it is, not always where it ends.

use chunked_core::{Digest, Hasher};

use crate::entry::TocEntry;
use crate::inspect::Problems;

/// A file or chunk: bytes of the content that the TOC says something about.
#[derive(Debug, PartialEq, Eq)]
struct Claim<'a> {
    name: &'a str,
    /// Offset in the blob of the frame it begins in.
    offset: u64,
    /// Bytes of that frame's content before it.
    skip: u64,
    /// Its bytes; never 0.
    len: u64,
    /// Its digest; empty if the TOC gives none.
    digest: &'a str,
    /// The file ends here: its digest, empty if the TOC gives none.
    file: Option<&'a str>,
}

/// Claims on their way along the content.
pub(super) struct Claims<'a> {
    claims: Vec<Claim<'a>>,
    /// The current one.
    at: usize,
    /// Bytes of content since its frame began; `None` before that.
    since: Option<u64>,
    /// Bytes of its own among them.
    taken: u64,
    piece: Hasher,
    file: Hasher,
    /// Files whose digest was checked.
    pub(super) files: u64,
    /// Chunks whose digest was checked; a file that is not cut is one.
    pub(super) chunks: u64,
    /// Files that the TOC gives no digest for.
    pub(super) without_digest: u64,
}

impl<'a> Claims<'a> {
    pub(super) fn new(entries: &'a [TocEntry], problems: &mut Problems) -> Self {
        Self {
            claims: claims(entries, problems),
            at: 0,
            since: None,
            taken: 0,
            piece: Hasher::new(),
            file: Hasher::new(),
            files: 0,
            chunks: 0,
            without_digest: 0,
        }
    }

    /// A frame starts at `offset` of the blob.
    pub(super) fn frame(&mut self, offset: u64, problems: &mut Problems) {
        while let Some(claim) = self.claims.get(self.at) {
            if self.since.is_some() {
                // It may be several frames long, but not reach into another's.
                let next = self.claims.get(self.at + 1).map(|next| next.offset);
                if next.is_none_or(|next| next == claim.offset || next > offset) {
                    return;
                }
            } else if claim.offset >= offset {
                self.since = (claim.offset == offset).then_some(0);
                return;
            }
            self.fail(problems);
        }
    }

    /// The next bytes of content.
    pub(super) fn feed(&mut self, mut content: &[u8], problems: &mut Problems) {
        while let (Some(claim), Some(since)) = (self.claims.get(self.at), self.since) {
            let before = part(content, claim.skip.saturating_sub(since));
            content = content.get(before.len()..).unwrap_or_default();
            let own = part(content, claim.len - self.taken);
            content = content.get(own.len()..).unwrap_or_default();
            self.piece.update(own);
            self.file.update(own);
            self.taken += own.len() as u64;
            self.since = Some(since + (before.len() + own.len()) as u64);
            if self.taken < claim.len {
                return;
            }
            self.end(problems);
        }
    }

    /// The content is over.
    pub(super) fn finish(&mut self, problems: &mut Problems) {
        while self.at < self.claims.len() {
            self.fail(problems);
        }
    }

    /// The current claim is complete.
    fn end(&mut self, problems: &mut Problems) {
        let Some(claim) = self.claims.get(self.at) else { return };
        let piece = std::mem::take(&mut self.piece).finish();
        if !claim.digest.is_empty() {
            self.chunks += 1;
            if !is(claim.digest, piece) {
                problems.add(format!("{:?}: a chunk is not what the TOC says", claim.name));
            }
        }
        if let Some(stated) = claim.file {
            let digest = std::mem::take(&mut self.file).finish();
            if stated.is_empty() {
                self.without_digest += 1;
            } else {
                self.files += 1;
                if !is(stated, digest) {
                    problems.add(format!("{:?} is not what the TOC says", claim.name));
                }
            }
        }
        let same_frame = self.claims.get(self.at + 1).is_some_and(|next| next.offset == claim.offset);
        self.since = self.since.filter(|_| same_frame);
        self.at += 1;
        self.taken = 0;
    }

    /// The current claim's file is not where it should be.
    fn fail(&mut self, problems: &mut Problems) {
        if let Some(claim) = self.claims.get(self.at) {
            problems.add(format!("{:?} is not where the TOC says", claim.name));
        }
        while self.claims.get(self.at).is_some_and(|claim| claim.file.is_none()) {
            self.at += 1;
        }
        self.at += 1;
        (self.since, self.taken) = (None, 0);
        (self.piece, self.file) = (Hasher::new(), Hasher::new());
    }
}

fn is(stated: &str, digest: Digest) -> bool {
    stated.parse().is_ok_and(|stated: Digest| stated == digest)
}

/// The first `most` of `bytes`.
fn part(bytes: &[u8], most: u64) -> &[u8] {
    usize::try_from(most).ok().and_then(|most| bytes.get(..most)).unwrap_or(bytes)
}

/// What the entries claim, in their order, which is the blob's.
fn claims<'a>(entries: &'a [TocEntry], problems: &mut Problems) -> Vec<Claim<'a>> {
    let mut all = Vec::new();
    for file in entries.chunk_by(|_, next| next.kind == "chunk") {
        let Some(head) = file.first().filter(|head| head.kind == "reg" && head.size != 0) else { continue };
        let size = u64::try_from(head.size).unwrap_or(0);
        let mut covered = 0u64;
        let start = all.len();
        for (index, entry) in file.iter().enumerate() {
            let last = index + 1 == file.len();
            // One chunk needs no length, and stargz-snapshotter leaves it out of the last one.
            let rest = size.saturating_sub(covered);
            let len = if last && (entry.chunk_size == 0 || index == 0) { rest } else { entry.chunk_size };
            if entry.chunk_offset != covered || len == 0 || len > rest {
                break;
            }
            covered += len;
            all.push(Claim {
                name: &head.name,
                offset: entry.offset,
                skip: entry.inner_offset,
                len,
                digest: if last && index == 0 && entry.chunk_digest.is_empty() {
                    &head.digest
                } else {
                    &entry.chunk_digest
                },
                file: last.then_some(head.digest.as_str()),
            });
        }
        if covered != size || size == 0 {
            all.truncate(start);
            problems.add(format!("{:?}: its chunks do not make up its size", head.name));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, offset: u64, content: &[u8]) -> TocEntry {
        let size = i64::try_from(content.len()).unwrap();
        let digest = Digest::of(content).to_string();
        let (kind, name) = ("reg".to_owned(), name.to_owned());
        TocEntry { kind, name, offset, size, digest, ..TocEntry::default() }
    }

    fn chunk(offset: u64, chunk_offset: u64, chunk_size: u64, content: &[u8]) -> TocEntry {
        let chunk_digest = Digest::of(content).to_string();
        let kind = "chunk".to_owned();
        TocEntry { kind, offset, chunk_offset, chunk_size, chunk_digest, ..TocEntry::default() }
    }

    /// Frames with their offsets; gives files and chunks checked, and problems.
    fn walk(entries: &[TocEntry], frames: &[(u64, &[u8])]) -> (u64, u64, Vec<String>) {
        let mut problems = Problems::default();
        let mut claims = Claims::new(entries, &mut problems);
        for (offset, content) in frames {
            claims.frame(*offset, &mut problems);
            for piece in content.chunks(3) {
                claims.feed(piece, &mut problems);
            }
        }
        claims.finish(&mut problems);
        (claims.files, claims.chunks, problems.finish())
    }

    #[test]
    fn files_are_found_where_their_frames_begin() {
        let cut = TocEntry {
            chunk_size: 4,
            chunk_digest: Digest::of(b"abcd").to_string(),
            ..file("cut", 20, b"abcdefg")
        };
        let entries = [
            file("whole", 10, b"hello world"),
            cut,
            chunk(30, 4, 0, b"efg"),
            file("inside", 40, b"one"),
            TocEntry { inner_offset: 5, ..file("inside too", 40, b"two") },
            file("long", 60, b"of two frames"),
        ];
        let frames: [(u64, &[u8]); 7] = [
            (0, b"header"),
            (10, b"hello world, padding"),
            (20, b"abcd"),
            (30, b"efg and a header"),
            (40, b"one, two, more"),
            (60, b"of two "),
            (70, b"frames"),
        ];
        assert_eq!(walk(&entries, &frames), (5, 6, Vec::new()));
        let mut changed = frames;
        changed[2].1 = b"abcD";
        let (files, _, problems) = walk(&entries, &changed);
        assert_eq!((files, problems.len()), (5, 2), "the chunk and the file: {problems:?}");
        // A frame is missing, one is too short, the content ends.
        for (left_out, name) in [(1, "whole"), (2, "cut"), (6, "long")] {
            let mut fewer = frames.to_vec();
            fewer.remove(left_out);
            let (files, _, problems) = walk(&entries, &fewer);
            assert_eq!(files, 4);
            assert_eq!(problems, [format!("{name:?} is not where the TOC says")]);
        }
    }

    #[test]
    fn chunks_that_do_not_fit_are_told() {
        for second in [chunk(30, 3, 3, b"efg"), chunk(30, 4, 4, b"efgh"), chunk(30, 4, 2, b"ef")] {
            let entries = [TocEntry { chunk_size: 4, ..file("cut", 20, b"abcdefg") }, second];
            let (files, chunks, problems) = walk(&entries, &[(20, b"abcdefg")]);
            assert_eq!((files, chunks, problems.len()), (0, 0, 1));
        }
        let negative = TocEntry { size: -1, ..file("negative", 20, b"") };
        assert_eq!(walk(&[negative], &[]).2.len(), 1);
    }
}

//! The chunks of a file with their digests, as a writer of the format would describe them.

use chunked_core::{Digest, Hasher};

use crate::cutter::{Cut, Cutter};
use crate::options::Cuts;

/// A part of a file between two cuts that is not a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Digest of its content.
    pub digest: Digest,
}

/// Cuts one file and hashes its chunks, fed in any pieces. Holes are left out.
#[derive(Debug)]
pub struct Chunker {
    cutter: Cutter,
    open: Open,
    /// Bytes taken.
    taken: u64,
    cuts: Vec<Cut>,
}

/// The open chunk.
#[derive(Debug)]
struct Open {
    hasher: Hasher,
    start: u64,
    /// How far it is hashed. What was taken after it are zeros, of a hole perhaps.
    hashed: u64,
}

impl Chunker {
    /// At the start of a file.
    pub fn new(cuts: Cuts) -> Self {
        let open = Open { hasher: Hasher::new(), start: 0, hashed: 0 };
        Self { cutter: Cutter::new(cuts), open, taken: 0, cuts: Vec::new() }
    }

    /// Takes the next bytes of the file and tells the chunks that are now certain, in order.
    pub fn feed(&mut self, bytes: &[u8], mut chunk: impl FnMut(Chunk)) {
        self.cutter.feed(bytes, |cut| self.cuts.push(cut));
        for cut in self.cuts.drain(..) {
            self.open.cut(cut, self.taken, bytes).into_iter().for_each(&mut chunk);
        }
        if !self.cutter.in_hole() {
            self.open.hash_to(self.cutter.settled(), self.taken, bytes);
        }
        self.taken += bytes.len() as u64;
    }

    /// Tells the chunks that the end of the file decides. The only one of a file may be the whole of it.
    pub fn finish(mut self, mut chunk: impl FnMut(Chunk)) {
        self.cutter.finish(|cut| self.cuts.push(cut));
        for cut in self.cuts {
            self.open.cut(cut, self.taken, &[]).into_iter().for_each(&mut chunk);
        }
    }
}

impl Open {
    /// Ends the chunk. `bytes` are at `from` in the file, all before them was taken earlier.
    fn cut(&mut self, cut: Cut, from: u64, bytes: &[u8]) -> Option<Chunk> {
        let chunk = if cut.zeros {
            self.hashed = cut.at;
            None
        } else {
            self.hash_to(cut.at, from, bytes);
            let digest = std::mem::replace(&mut self.hasher, Hasher::new()).finish();
            Some(Chunk { offset: self.start, len: cut.at - self.start, digest })
        };
        self.start = cut.at;
        chunk
    }

    fn hash_to(&mut self, end: u64, from: u64, bytes: &[u8]) {
        let held = end.min(from).saturating_sub(self.hashed);
        if held > 0 {
            self.hasher.update_zeros(held);
            self.hashed += held;
        }
        let place = |at: u64| usize::try_from(at.saturating_sub(from)).unwrap_or(usize::MAX);
        if let Some(bytes) = bytes.get(place(self.hashed)..place(end)) {
            self.hasher.update(bytes);
            self.hashed += bytes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn in_pieces(bytes: &[u8], cuts: Cuts, piece: usize) -> Vec<Chunk> {
        let mut chunker = Chunker::new(cuts);
        let mut found = Vec::new();
        bytes.chunks(piece).for_each(|piece| chunker.feed(piece, |chunk| found.push(chunk)));
        chunker.finish(|chunk| found.push(chunk));
        found
    }

    /// The cutter's cuts, each chunk hashed from the file.
    fn whole(bytes: &[u8], cuts: Cuts) -> Vec<Chunk> {
        let (mut cutter, mut ends) = (Cutter::new(cuts), Vec::new());
        cutter.feed(bytes, |cut| ends.push(cut));
        cutter.finish(|cut| ends.push(cut));
        let mut start = 0;
        let mut found = Vec::new();
        for end in ends {
            let content = &bytes[usize::try_from(start).unwrap()..usize::try_from(end.at).unwrap()];
            if end.zeros {
                assert!(content.iter().all(|byte| *byte == 0));
            } else {
                found.push(Chunk { offset: start, len: end.at - start, digest: Digest::of(content) });
            }
            start = end.at;
        }
        found
    }

    fn noise(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let step = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()[5]
        };
        std::iter::repeat_with(step).take(len).collect()
    }

    #[test]
    fn nothing_and_holes_alone_have_no_chunks() {
        assert_eq!(in_pieces(&[], Cuts::Compatible, 7), []);
        assert_eq!(in_pieces(&[0; 5000], Cuts::Compatible, 7), []);
        let few = Chunk { offset: 0, len: 1023, digest: Digest::of(&[0; 1023]) };
        assert_eq!(in_pieces(&[0; 1023], Cuts::Compatible, 7), [few]);
    }

    #[test]
    fn a_long_file_has_many() {
        let bytes = noise(1, 2_000_000);
        let found = in_pieces(&bytes, Cuts::Compatible, 4096);
        assert!(found.len() > 10, "{}", found.len());
        assert_eq!(found, whole(&bytes, Cuts::Compatible));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec((any::<u64>(), 0usize..90_000, 0usize..3000), 1..8),
            piece in prop_oneof![1usize..5, 500usize..100_000],
            cuts in prop_oneof![Just(Cuts::Compatible), (1u32..20_000).prop_map(Cuts::AtLeast)],
        ) {
            let of = |(seed, data, zeros): &(u64, usize, usize)| [noise(*seed, *data), vec![0; *zeros]].concat();
            let bytes: Vec<u8> = parts.iter().flat_map(of).collect();
            prop_assert_eq!(in_pieces(&bytes, cuts, piece), whole(&bytes, cuts));
        }
    }
}

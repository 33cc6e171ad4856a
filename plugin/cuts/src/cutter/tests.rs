use proptest::prelude::*;

use super::*;

fn cuts(cuts: Cuts, pieces: &[&[u8]]) -> Vec<Cut> {
    let mut cutter = Cutter::new(cuts);
    let mut found = Vec::new();
    for piece in pieces {
        let before = cutter.settled();
        cutter.feed(piece, |cut| found.push(cut));
        assert!(cutter.settled() >= before && found.last().is_none_or(|cut| cut.at <= cutter.settled()));
    }
    let settled = cutter.settled();
    let certain = found.len();
    cutter.finish(|cut| found.push(cut));
    assert!(found.iter().skip(certain).all(|cut| cut.at >= settled));
    found
}

/// Written down from the description alone, byte by byte and with no state that could go wrong.
fn by_definition(bytes: &[u8]) -> Vec<Cut> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    let (mut a, mut b) = (1984u32, 124_992u32);
    let byte_at = |index: usize| u32::from(bytes[index]);
    let roll = |index: usize, a: &mut u32, b: &mut u32| {
        let dropped = index.checked_sub(64).map_or(0, byte_at);
        *a = a.wrapping_add(byte_at(index)).wrapping_sub(dropped);
        *b = b.wrapping_add(*a).wrapping_sub(64 * (dropped + 31));
    };
    let cut = |at: usize, zeros| Cut { at: at as u64, zeros };
    while at < bytes.len() {
        let zeros = bytes[at..].iter().take_while(|byte| **byte == 0).count();
        if zeros >= 1024 {
            if at > start {
                found.push(cut(at, false));
            }
            for index in at..at + zeros {
                roll(index, &mut a, &mut b);
            }
            at += zeros;
            start = at;
            found.push(cut(at, true));
            continue;
        }
        for _ in 0..zeros.max(1) {
            roll(at, &mut a, &mut b);
            at += 1;
            if b & 0xffff == 0xffff {
                start = at;
                found.push(cut(at, false));
            }
        }
    }
    if at > start {
        found.push(cut(at, false));
    }
    found
}

/// Bytes with many cuts: a xorshift generator and runs of zeros.
fn noise(mut seed: u64, len: usize, holes: &[(usize, usize)]) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed.to_le_bytes()[0]
        })
        .collect();
    for (at, run) in holes {
        let at = *at % (len + 1);
        let end = len.min(at + run);
        bytes[at..end].fill(0);
    }
    bytes
}

#[test]
fn holes_are_1024_zeros() {
    let data = |n: usize| vec![7u8; n];
    let zeros = |n: usize| vec![0u8; n];
    let plain = Cuts::Compatible;
    assert_eq!(cuts(plain, &[]), []);
    let end = |at| Cut { at, zeros: false };
    let hole = |at| Cut { at, zeros: true };
    assert_eq!(cuts(plain, &[&data(10), &zeros(1023), &data(1)]), [end(1034)]);
    assert_eq!(cuts(plain, &[&data(10), &zeros(1024), &data(1)]), [end(10), hole(1034), end(1035)]);
    assert_eq!(cuts(plain, &[&zeros(1000), &zeros(24)]), [hole(1024)]);
    assert_eq!(cuts(plain, &[&zeros(1023)]), [end(1023)]);
    assert_eq!(cuts(plain, &[&zeros(5000), &data(3)]), [hole(5000), end(5003)]);
}

#[test]
fn a_minimum_leaves_no_short_chunk_but_before_a_hole_and_at_the_end() {
    let bytes = noise(99, 4 << 20, &[(1 << 20, 3000), (2 << 20, 100_000)]);
    let all = cuts(Cuts::Compatible, &[&bytes]);
    let least = 8192;
    let found = cuts(Cuts::AtLeast(8192), &[&bytes]);
    assert!(found.len() < all.len() && found.len() > 20, "{} of {}", found.len(), all.len());
    let mut start = 0;
    for (index, cut) in found.iter().enumerate() {
        let hole_follows = found.get(index + 1).is_none_or(|next| next.zeros);
        assert!(cut.at - start >= least || hole_follows, "{cut:?}");
        start = cut.at;
    }
    assert_eq!(found.iter().filter(|cut| cut.zeros).count(), 1);
    assert_eq!(cuts(Cuts::AtLeast(0), &[&bytes]), all);
}

proptest! {
    #[test]
    fn as_defined_whatever_the_pieces(
        seed in 1u64..,
        len in 0usize..400_000,
        holes in prop::collection::vec((0usize..400_000, 0usize..3000), 0..6),
        splits in prop::collection::vec(0usize..400_000, 0..6),
    ) {
        let bytes = noise(seed, len, &holes);
        let expected = by_definition(&bytes);
        prop_assert_eq!(&cuts(Cuts::Compatible, &[&bytes]), &expected);
        let mut splits: Vec<_> = splits.into_iter().map(|at| at.min(len)).collect();
        splits.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for at in splits {
            pieces.push(&bytes[from..at]);
            from = at;
        }
        pieces.push(&bytes[from..]);
        prop_assert_eq!(&cuts(Cuts::Compatible, &pieces), &expected);
    }

    /// The cuts that only zeros of less than a hole decide.
    #[test]
    fn cuts_among_few_zeros(seed in 1u64.., runs in prop::collection::vec((1usize..200, 900usize..1100), 1..60)) {
        let mut bytes = Vec::new();
        for (index, (data, zeros)) in runs.into_iter().enumerate() {
            bytes.extend(noise(seed.wrapping_add(index as u64).max(1), data, &[]));
            bytes.resize(bytes.len() + zeros, 0);
        }
        prop_assert_eq!(cuts(Cuts::Compatible, &[&bytes]), by_definition(&bytes));
    }
}

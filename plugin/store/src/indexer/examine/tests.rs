use std::time::Duration;

use chunked_core::Digest;

use crate::testing::{Temporary, problems};
use crate::{Flavour, LayerPin, NewChunk, NewFile, NewLayer, Store, Usage};

const HALF: usize = 40_000;

fn bytes(n: u8) -> Vec<u8> {
    let mut state = u64::from(n) + 1;
    let step = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[5]
    };
    std::iter::repeat_with(step).take(2 * HALF).collect()
}

fn wanted(content: &[u8]) -> [(Digest, u64); 1] {
    [(Digest::of(content), content.len() as u64)]
}

/// A file in two pieces, said to have the digest of `claimed`; `whole`: its digest was computed, its pieces' were not.
fn listed(path: &str, content: &[u8], claimed: &[u8], whole: bool) -> (NewFile, [NewChunk; 2]) {
    let size = content.len() as u64;
    let file = NewFile { path: path.into(), digest: Digest::of(claimed), size, proven: whole };
    let chunk = |from: usize| NewChunk {
        digest: Digest::of(&content[from..from + HALF]),
        size: HALF as u64,
        path: path.into(),
        offset: from as u64,
        proven: !whole,
    };
    (file, [chunk(0), chunk(HALF)])
}

/// A layer by ranges: `right` is what its TOC says, `lie` is said to be [`bytes`] 9, and of `donor`, which came from
/// another layer, the TOC named a chunk wrongly.
fn layer(store: &Store) -> LayerPin {
    let staging = store.stage().unwrap();
    for (path, n) in [("right", 1), ("lie", 2), ("donor", 3)] {
        std::fs::write(staging.fs().join(path), bytes(n)).unwrap();
    }
    let (right, of_right) = listed("right", &bytes(1), &bytes(1), false);
    let (lie, of_lie) = listed("lie", &bytes(2), &bytes(9), false);
    let (donor, mut of_donor) = listed("donor", &bytes(3), &bytes(3), true);
    of_donor[1].digest = Digest::of(&bytes(9)[..HALF]);
    let new = NewLayer {
        diff_id: Digest::of(b"layer"),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage::default(),
        files: vec![right, lie, donor],
        chunks: Some([of_right, of_lie, of_donor].concat()),
        origin: None,
    };
    store.commit_layer(staging, new).unwrap()
}

/// Whether somebody proved the file that is found.
fn proven(store: &Store, content: &[u8]) -> Option<bool> {
    store.lookup(&wanted(content))[0].as_ref().map(|donor| donor.proven)
}

#[test]
fn what_a_toc_says_is_proven_in_the_background_or_corrected() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    drop(layer(&store));
    assert_eq!([1, 9, 2, 3].map(|n| proven(&store, &bytes(n))), [Some(false), Some(false), None, Some(true)]);
    assert_eq!(problems(&store), 0, "a lie is no damage");
    let lie = &bytes(9)[..HALF];
    assert!(store.lookup_chunks(&wanted(lie))[0].is_some());
    assert_eq!(store.complete_index().unwrap(), 1);
    assert_eq!([1, 9, 2, 3].map(|n| proven(&store, &bytes(n))), [Some(true), None, Some(true), Some(true)]);
    assert!(store.lookup_chunks(&wanted(lie))[0].is_none());
    assert!(store.lookup_chunks(&wanted(&bytes(3)[..HALF]))[0].is_some(), "the right chunk of the same file");
    assert_eq!((store.complete_index().unwrap(), problems(&store)), (0, 0));
    // For good: also when the index is lost.
    drop(store);
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = std::fs::remove_file(temp.dir.path().join(name));
    }
    let store = temp.open_with(Duration::MAX);
    store.complete_index().unwrap();
    assert_eq!([1, 9, 2, 3].map(|n| proven(&store, &bytes(n))), [Some(true), None, Some(true), Some(true)]);
}

#[test]
fn a_refuted_donor_is_forgotten_until_somebody_read_it() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let pin = layer(&store);
    store.refute(pin.id(), b"lie");
    assert_eq!([1, 9, 2, 3].map(|n| proven(&store, &bytes(n))), [None, None, None, Some(true)]);
    assert_eq!(problems(&store), 0);
    assert!(store.lookup_chunks(&wanted(&bytes(2)[..HALF]))[0].is_some(), "its pieces were hashed");
    assert_eq!(store.complete_index().unwrap(), 1);
    let known = [Some(true), None, Some(true), Some(true)];
    assert_eq!([1, 9, 2, 3].map(|n| proven(&store, &bytes(n))), known);
    // Whoever planned before that tells of it now.
    store.refute(pin.id(), b"lie");
    assert_eq!([1, 9, 2, 3].map(|n| proven(&store, &bytes(n))), known);
    // A proven one that is refuted is damaged, and goes alone.
    std::fs::write(pin.fs().join("lie"), b"short").unwrap();
    store.refute(pin.id(), b"lie");
    store.refute(pin.id(), b"none");
    assert_eq!([1, 9, 2, 3].map(|n| proven(&store, &bytes(n))), [Some(true), None, None, Some(true)]);
}

#[test]
fn damage_is_not_taken_for_a_lie() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let pin = layer(&store);
    let mut damaged = bytes(1);
    damaged[HALF + 7] ^= 1;
    std::fs::write(pin.fs().join("right"), &damaged).unwrap();
    assert_eq!(problems(&store), 1);
    assert_eq!(store.complete_index().unwrap(), 0, "it is not done");
    assert_eq!([1, 9, 2, 3].map(|n| proven(&store, &bytes(n))), [Some(false), None, Some(true), Some(true)]);
    assert_eq!(proven(&store, &damaged), None);
    assert_eq!(problems(&store), 1, "and found again");
}

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use chunked_core::Digest;
use chunked_cuts::{Chunk, Chunker, Cuts};

use crate::list::{self, LARGE};
use crate::testing::{Temporary, adopt, create, problems};
use crate::{Flavour, Kind, Labels, LayerPin, NewFile, NewLayer, Store, Usage};

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let step = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_le_bytes()[5]
    };
    std::iter::repeat_with(step).take(len).collect()
}

/// With a hole, and an end that no cut makes.
fn large(seed: u64) -> Vec<u8> {
    [noise(seed, 400_000), vec![0; 70_000], noise(seed + 1, 300_000)].concat()
}

fn chunks_of(bytes: &[u8]) -> Vec<Chunk> {
    let (mut chunker, mut found) = (Chunker::new(Cuts::Compatible), Vec::new());
    chunker.feed(bytes, |chunk| found.push(chunk));
    chunker.finish(|chunk| found.push(chunk));
    found
}

/// A layer that came without a TOC: `f` has this content, and there is a small file.
fn plain(store: &Store, name: &str, content: &[u8]) -> LayerPin {
    let staging = store.stage().unwrap();
    let file = |path: &str, content: &[u8]| {
        std::fs::write(staging.fs().join(path), content).unwrap();
        NewFile { path: path.into(), digest: Digest::of(content), size: content.len() as u64, proven: true }
    };
    let files = vec![file("f", content), file("same", content), file("small", &noise(9, 5000))];
    let new = NewLayer {
        diff_id: Digest::of(name.as_bytes()),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage::default(),
        files,
        chunks: None,
        origin: None,
    };
    store.commit_layer(staging, new).unwrap()
}

/// Whether all chunks are found, or none; where they are said to be, they are.
fn found(store: &Store, bytes: &[u8]) -> bool {
    let chunks = chunks_of(bytes);
    assert!(chunks.len() > 4, "{}", chunks.len());
    let wanted: Vec<_> = chunks.iter().map(|chunk| (chunk.digest, chunk.len)).collect();
    let donors = store.lookup_chunks(&wanted);
    for (donor, (digest, len)) in donors.iter().zip(&wanted) {
        let Some(donor) = donor else { continue };
        let path = donor.donor.root.join(std::str::from_utf8(&donor.donor.path).unwrap());
        let content = std::fs::read(path).unwrap();
        let from = usize::try_from(donor.offset).unwrap();
        assert_eq!(Digest::of(&content[from..from + usize::try_from(*len).unwrap()]), *digest);
    }
    let there = donors.iter().flatten().count();
    assert!(there == 0 || there == chunks.len(), "{there} of {}", chunks.len());
    there > 0
}

#[test]
fn large_files_of_a_plain_layer_are_cut_once() {
    let temp = Temporary::new();
    let bytes = large(1);
    let mut store = temp.open();
    let pin = plain(&store, "a", &bytes);
    assert!(!found(&store, &bytes), "a pull does not wait for it");
    assert_eq!(store.complete_index().unwrap(), 1);
    assert!(found(&store, &bytes));
    let counts = store.counts().unwrap();
    assert_eq!((counts.indexed_files, counts.indexed_chunks), (3, chunks_of(&bytes).len() as u64));
    // Nothing is done twice, not after a restart either: the tree need not even be there.
    std::fs::rename(pin.fs(), pin.fs().with_extension("away")).unwrap();
    drop((pin, store));
    store = temp.open_with(Duration::MAX);
    assert_eq!(store.complete_index().unwrap(), 0);
    // A lost index comes back from the list alone.
    drop(store);
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = std::fs::remove_file(temp.dir.path().join(name));
    }
    store = temp.open_with(Duration::MAX);
    assert_eq!(store.complete_index().unwrap(), 1);
    assert_eq!(store.counts().unwrap().indexed_chunks, counts.indexed_chunks);
}

#[test]
fn layers_with_nothing_large_or_with_a_toc_are_left_alone() {
    let temp = Temporary::new();
    let store = temp.open();
    plain(&store, "small", &noise(1, usize::try_from(LARGE).unwrap()));
    assert_eq!(store.complete_index().unwrap(), 0);
    assert_eq!(store.counts().unwrap().indexed_chunks, 0);
}

#[test]
fn what_a_crash_left_is_done_again() {
    let temp = Temporary::new();
    let bytes = large(2);
    let store = temp.open();
    let pin = plain(&store, "a", &bytes);
    let dir = pin.fs().parent().unwrap().to_owned();
    // While the new list was written.
    std::fs::write(dir.join("files.new"), "half of a").unwrap();
    drop((pin, store));
    let store = temp.open_with(Duration::MAX);
    assert_eq!(store.complete_index().unwrap(), 1);
    assert!(found(&store, &bytes) && !dir.join("files.new").exists());
    // Between list and index: the list is new, the index does not know.
    let index = store.inner.layout.root().join("index.db");
    let db = rusqlite::Connection::open(index).unwrap();
    db.execute_batch("DELETE FROM chunks; UPDATE layers SET chunks = 0, cut = 0").unwrap();
    assert!(!found(&store, &bytes));
    assert_eq!(problems(&store), 0, "that is no damage");
    assert_eq!(store.complete_index().unwrap(), 1);
    assert!(found(&store, &bytes));
    assert_eq!(problems(&store), 0);
}

#[test]
fn a_list_of_the_first_version_is_replaced() {
    let temp = Temporary::new();
    let bytes = large(3);
    let store = temp.open();
    let pin = plain(&store, "a", &bytes);
    let path = pin.fs().with_file_name(list::NAME);
    let mut old = b"chunked-files-1\n".to_vec();
    for (_, file) in list::List::read(path.parent().unwrap()).unwrap().files() {
        old.extend(file.digest.as_bytes());
        old.extend(file.size.to_le_bytes());
        old.extend(u16::try_from(file.path.len()).unwrap().to_le_bytes());
        old.extend(&file.path);
    }
    old.extend(*Digest::of(&old).as_bytes());
    store.inner.index.remove(pin.id().get(), path.parent().unwrap());
    std::fs::write(&path, old).unwrap();
    assert_eq!(store.complete_index().unwrap(), 2);
    assert!(found(&store, &bytes));
    assert!(store.lookup(&[(Digest::of(&bytes), bytes.len() as u64)])[0].is_some());
    assert_eq!(problems(&store), 0);
}

#[test]
fn snapshots_that_containerd_committed_are_cut_and_removed() {
    let temp = Temporary::new();
    let store = temp.open();
    let bytes = large(4);
    let active = create(&store, Kind::Active, "active", None).unwrap();
    File::create(active.fs.join("f")).unwrap().write_all(&bytes).unwrap();
    store.commit("c", "active", &Labels::new(), None).unwrap();
    assert_eq!(store.complete_index().unwrap(), 1);
    assert!(found(&store, &bytes));
    store.remove("c").unwrap();
    assert!(!found(&store, &bytes));
    store.cleanup().unwrap();
    assert_eq!(store.counts().unwrap().indexed_chunks, 0);
}

#[test]
fn an_evicted_layer_leaves_nothing() {
    let temp = Temporary::new();
    let store = temp.open();
    let bytes = large(5);
    drop(plain(&store, "a", &bytes));
    assert_eq!(store.complete_index().unwrap(), 1);
    store.cleanup().unwrap();
    assert!(!found(&store, &bytes));
    assert_eq!(store.counts().unwrap().indexed_chunks, 0);
    let index = store.inner.layout.root().join("index.db");
    let db = rusqlite::Connection::open(index).unwrap();
    assert_eq!(db.query_row("SELECT count(*) FROM chunks", [], |row| row.get::<_, u64>(0)).unwrap(), 0);
}

#[test]
fn the_thread_cuts_what_was_just_committed() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let indexer = store.start_indexer().unwrap();
    let bytes = large(6);
    let pin = plain(&store, "a", &bytes);
    adopt(&store, &pin, "a", None);
    let started = Instant::now();
    while !found(&store, &bytes) {
        assert!(started.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(indexer);
}

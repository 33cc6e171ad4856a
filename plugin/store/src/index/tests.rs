use std::time::{Duration, Instant};

use super::*;

fn file(n: u32, path: &str) -> NewFile {
    NewFile { path: path.as_bytes().to_vec(), digest: Digest::of(&n.to_le_bytes()), size: u64::from(n) }
}

#[test]
fn hits_are_exact_and_only_in_known_layers() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.db"));
    index.insert(1, &[file(5, "a"), file(5, "b"), file(6, "c")]);
    index.insert(2, &[file(5, "z")]);
    let five = Digest::of(&5u32.to_le_bytes());
    let wanted = [(five, 5), (five, 6), (five, u64::MAX), (Digest::of(b"other"), 5)];
    let both = HashSet::from([1, 2]);
    assert_eq!(index.lookup(&wanted, &both), [Some((1, b"a".to_vec())), None, None, None]);
    let only_two = HashSet::from([2]);
    assert_eq!(index.lookup(&wanted[..1], &only_two), [Some((2, b"z".to_vec()))]);
    index.remove(&only_two);
    assert_eq!(index.lookup(&wanted[..1], &only_two), [None]);
    assert_eq!(index.lookup(&[], &both), []);
}

#[test]
fn fifty_thousand_look_ups_take_well_under_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index.db"));
    let files: Vec<NewFile> =
        (0..50_000).map(|n| file(n, &format!("usr/share/some/directory/{n}"))).collect();
    for layer in 0..4 {
        index.insert(layer, &files);
    }
    let wanted: Vec<(Digest, u64)> = files.iter().map(|file| (file.digest, file.size)).collect();
    let started = Instant::now();
    let hits = index.lookup(&wanted, &HashSet::from([3]));
    assert!(hits.iter().all(Option::is_some));
    // Some 0.2 s on the slowest machine seen; the bound leaves room for a busy one.
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn an_older_index_is_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.db");
    Index::open(&path).insert(1, &[file(5, "a")]);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", VERSION - 1).unwrap();
    let index = Index::open(&path);
    assert_eq!(index.lookup(&[(Digest::of(&5u32.to_le_bytes()), 5)], &HashSet::from([1])), [None]);
}

use std::fs;

use super::*;
use crate::store::{Store, StoreOptions};

fn open(root: &Path) -> Store {
    Store::open_with(root, StoreOptions { sync: false, ..StoreOptions::default() }).unwrap()
}

fn names(path: &Path) -> usize {
    fs::read_dir(path).unwrap().count()
}

#[test]
fn what_a_killed_daemon_leaves_is_found_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let (layer, other) = (Digest::of(b"layer"), Digest::of(b"other"));
    let store = open(&root);
    let staging = store.stage_resumable(layer).unwrap();
    fs::write(staging.fs().join("file"), b"content").unwrap();
    // Begun, and nothing in it yet; and one that nobody will want again.
    let (empty, plain) = (store.stage_resumable(layer).unwrap(), store.stage().unwrap());
    fs::write(plain.fs().join("file"), b"content").unwrap();
    // As a kill leaves them: what dropping would move is out of the way meanwhile.
    let aside = dir.path().join("aside");
    let places = [staging.dir().to_owned(), empty.dir().to_owned(), plain.dir().to_owned()];
    fs::create_dir(&aside).unwrap();
    let away = |place: &Path| aside.join(place.file_name().unwrap());
    places.iter().for_each(|place| fs::rename(place, away(place)).unwrap());
    drop((staging, empty, plain, store));
    places.iter().for_each(|place| fs::rename(away(place), place).unwrap());
    let store = open(&root);
    assert_eq!(names(&root.join("staging")), 0);
    let found = store.partials(&layer);
    assert_eq!(found.len(), 1);
    assert_eq!(fs::read(found[0].fs.join("file")).unwrap(), b"content");
    assert!(store.partials(&other).is_empty());
    assert_eq!(store.drop_partials(Some(&other)).unwrap(), 0);
    assert_eq!(store.drop_partials(Some(&layer)).unwrap(), 1);
    assert_eq!(names(&root.join("partial")), 0);
}

#[test]
fn dropped_trees_are_kept_unless_they_are_spoilt() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let layer = Digest::of(b"layer");
    for (spoil, kept) in [(false, 1), (true, 1)] {
        let mut staging = store.stage_resumable(layer).unwrap();
        fs::write(staging.fs().join("file"), b"content").unwrap();
        if spoil {
            staging.spoil();
        }
        drop(staging);
        assert_eq!(store.partials(&layer).len(), kept);
    }
    assert_eq!(names(&dir.path().join("staging")), 0);
}

#[test]
fn number_and_age_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for n in 0..20_u8 {
        let staging = store.stage_resumable(Digest::of(&[n])).unwrap();
        fs::write(staging.fs().join("file"), b"content").unwrap();
    }
    assert_eq!(names(&dir.path().join("partial")), MAX_COUNT);
    let old = SystemTime::now() - MAX_AGE - Duration::from_secs(60);
    for tree in list(&store.inner.layout).unwrap().iter().skip(1) {
        File::options().append(true).open(tree.dir.join(MARKER)).unwrap().set_modified(old).unwrap();
    }
    // What is not ours goes, too.
    fs::create_dir(dir.path().join("partial/stranger")).unwrap();
    trim(&store.inner.layout).unwrap();
    assert_eq!(names(&dir.path().join("partial")), 1);
    assert_eq!(store.drop_partials(None).unwrap(), 1);
}

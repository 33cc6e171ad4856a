use std::time::Duration;

use chunked_core::Digest;

use crate::testing::{Temporary, adopt, content, layer, size_of_a_layer};
use crate::{Cleaned, Flavour, Usage};

#[test]
fn unused_layers_go_but_not_while_pinned_or_used() {
    let temp = Temporary::new();
    let store = temp.open();
    let (pinned, used) = (layer(&store, "pinned", &[]), layer(&store, "used", &[]));
    let snapshot = adopt(&store, &used, "used", None);
    drop(used);
    let wanted = [(Digest::of(&content("pinned")), content("pinned").len() as u64)];
    let copy = pinned.clone();
    drop(pinned);
    assert_eq!(store.cleanup().unwrap(), Cleaned::default());
    assert_eq!(store.lookup(&wanted)[0].as_ref().unwrap().layer, copy.id());
    let fs = copy.fs();
    drop(copy);
    let Usage { bytes, inodes } = size_of_a_layer();
    let cleaned = Cleaned { layers: 1, bytes, inodes, directories: 1, ..Cleaned::default() };
    assert_eq!((inodes, store.cleanup().unwrap()), (4, cleaned));
    assert!(!fs.exists());
    assert!(store.lookup(&wanted)[0].is_none());
    assert!(store.layer(&Digest::of(b"pinned"), Flavour::Base).unwrap().is_none());
    store.remove(&snapshot.name).unwrap();
    assert!(
        store.layer(&Digest::of(b"used"), Flavour::Base).unwrap().is_some(),
        "a removed snapshot's layer is kept"
    );
    assert_eq!(store.cleanup().unwrap().layers, 1);
}

#[test]
fn grace_counts_from_the_last_use() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::from_secs(3600));
    let snapshot = adopt(&store, &layer(&store, "l", &[]), "l", None);
    let db = rusqlite::Connection::open(temp.dir.path().join("state.db")).unwrap();
    db.execute("UPDATE layers SET used = 1", []).unwrap();
    drop(db);
    store.remove(&snapshot.name).unwrap();
    assert_eq!(store.cleanup().unwrap().layers, 0, "removed just now, though made long ago");
    drop(store);
    assert_eq!(temp.open().cleanup().unwrap().layers, 1);
}

#[test]
fn an_unfinished_layer_leaves_nothing() {
    let temp = Temporary::new();
    let store = temp.open();
    let staging = store.stage().unwrap();
    std::fs::create_dir(staging.fs().join("d")).unwrap();
    drop(staging);
    for name in ["staging", "trash"] {
        assert_eq!(std::fs::read_dir(temp.dir.path().join(name)).unwrap().count(), 0, "{name}");
    }
}

#[test]
fn a_layer_committed_twice_is_one() {
    let temp = Temporary::new();
    let store = temp.open();
    let (first, second) = std::thread::scope(|scope| {
        let jobs = [scope.spawn(|| layer(&store, "l", &[])), scope.spawn(|| layer(&store, "l", &[]))];
        let [a, b] = jobs.map(|job| job.join().unwrap());
        (a, b)
    });
    assert_eq!(first.id(), second.id());
    assert_eq!(layer(&store, "l", &[]).id(), first.id());
    assert_eq!(std::fs::read_dir(temp.dir.path().join("snapshots")).unwrap().count(), 1);
}

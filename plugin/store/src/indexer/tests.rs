use std::time::{Duration, Instant};

use chunked_core::Digest;

use crate::testing::{Temporary, adopt, content, create, layer};
use crate::{Kind, Labels, Origins, Store};

/// A snapshot as `nerdctl commit` makes it: prepared, filled, committed, never a layer of ours.
fn committed(store: &Store, name: &str) -> std::path::PathBuf {
    let active = create(store, Kind::Active, &format!("{name} active"), None).unwrap();
    std::fs::create_dir(active.fs.join("d")).unwrap();
    std::fs::write(active.fs.join("d/f"), content(name)).unwrap();
    std::fs::write(active.fs.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", active.fs.join("link")).unwrap();
    store.commit(name, &format!("{name} active"), &Labels::new(), None).unwrap();
    active.fs
}

fn found(store: &Store, name: &str) -> Option<crate::Donor> {
    let wanted = [(Digest::of(&content(name)), content(name).len() as u64)];
    assert_eq!(store.lookup_within(&wanted, &Origins::Only(["x".to_owned()].into()))[0], None);
    store.lookup(&wanted)[0].clone()
}

#[test]
fn snapshots_that_containerd_committed_are_donors_until_they_are_removed() {
    let temp = Temporary::new();
    let mut store = temp.open();
    let fs = committed(&store, "c");
    assert_eq!(found(&store, "c"), None);
    assert_eq!(store.complete_index().unwrap(), 1);
    assert_eq!(store.complete_index().unwrap(), 0);
    let donor = found(&store, "c").unwrap();
    assert_eq!((donor.root.join("d/f"), donor.may_link), (fs.join("d/f"), false));
    drop(store);
    store = temp.open();
    assert!(found(&store, "c").is_some(), "known at once after a restart");
    assert_eq!(store.counts().unwrap().indexed_files, 1);
    store.remove("c").unwrap();
    assert_eq!(found(&store, "c"), None);
    store.cleanup().unwrap();
    assert_eq!(store.counts().unwrap().indexed_files, 0);
    assert_eq!(store.complete_index().unwrap(), 0);
}

#[test]
fn the_thread_finds_work_when_told_and_after_a_restart() {
    let temp = Temporary::new();
    let store = temp.open();
    committed(&store, "before");
    let until = |store: &Store, name: &str| {
        let started = Instant::now();
        while found(store, name).is_none() {
            assert!(started.elapsed() < Duration::from_secs(60), "{name}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let indexer = store.start_indexer().unwrap();
    until(&store, "before");
    committed(&store, "after");
    until(&store, "after");
    drop(indexer);
}

#[test]
fn a_lost_index_is_filled_in_the_background() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let pulled = layer(&store, "pulled", &[]);
    adopt(&store, &pulled, "pulled", None);
    committed(&store, "c");
    drop((pulled, store));
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = std::fs::remove_file(temp.dir.path().join(name));
    }
    let store = temp.open_with(Duration::MAX);
    assert_eq!(found(&store, "pulled"), None);
    assert_eq!(store.complete_index().unwrap(), 2);
    assert!(found(&store, "pulled").unwrap().may_link);
    assert!(found(&store, "c").is_some());
    // A broken list: this layer gives nothing, the others do.
    let donor = found(&store, "pulled").unwrap();
    std::fs::write(donor.root.parent().unwrap().join("files"), "x").unwrap();
    assert_eq!(found(&store, "pulled"), None);
}

use std::path::PathBuf;
use std::time::Duration;

use chunked_core::Digest;

use crate::testing::{Temporary, adopt, content, create, layer};
use crate::{Adoption, ErrorKind, Flavour, Kind, Labels, Store, StoreError};

fn path(temp: &Temporary, name: &str) -> PathBuf {
    temp.dir.path().join(name)
}

fn list(temp: &Temporary, name: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(path(temp, name))
        .map(|entries| entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect())
        .unwrap_or_default();
    names.sort();
    names
}

fn forget_layers(temp: &Temporary) {
    let db = rusqlite::Connection::open(path(temp, "state.db")).unwrap();
    db.execute_batch("PRAGMA foreign_keys = off; DELETE FROM layers").unwrap();
}

fn wanted(name: &str) -> [(Digest, u64); 1] {
    [(Digest::of(&content(name)), content(name).len() as u64)]
}

#[test]
fn directories_without_a_row_and_staging_leftovers_are_swept() {
    let temp = Temporary::new();
    let kept = create(&temp.open(), Kind::Active, "kept", None).unwrap();
    for name in ["snapshots/900/fs/sub", "snapshots/new-x", "snapshots/007", "staging/901/fs"] {
        std::fs::create_dir_all(path(&temp, name)).unwrap();
    }
    let store = temp.open();
    assert_eq!(list(&temp, "snapshots"), [kept.fs.parent().unwrap().file_name().unwrap().to_str().unwrap()]);
    assert!(list(&temp, "staging").is_empty());
    assert_eq!(list(&temp, "trash").len(), 4);
    assert_eq!(store.cleanup().unwrap().directories, 4);
    assert!(list(&temp, "trash").is_empty());
    let next = create(&store, Kind::Active, "next", None).unwrap();
    let id: u64 = next.fs.parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    assert!(id > 900, "ids of swept directories are not used again: {id}");
}

#[test]
fn a_lost_row_of_a_layer_is_written_again() {
    let temp = Temporary::new();
    let diff_id = Digest::of(b"l");
    let id = layer(&temp.open(), "l", &["opt"]).id();
    forget_layers(&temp);
    let store = temp.open_with(Duration::from_secs(60));
    let found = store.layer(&diff_id, Flavour::Base).unwrap().unwrap();
    assert_eq!(found.id(), id);
    assert!(store.lookup(&wanted("l"))[0].is_some());
    // The row came back once: a second directory of the same layer is rubbish.
    let source = found.fs().parent().unwrap().to_owned();
    drop((found, store));
    std::fs::create_dir(path(&temp, "snapshots/950")).unwrap();
    std::fs::copy(source.join("layer.json"), path(&temp, "snapshots/950/layer.json")).unwrap();
    temp.open();
    assert_eq!(list(&temp, "trash"), ["950"]);
}

#[test]
fn a_lost_database_costs_no_layer_and_no_running_container() {
    let temp = Temporary::new();
    let store = temp.open();
    layer(&store, "l", &[]);
    let active = create(&store, Kind::Active, "container", None).unwrap();
    let id = active.fs.parent().unwrap().file_name().unwrap().to_owned();
    drop(store);
    for name in ["state.db", "state.db-wal", "state.db-shm", "index.db"] {
        drop(std::fs::remove_file(path(&temp, name)));
    }
    let store = temp.open();
    assert!(store.layer(&Digest::of(b"l"), Flavour::Upper).unwrap().is_some());
    store.complete_index().unwrap();
    assert!(store.lookup(&wanted("l"))[0].is_some(), "the index is built from the layers' lists");
    assert!(path(&temp, "orphans").join(id).join("fs").exists());
    store.cleanup().unwrap();
    assert_eq!(list(&temp, "orphans").len(), 1);
}

#[test]
fn a_missing_directory_is_reported_and_repaired_by_pulling_again() {
    let temp = Temporary::new();
    let store = temp.open();
    let base = adopt(&store, &layer(&store, "base", &[]), "base", None);
    let top = adopt(&store, &layer(&store, "top", &[]), "top", Some(&base));
    drop(store);
    std::fs::remove_dir_all(path(&temp, &format!("snapshots/{}", base.dir))).unwrap();

    let store = temp.open();
    assert_eq!(store.snapshot(&base.name).unwrap(), base, "containerd still knows it");
    let error = create(&store, Kind::Active, "c", Some(&top.name)).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.to_string().contains("pull the image again"), "{error}");
    assert!(store.adopted(&base.name, None).unwrap().is_none(), "not offered as ready");
    assert!(store.layer(&Digest::of(b"base"), Flavour::Base).unwrap().is_none());

    layer(&store, "base", &[]);
    create(&store, Kind::Active, "c", Some(&top.name)).unwrap();
    assert!(store.adopted(&base.name, None).unwrap().is_some());
}

#[test]
fn an_adoption_repairs_a_damaged_ordinary_snapshot() {
    let temp = Temporary::new();
    let store = temp.open();
    let active = create(&store, Kind::Active, "k", None).unwrap();
    let target = Digest::of(b"base").to_string();
    let labels = crate::testing::labels(&[("containerd.io/snapshot.ref", &target)]);
    store.commit("ns/1/base", "k", &labels, None).unwrap();
    drop(store);
    std::fs::remove_dir_all(active.fs.parent().unwrap()).unwrap();
    let store = temp.open();
    let pin = layer(&store, "base", &[]);
    let adoption = Adoption { target: &target, parent: None, labels: &Labels::new() };
    assert_eq!(store.adopt(&pin, &adoption).unwrap().name, "ns/1/base");
    create(&store, Kind::Active, "c", Some("ns/1/base")).unwrap();
}

#[test]
fn a_broken_index_is_replaced() {
    let temp = Temporary::new();
    layer(&temp.open(), "l", &[]);
    for name in ["index.db-wal", "index.db-shm"] {
        drop(std::fs::remove_file(path(&temp, name)));
    }
    std::fs::write(path(&temp, "index.db"), vec![0x55; 20_000]).unwrap();
    let store = temp.open_with(Duration::from_secs(60));
    store.complete_index().unwrap();
    assert!(store.lookup(&wanted("l"))[0].is_some());
}

#[test]
fn one_daemon_per_root_and_no_root_that_mount_options_cannot_hold() {
    let temp = Temporary::new();
    let store = temp.open();
    assert!(matches!(Store::open(temp.dir.path()), Err(StoreError::Busy { .. })));
    drop(store);
    temp.open();
    for name in ["a:b", "a,b", "a\\b"] {
        let error = Store::open(&path(&temp, name)).unwrap_err();
        assert!(matches!(error, StoreError::Root { .. }), "{error}");
    }
}

#[test]
fn a_damaged_database_is_put_aside_and_costs_no_layer() {
    for damage in ["all of it", "a page in the middle", "cut off"] {
        let temp = Temporary::new();
        let store = temp.open_with(Duration::MAX);
        let pin = layer(&store, "l", &[]);
        let snapshot = adopt(&store, &pin, "l", None);
        let container = create(&store, Kind::Active, "container", Some(&snapshot.name)).unwrap();
        std::fs::write(container.fs.join("written"), "by a container").unwrap();
        drop((pin, store));
        let file = path(&temp, "state.db");
        let mut bytes = std::fs::read(&file).unwrap();
        match damage {
            "all of it" => bytes.fill(7),
            "cut off" => bytes.truncate(bytes.len() / 2),
            _ => bytes[4096..3 * 4096].fill(0xff),
        }
        std::fs::write(&file, &bytes).unwrap();
        for name in ["state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(path(&temp, name));
        }
        let store = temp.open_with(Duration::MAX);
        assert!(store.layer(&Digest::of(b"l"), Flavour::Base).unwrap().is_some(), "{damage}");
        assert_eq!(store.snapshots().unwrap(), [], "{damage}");
        assert_eq!(std::fs::read(path(&temp, "state-damaged.db")).unwrap(), bytes, "{damage}: kept");
        assert_eq!(list(&temp, "orphans").len(), 1, "{damage}: a container may be running on it");
    }
}

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::testing::{Temporary, create, labels};
use crate::{ErrorKind, Store};

fn mode(path: &std::path::Path) -> u32 {
    path.symlink_metadata().unwrap().mode() & 0o7777
}

fn committed(store: &Store, name: &str, parent: Option<&str>) {
    let key = format!("{name}-key");
    create(store, Kind::Active, &key, parent).unwrap();
    store.commit(name, &key, &Labels::new(), None).unwrap();
}

#[test]
fn active_to_committed_keeps_the_directory_and_drops_the_labels() {
    let temp = Temporary::new();
    let store = temp.open();
    let given = labels(&[("a", "1"), ("empty", "")]);
    let new =
        NewSnapshot { name: "k", kind: Kind::Active, parent: None, labels: &given, owner: Some((7, 8)) };
    let active = store.create(&new).unwrap();
    assert_eq!(active.snapshot, store.snapshot("k").unwrap());
    assert_eq!(active.snapshot.labels, labels(&[("a", "1")]), "empty values are dropped");
    assert_eq!(active.snapshot.created, active.snapshot.updated);
    let meta = active.fs.metadata().unwrap();
    assert_eq!((meta.uid(), meta.gid(), mode(&active.fs)), (7, 8, 0o755));
    assert!(!active.work.exists(), "no work directory without a parent");
    store.commit("n", "k", &labels(&[("b", "2")]), None).unwrap();
    let after = store.snapshot("n").unwrap();
    assert_eq!((after.kind, &after.labels), (Kind::Committed, &labels(&[("b", "2")])));
    assert!(after.created >= active.snapshot.created);
    assert_eq!(store.snapshot("k").unwrap_err().kind(), ErrorKind::NotFound);
    let child = create(&store, Kind::Active, "child", Some("n")).unwrap();
    assert_eq!(child.parents, [active.fs]);
    assert_eq!((mode(&child.work), child.fs.metadata().unwrap().uid()), (0o711, 7));
    assert_eq!(mode(child.fs.parent().unwrap()), 0o700);
    assert_eq!(store.mount("child").unwrap(), child);
}

#[test]
fn refusals_have_the_kinds_of_the_contract() {
    let temp = Temporary::new();
    let store = temp.open();
    committed(&store, "base", None);
    create(&store, Kind::Active, "active", Some("base")).unwrap();
    create(&store, Kind::View, "view", Some("base")).unwrap();
    let kind = |result: Result<(), StoreError>| result.unwrap_err().kind();
    let new = |kind, name, parent| create(&store, kind, name, parent).map(drop);
    let commit = |name, key, parent| store.commit(name, key, &Labels::new(), parent);
    assert_eq!(kind(new(Kind::Active, "active", None)), ErrorKind::AlreadyExists);
    assert_eq!(kind(new(Kind::View, "base", None)), ErrorKind::AlreadyExists);
    assert_eq!(kind(new(Kind::Active, "x", Some("none"))), ErrorKind::NotFound);
    assert_eq!(kind(new(Kind::Active, "x", Some("active"))), ErrorKind::InvalidArgument);
    assert_eq!(kind(new(Kind::Active, "", None)), ErrorKind::InvalidArgument);
    assert_eq!(kind(commit("base", "none", None)), ErrorKind::AlreadyExists, "the name is checked first");
    assert_eq!(kind(commit("x", "none", None)), ErrorKind::NotFound);
    assert_eq!(kind(commit("x", "view", None)), ErrorKind::FailedPrecondition);
    assert_eq!(kind(commit("x", "base", None)), ErrorKind::FailedPrecondition);
    assert_eq!(kind(commit("x", "active", Some("other"))), ErrorKind::InvalidArgument);
    assert_eq!(kind(store.mount("base").map(drop)), ErrorKind::FailedPrecondition);
    assert_eq!(kind(store.mount("none").map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(store.usage("none").map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(store.update("none", LabelChange::default()).map(drop)), ErrorKind::NotFound);
    assert_eq!(kind(store.remove("none")), ErrorKind::NotFound);
    let error = store.remove("base").unwrap_err();
    assert!(error.kind() == ErrorKind::FailedPrecondition && error.to_string().contains("remove"), "{error}");
    let left: Vec<_> = std::fs::read_dir(temp.dir.path().join("snapshots")).unwrap().collect();
    assert_eq!(left.len(), 3, "refused snapshots leave no directory");
}

#[test]
fn a_commit_may_bring_the_parent() {
    let temp = Temporary::new();
    let store = temp.open();
    committed(&store, "base", None);
    let commit = |name: &str, key: &str, parent| store.commit(name, key, &Labels::new(), Some(parent));
    create(&store, Kind::Active, "k", None).unwrap();
    create(&store, Kind::Active, "other", None).unwrap();
    assert_eq!(commit("n", "k", "none").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(commit("n", "k", "other").unwrap_err().kind(), ErrorKind::FailedPrecondition);
    commit("n", "k", "base").unwrap();
    assert_eq!(store.snapshot("n").unwrap().parent.as_deref(), Some("base"));
    create(&store, Kind::Active, "k", Some("n")).unwrap();
    commit("top", "k", "n").unwrap();
    assert_eq!(store.chain("top").unwrap().len(), 3);
}

#[test]
fn labels_change_as_asked_and_nothing_else() {
    let temp = Temporary::new();
    let store = temp.open();
    committed(&store, "s", None);
    let before = store.snapshot("s").unwrap();
    let set = labels(&[("containerd.io/snapshot.ref", "t"), ("b", "2")]);
    store.update("s", LabelChange { replace: None, set: set.clone() }).unwrap();
    assert_eq!(store.snapshots_for("t").unwrap().len(), 1);
    let change = LabelChange {
        replace: Some(labels(&[("c", "3"), ("d", "4")])),
        set: labels(&[("d", ""), ("e", "5")]),
    };
    let after = store.update("s", change).unwrap();
    assert_eq!(after, store.snapshot("s").unwrap());
    assert_eq!(after.labels, labels(&[("c", "3"), ("e", "5")]));
    assert!(store.snapshots_for("t").unwrap().is_empty());
    assert!(after.updated > before.updated);
    assert_eq!((after.created, after.kind), (before.created, before.kind));
}

#[test]
fn removed_names_are_free_again_and_cleanup_deletes_the_files() {
    let temp = Temporary::new();
    let store = temp.open();
    let first = create(&store, Kind::Active, "k", None).unwrap();
    std::fs::write(first.fs.join("f"), b"x").unwrap();
    store.remove("k").unwrap();
    assert!(!first.fs.exists());
    let second = create(&store, Kind::View, "k", None).unwrap();
    assert_ne!(first.fs, second.fs);
    store.cleanup().unwrap();
    assert_eq!(std::fs::read_dir(temp.dir.path().join("trash")).unwrap().count(), 0);
    assert!(second.fs.exists());
}

#[test]
fn usage_of_committed_is_measured_once() {
    let temp = Temporary::new();
    let store = temp.open();
    let active = create(&store, Kind::Active, "k", None).unwrap();
    let empty = store.usage("k").unwrap();
    std::fs::write(active.fs.join("f"), vec![1; 50_000]).unwrap();
    let full = store.usage("k").unwrap();
    assert!(full.bytes >= empty.bytes + 50_000 && full.inodes == empty.inodes + 1, "{full:?}");
    store.commit("n", "k", &Labels::new(), None).unwrap();
    assert_eq!(store.usage("n").unwrap(), full);
    std::fs::set_permissions(&active.fs, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(active.fs.join("g"), b"not seen any more").unwrap();
    assert_eq!(store.usage("n").unwrap(), full);
}

#[test]
fn a_removal_races_a_child_without_breaking_the_chain() {
    let temp = Temporary::new();
    let store = temp.open();
    for round in 0..50 {
        let (base, child) = (format!("base{round}"), format!("child{round}"));
        committed(&store, &base, None);
        let (made, removed) = std::thread::scope(|scope| {
            let made = scope.spawn(|| create(&store, Kind::Active, &child, Some(&base)));
            let removed = scope.spawn(|| store.remove(&base));
            (made.join().unwrap(), removed.join().unwrap())
        });
        assert!(made.is_ok() != removed.is_ok(), "one of them wins: {made:?} {removed:?}");
    }
}

#[test]
fn what_lies_below_an_opaque_root_is_not_mounted() {
    let temp = Temporary::new();
    let store = temp.open();
    committed(&store, "bottom", None);
    let middle = create(&store, Kind::Active, "middle-key", Some("bottom")).unwrap();
    chunked_linux::Dir::open(&middle.fs).unwrap().set_opaque().unwrap();
    store.commit("middle", "middle-key", &Labels::new(), None).unwrap();
    let top = create(&store, Kind::Active, "top-key", Some("middle")).unwrap();
    assert_eq!(top.parents, std::slice::from_ref(&middle.fs));
    store.commit("top", "top-key", &Labels::new(), None).unwrap();
    let view = create(&store, Kind::View, "view", Some("top")).unwrap();
    assert_eq!(view.parents, [top.fs, middle.fs.clone()]);
    let view = create(&store, Kind::View, "view of the middle", Some("middle")).unwrap();
    assert_eq!(view.parents, [middle.fs, view.fs], "not a bind mount, which would show the mark");
}

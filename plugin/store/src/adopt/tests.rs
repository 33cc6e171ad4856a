use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use chunked_core::Digest;

use super::*;
use crate::testing::{Temporary, adopt, create, labels, layer, layer_with};
use crate::{ErrorKind, NewLayer, Usage};

/// Mode, owner and seconds of the modification time.
fn look(path: &Path) -> (u32, u32, i64) {
    let meta = path.symlink_metadata().unwrap();
    (meta.mode() & 0o7777, meta.uid(), meta.mtime())
}

/// Mode and owner: the time of an implied directory is that of the unpack.
fn owned(path: &Path) -> (u32, u32) {
    let (mode, uid, _) = look(path);
    (mode, uid)
}

fn dir(path: &Path, mode: u32, uid: u32, mtime: i64) {
    std::fs::create_dir_all(path).unwrap();
    std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let time = Timespec { tv_sec: mtime, tv_nsec: 5 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
}

use rustix::fs::{Timespec, Timestamps};

#[test]
fn one_directory_serves_every_parent() {
    let temp = Temporary::new();
    let store = temp.open();
    let (a, b, top) = (layer(&store, "a", &[]), layer(&store, "b", &[]), layer(&store, "top", &[]));
    let a = adopt(&store, &a, "a", None);
    let b = adopt(&store, &b, "b", None);
    let on_a = adopt(&store, &top, "top", Some(&a));
    let on_b = adopt(&store, &top, "top", Some(&b));
    assert_ne!(on_a.name, on_b.name);
    assert_eq!(on_a.layer, on_b.layer);
    assert_eq!(on_a.kind, Kind::Committed);
    assert_eq!(store.snapshot(&on_a.name).unwrap(), on_a);
    assert_eq!(store.usage(&on_a.name).unwrap(), crate::testing::size_of_a_layer());
    let container = create(&store, Kind::Active, "c", Some(&on_a.name)).unwrap();
    assert_eq!(container.parents.len(), 2);
    assert!(container.parents[0].join("usr/bin/tool").exists());
}

#[test]
fn same_target_and_parent_is_one_snapshot_another_parent_another_name() {
    let temp = Temporary::new();
    let store = temp.open();
    let base = adopt(&store, &layer(&store, "base", &[]), "base", None);
    let top = layer(&store, "top", &[]);
    let first = adopt(&store, &top, "top", Some(&base));
    assert_eq!(adopt(&store, &top, "top", Some(&base)), first);
    assert_eq!(store.adopted(&first.name, Some(&base.name)).unwrap(), Some(first.clone()));
    assert_eq!(store.adopted(&first.name, None).unwrap(), None);
    // The same chain on another row of the parent's chain, as an ordinary extraction in another namespace
    // leaves it.
    create(&store, Kind::Active, "k", None).unwrap();
    let chain = labels(&[(SNAPSHOT_REF, base.labels[SNAPSHOT_REF].as_str())]);
    store.commit("default/1/base", "k", &chain, None).unwrap();
    let other = adopt(&store, &top, "top", Some(&store.snapshot("default/1/base").unwrap()));
    assert!(other.name.starts_with(&format!("{}#", first.name)), "{}", other.name);
    assert_eq!(other.labels[SNAPSHOT_REF], first.name);
}

#[test]
fn labels_that_mean_something_to_garbage_collection_are_not_kept() {
    let temp = Temporary::new();
    let store = temp.open();
    let base = layer(&store, "base", &[]);
    let given = labels(&[
        ("containerd.io/gc.root", "yes"),
        ("containerd.io/gc.ref.content.0", "sha256:…"),
        ("containerd.io/snapshot/x", "kept"),
        (SNAPSHOT_REF, "forged"),
    ]);
    let adoption = Adoption { target: "sha256:t", parent: None, labels: &given };
    let adopted = store.adopt(&base, &adoption).unwrap();
    assert_eq!(adopted.labels, labels(&[("containerd.io/snapshot/x", "kept"), (SNAPSHOT_REF, "sha256:t")]));
}

#[test]
fn many_adoptions_at_once_make_one_snapshot() {
    let temp = Temporary::new();
    let store = temp.open();
    let parent_layer = layer_with(&store, "base", &[], |fs| dir(&fs.join("opt"), 0o750, 9, 1000));
    let base = adopt(&store, &parent_layer, "base", None);
    let top = layer(&store, "top", &["opt"]);
    let names: Vec<String> = std::thread::scope(|scope| {
        let jobs: Vec<_> =
            (0..8).map(|_| scope.spawn(|| adopt(&store, &top, "top", Some(&base)).name)).collect();
        jobs.into_iter().map(|job| job.join().unwrap()).collect()
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
    assert_eq!(store.snapshots().unwrap().len(), 2);
}

#[test]
fn implied_directories_look_like_those_below() {
    let temp = Temporary::new();
    let store = temp.open();
    let fill = |mode, uid| {
        move |fs: &Path| {
            dir(&fs.join("srv/data"), mode, uid, 1_000_000);
            rustix::fs::setxattr(fs.join("srv/data"), "user.x", b"v", rustix::fs::XattrFlags::empty())
                .unwrap();
            rustix::fs::setxattr(fs.join("srv/data"), "trusted.x", b"v", rustix::fs::XattrFlags::empty())
                .unwrap();
            dir(&fs.join("srv"), 0o711, uid, 2_000_000);
        }
    };
    let a = adopt(&store, &layer_with(&store, "a", &[], fill(0o2770, 5)), "a", None);
    let b = adopt(&store, &layer_with(&store, "b", &[], fill(0o700, 6)), "b", None);
    let implied = ["srv", "srv/data", "srv/data/deep"];
    let top =
        layer_with(&store, "top", &implied, |fs| std::fs::write(fs.join("srv/data/deep/f"), b"f").unwrap());
    let on_a = adopt(&store, &top, "top", Some(&a));
    let fs = temp.dir.path().join("snapshots").join(on_a.dir.to_string()).join("fs");
    assert_eq!(fs, top.fs().canonicalize().unwrap(), "nobody used the directory yet: settled in place");
    assert_eq!(owned(&fs.join("srv")), (0o711, 5));
    assert_eq!(owned(&fs.join("srv/data")), (0o2770, 5));
    assert_eq!(owned(&fs.join("srv/data/deep")), (0o755, 0));
    let group = |path: &Path| path.symlink_metadata().unwrap().gid();
    assert_eq!(group(&fs.join("srv/data/deep")), 5, "of a parent with the setgid bit");
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(fs.join("srv/data"), "user.x", &mut value).unwrap(), 1);
    assert!(rustix::fs::getxattr(fs.join("srv/data"), "trusted.x", &mut value).is_err());

    let on_b = adopt(&store, &top, "top", Some(&b));
    assert_ne!(on_b.dir, on_a.dir, "other attributes need another directory");
    let twin = temp.dir.path().join("snapshots").join(on_b.dir.to_string()).join("fs");
    assert_eq!(owned(&twin.join("srv/data")), (0o700, 6));
    assert_eq!(group(&twin.join("srv/data/deep")), 0);
    assert_eq!(owned(&fs.join("srv/data")), (0o2770, 5), "the first is untouched");
    let inode = |fs: &Path| fs.join("srv/data/deep/f").symlink_metadata().unwrap().ino();
    assert_eq!(inode(&twin), inode(&fs), "files are shared");
    // The same attributes on another parent row: the twin serves again.
    let again = adopt(&store, &layer_with(&store, "c", &[], fill(0o700, 6)), "c", None);
    assert_eq!(adopt(&store, &top, "top", Some(&again)).dir, on_b.dir);
    // On nothing that has the paths: defaults.
    let bare = adopt(&store, &layer(&store, "bare", &[]), "bare", None);
    let on_bare = adopt(&store, &top, "top", Some(&bare));
    let fs = temp.dir.path().join("snapshots").join(on_bare.dir.to_string()).join("fs");
    assert_eq!(owned(&fs.join("srv/data")), (0o755, 0));
    assert!(rustix::fs::getxattr(fs.join("srv/data"), "user.x", &mut value).is_err());
}

#[test]
fn a_settled_directory_is_never_settled_again() {
    let temp = Temporary::new();
    let store = temp.open();
    let base = |store: &Store, name: &str, uid| {
        let fill = move |fs: &Path| dir(&fs.join("opt"), 0o755, uid, 3000);
        adopt(store, &layer_with(store, name, &[], fill), name, None)
    };
    let (a, b) = (base(&store, "a", 1), base(&store, "b", 2));
    let top = layer(&store, "top", &["opt"]);
    let on_a = adopt(&store, &top, "top", Some(&a));
    store.remove(&on_a.name).unwrap();
    let on_b = adopt(&store, &top, "top", Some(&b));
    assert_ne!(on_b.dir, top.id().get(), "another adoption may be about to use it");
    let on_a = adopt(&store, &top, "top", Some(&a));
    assert_eq!(on_a.dir, top.id().get());
    let opt = top.fs().join("opt");
    drop((top, store));
    // A row written again from its marker does not know what was settled, but the directory is in use.
    let db = rusqlite::Connection::open(temp.dir.path().join("state.db")).unwrap();
    db.execute_batch("PRAGMA foreign_keys = off; DELETE FROM layers").unwrap();
    drop(db);
    let store = temp.open();
    let c = base(&store, "c", 3);
    let top = store.layer(&chunked_core::Digest::of(b"top"), Flavour::Upper).unwrap().unwrap();
    let on_c = adopt(&store, &top, "top", Some(&c));
    assert!(on_c.dir != on_a.dir && on_c.dir != on_b.dir);
    assert_eq!(owned(&opt), (0o755, 1));
}

#[test]
fn a_twin_is_the_same_tree() {
    let temp = Temporary::new();
    let store = temp.open();
    let base = |name: &str, uid| {
        let fill = move |fs: &Path| dir(&fs.join("opt"), 0o755, uid, 3000);
        adopt(&store, &layer_with(&store, name, &[], fill), name, None)
    };
    let (a, b) = (base("a", 1), base("b", 2));
    let top = layer_with(&store, "top", &["opt"], |fs| {
        symlink("/etc/passwd", fs.join("opt/link")).unwrap();
        dir(&fs.join("opt/own"), 0o1777, 44, 4000);
        rustix::fs::setxattr(
            fs.join("opt/own"),
            "trusted.overlay.opaque",
            b"y",
            rustix::fs::XattrFlags::empty(),
        )
        .unwrap();
        let device = rustix::fs::makedev(0, 0);
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::empty());
        rustix::fs::mknodat(rustix::fs::CWD, fs.join("opt/gone"), kind, mode, device).unwrap();
        dir(fs, 0o555, 3, 9999);
    });
    adopt(&store, &top, "top", Some(&a));
    let twin = adopt(&store, &top, "top", Some(&b));
    let fs = temp.dir.path().join("snapshots").join(twin.dir.to_string()).join("fs");
    assert_eq!(look(&fs), (0o555, 3, 9999));
    assert_eq!(look(&fs.join("opt/own")), (0o1777, 44, 4000));
    let mut value = [0; 8];
    let opaque = rustix::fs::getxattr(fs.join("opt/own"), "trusted.overlay.opaque", &mut value);
    assert_eq!(opaque.unwrap(), 1);
    assert_eq!(std::fs::read_link(fs.join("opt/link")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(fs.join("opt/gone").symlink_metadata().unwrap().rdev(), 0);
    // The twin is a donor of its own, and survives a restart.
    drop((top, store));
    let store = temp.open();
    let wanted = crate::testing::content("top");
    let digest = chunked_core::Digest::of(&wanted);
    assert!(store.lookup(&[(digest, wanted.len() as u64)])[0].is_some());
    assert_eq!(store.snapshot(&twin.name).unwrap(), twin);
}

#[test]
fn links_in_lower_layers_do_not_lead_out_of_them() {
    let temp = Temporary::new();
    let store = temp.open();
    let outside = tempfile::tempdir().unwrap();
    dir(outside.path(), 0o777, 77, 1);
    let base = layer_with(&store, "base", &[], |fs| {
        symlink(outside.path(), fs.join("abs")).unwrap();
        symlink("../../../../../../../../etc", fs.join("up")).unwrap();
        dir(&fs.join("etc"), 0o711, 11, 11);
        symlink("/etc", fs.join("inside")).unwrap();
        std::fs::write(fs.join("file"), b"").unwrap();
        symlink("loop", fs.join("loop")).unwrap();
    });
    let base = adopt(&store, &base, "base", None);
    let implied = ["abs", "file", "file/sub", "inside", "loop", "up"];
    let top = adopt(&store, &layer(&store, "top", &implied), "top", Some(&base));
    let fs = temp.dir.path().join("snapshots").join(top.dir.to_string()).join("fs");
    let seen = |name: &str| owned(&fs.join(name));
    assert_eq!(seen("abs"), (0o755, 0), "an absolute link means the layer's root");
    assert_eq!(seen("up"), (0o711, 11));
    assert_eq!(seen("inside"), (0o711, 11));
    for name in ["file", "file/sub", "loop"] {
        assert_eq!(seen(name), (0o755, 0), "{name}");
    }
}

#[test]
fn a_whiteout_ends_the_search() {
    let temp = Temporary::new();
    let store = temp.open();
    let bottom = layer_with(&store, "bottom", &[], |fs| dir(&fs.join("opt"), 0o700, 9, 9));
    let bottom = adopt(&store, &bottom, "bottom", None);
    let middle = layer_with(&store, "middle", &[], |fs| {
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, fs.join("opt"), kind, rustix::fs::Mode::empty(), 0).unwrap();
    });
    let middle = adopt(&store, &middle, "middle", Some(&bottom));
    let top = adopt(&store, &layer(&store, "top", &["opt", "opt/sub"]), "top", Some(&middle));
    let fs = temp.dir.path().join("snapshots").join(top.dir.to_string()).join("fs");
    assert_eq!(owned(&fs.join("opt")), (0o755, 0));
}

#[test]
fn flavours_are_not_mixed_up() {
    let temp = Temporary::new();
    let store = temp.open();
    let base = adopt(&store, &layer(&store, "base", &[]), "base", None);
    let diff_id = chunked_core::Digest::of(b"w");
    let commit = |flavour| {
        let new = NewLayer {
            diff_id,
            flavour,
            has_whiteouts: true,
            implied: Vec::new(),
            shared: Usage::default(),
            files: Vec::new(),
            chunks: Some(Vec::new()),
            origin: None,
        };
        store.commit_layer(store.stage().unwrap(), new).unwrap()
    };
    let lower = commit(Flavour::Base);
    assert!(store.layer(&diff_id, Flavour::Upper).unwrap().is_none());
    let upper = commit(Flavour::Upper);
    assert_ne!(lower.id(), upper.id());
    let adoption = Adoption { target: "t", parent: Some(&base.name), labels: &Labels::new() };
    assert_eq!(store.adopt(&lower, &adoption).unwrap_err().kind(), ErrorKind::InvalidArgument);
    store.adopt(&upper, &adoption).unwrap();
}

#[test]
fn a_layer_that_is_in_the_chain_twice_is_mounted_once() {
    let temp = Temporary::new();
    let store = temp.open();
    let (a, b) = (layer(&store, "a", &[]), layer(&store, "b", &[]));
    let low = adopt(&store, &a, "a", None);
    let middle = adopt(&store, &b, "b", Some(&low));
    let same = adopt(&store, &a, "a", Some(&middle));
    let top = adopt(&store, &a, "a", Some(&same));
    assert_eq!((low.dir, low.layer), (top.dir, top.layer));
    let container = create(&store, Kind::Active, "c", Some(&top.name)).unwrap();
    assert_eq!(container.parents, [a.fs(), b.fs()]);
    let view = create(&store, Kind::View, "v", Some(&adopt(&store, &a, "a", Some(&low)).name)).unwrap();
    assert_eq!(view.parents, [a.fs()]);
}

#[test]
fn a_chain_is_adopted_again_after_its_rows_were_lost() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let names = ["base", "middle", "top"];
    let pins = names.map(|name| layer(&store, name, &[]));
    let mut chain: Vec<crate::ChainLayer> = Vec::new();
    let mut parent = None;
    for (name, pin) in names.iter().zip(&pins) {
        parent = Some(adopt(&store, pin, name, parent.as_ref()));
        let chain_id = parent.as_ref().unwrap().labels[SNAPSHOT_REF].parse().unwrap();
        chain.push(crate::ChainLayer { diff_id: Digest::of(name.as_bytes()), chain_id });
    }
    let before = store.snapshots().unwrap();
    drop((pins, store));
    let lose = |store: Store| {
        drop(store);
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(temp.dir.path().join(name));
        }
        temp.open_with(Duration::MAX)
    };
    let store = lose(temp.open_with(Duration::MAX));
    assert!(store.has_lost_state() && store.snapshots().unwrap().is_empty());
    let top = before[2].name.clone();
    assert_eq!(store.adopt_again(&top, &chain).unwrap(), None);
    let same = |a: &Snapshot, b: &Snapshot| (&a.name, &a.parent, a.layer) == (&b.name, &b.parent, b.layer);
    let after = store.snapshots().unwrap();
    assert!(after.len() == 3 && after.iter().zip(&before).all(|(a, b)| same(a, b)), "{after:?} {before:?}");
    assert_eq!(store.adopt_again(&top, &chain).unwrap(), None, "asked twice");
    // A name that containerd's own unpacking gave.
    assert_eq!(store.adopt_again("k8s.io/7/middle", &chain[..2]).unwrap(), None);
    let middle = store.snapshot("k8s.io/7/middle").unwrap();
    assert_eq!((middle.parent.as_ref(), middle.layer), (Some(&before[0].name), before[1].layer));
    create(&store, Kind::Active, "container", Some("k8s.io/7/middle")).unwrap();
    assert_eq!(store.snapshots().unwrap().len(), 5);
    // A layer that is not here.
    std::fs::remove_dir_all(temp.dir.path().join(format!("snapshots/{}", before[1].layer.unwrap()))).unwrap();
    let store = lose(store);
    assert_eq!(store.adopt_again(&top, &chain).unwrap(), Some(Digest::of(b"middle")));
    assert!(store.snapshots().unwrap().is_empty(), "nothing is made by halves");
    drop(store);
    assert!(!temp.open_with(Duration::MAX).has_lost_state(), "it is lost once");
}

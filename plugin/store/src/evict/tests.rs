use super::*;
use crate::testing::{Temporary, adopt, layer, size_of_a_layer};

fn ages(list: &[(u64, u64)]) -> Vec<Unused> {
    // Times 0, 1, 2, … and 10 inodes each.
    let one = |(n, (id, bytes)): (usize, &(u64, u64))| Unused {
        id: *id,
        bytes: *bytes,
        inodes: 10,
        used: i64::try_from(n).unwrap(),
        damaged: false,
    };
    list.iter().enumerate().map(one).collect()
}

fn keep(bytes: u64, inodes: u64) -> Keep {
    Keep { min_age: Duration::ZERO, bytes, inodes, free_percent: 0 }
}

#[test]
fn least_recently_used_go_until_the_rest_fits() {
    let unused = ages(&[(1, 100), (2, 200), (3, 300)]);
    let ids =
        |keep: &Keep, now| -> Vec<u64> { choose(&unused, keep, now).iter().map(|layer| layer.id).collect() };
    assert_eq!(ids(&keep(600, 30), 9), [0u64; 0]);
    assert_eq!(ids(&keep(599, 30), 9), [1]);
    assert_eq!(ids(&keep(400, 30), 9), [1, 2]);
    assert_eq!(ids(&keep(600, 29), 9), [1]);
    assert_eq!(ids(&keep(0, 0), 9), [1, 2, 3]);
    assert_eq!(ids(&keep(0, 0), 1), [1, 2], "the third is from the future");
    assert_eq!(ids(&Keep { min_age: Duration::from_nanos(8), ..keep(0, 0) }, 9), [1, 2]);
    assert_eq!(ids(&Keep { min_age: Duration::MAX, ..keep(0, 0) }, 9), [0u64; 0]);
}

#[test]
fn kept_layers_are_donors_are_adopted_again_and_never_listed() {
    let (temp, size) = (Temporary::new(), size_of_a_layer());
    let store = temp.open_keeping(keep(2 * size.bytes, 1000));
    let names = ["a", "b", "c"];
    let snapshots = names.map(|name| adopt(&store, &layer(&store, name, &[]), name, None));
    for snapshot in &snapshots {
        store.remove(&snapshot.name).unwrap();
    }
    assert_eq!(store.snapshots().unwrap(), []);
    let found = |store: &Store, name: &str| {
        store.layer(&chunked_core::Digest::of(name.as_bytes()), crate::Flavour::Base).unwrap()
    };
    // A donor counts as used: `a` was the oldest.
    drop(store.pin(snapshots[0].layer.unwrap()).unwrap());
    assert_eq!(store.cleanup().unwrap().layers, 1);
    assert!(found(&store, "a").is_some() && found(&store, "b").is_none());
    let again = adopt(&store, &found(&store, "c").unwrap(), "c", None);
    assert_eq!(again.layer, snapshots[2].layer);
    assert_eq!(store.prune(Prune::To(size.bytes)).unwrap().layers, 0);
    let pin = found(&store, "a").unwrap();
    assert_eq!(store.prune(Prune::All).unwrap().layers, 0, "pinned and used ones stay");
    drop(pin);
    let promised = store.reclaimable().unwrap();
    assert!(
        promised.bytes >= size.bytes && promised.inodes > size.inodes,
        "the layer's marker and list go, too"
    );
    let pruned = store.prune(Prune::All).unwrap();
    let freed = (pruned.layers, pruned.bytes, pruned.inodes, pruned.directories);
    assert_eq!(freed, (1, promised.bytes, promised.inodes, 1));
    assert!(found(&store, "a").is_none() && found(&store, "c").is_some());
}

#[test]
fn nothing_young_goes_without_being_told_to() {
    let temp = Temporary::new();
    let store = temp.open_keeping(Keep { min_age: Duration::from_secs(3600), ..keep(0, 0) });
    drop(layer(&store, "a", &[]));
    assert_eq!(store.cleanup().unwrap().layers, 0);
    assert_eq!(store.prune(Prune::Quota).unwrap().layers, 0);
    assert_eq!(store.prune(Prune::To(size_of_a_layer().bytes - 1)).unwrap().layers, 1);
}

#[test]
fn everything_unused_goes_when_something_could_not_be_written() {
    let temp = Temporary::new();
    let keep =
        Keep { min_age: Duration::from_secs(3600), bytes: u64::MAX, inodes: u64::MAX, free_percent: 0 };
    let store = temp.open_keeping(keep);
    assert!(!store.make_room().unwrap(), "nothing is there to drop");
    let used = adopt(&store, &layer(&store, "used", &[]), "used", None);
    let gone = adopt(&store, &layer(&store, "gone", &[]), "gone", None);
    store.remove(&gone.name).unwrap();
    let staging = store.stage_resumable(chunked_core::Digest::of(b"partial")).unwrap();
    std::fs::write(staging.fs().join("file"), vec![1; 100_000]).unwrap();
    drop(staging);
    let counts = store.counts().unwrap();
    assert_eq!((counts.unused_layers, counts.partial.number, counts.trash.number), (1, 1, 0));
    assert!(counts.partial.usage.bytes >= 100_000 && counts.partial.usage.inodes >= 3);
    drop(layer(&store, "just made", &[]));
    assert_eq!(store.cleanup().unwrap().layers, 0);
    assert!(store.make_room().unwrap());
    let left: Vec<_> =
        store.layers().unwrap().into_iter().map(|layer| (layer.diff_id, layer.snapshots)).collect();
    let digest = |name: &str| chunked_core::Digest::of(name.as_bytes());
    assert_eq!(left, [(digest("used"), 1), (digest("just made"), 0)]);
    assert_eq!(store.counts().unwrap().partial.number, 0);
    assert!(!store.make_room().unwrap());
    assert!(store.snapshot(&used.name).is_ok());
}

#[test]
fn prune_all_drops_what_broken_pulls_left() {
    let temp = Temporary::new();
    let store = temp.open();
    let staging = store.stage_resumable(chunked_core::Digest::of(b"partial")).unwrap();
    std::fs::write(staging.fs().join("file"), b"x").unwrap();
    drop(staging);
    assert_eq!(store.prune(Prune::Quota).unwrap().partial, 0);
    assert_eq!(store.prune(Prune::All).unwrap().partial, 1);
    assert_eq!(std::fs::read_dir(temp.dir.path().join("partial")).unwrap().count(), 0);
}

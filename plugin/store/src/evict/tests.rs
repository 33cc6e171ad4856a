use super::*;
use crate::testing::{Temporary, adopt, layer};

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
    let ids = |keep: &Keep, now, short| -> Vec<u64> {
        choose(&unused, keep, now, short).iter().map(|layer| layer.id).collect()
    };
    let none = Short::default();
    assert_eq!(ids(&keep(600, 30), 9, none), [0u64; 0]);
    assert_eq!(ids(&keep(599, 30), 9, none), [1]);
    assert_eq!(ids(&keep(400, 30), 9, none), [1, 2]);
    assert_eq!(ids(&keep(600, 29), 9, none), [1]);
    assert_eq!(ids(&keep(0, 0), 9, none), [1, 2, 3]);
    assert_eq!(ids(&keep(0, 0), 1, none), [1, 2], "the third is from the future");
    assert_eq!(ids(&Keep { min_age: Duration::from_nanos(8), ..keep(0, 0) }, 9, none), [1, 2]);
    assert_eq!(ids(&Keep { min_age: Duration::MAX, ..keep(0, 0) }, 9, none), [0u64; 0]);
    assert_eq!(ids(&keep(600, 30), 9, Short { bytes: 101, inodes: 0 }), [1, 2], "the filesystem is full");
    assert_eq!(ids(&keep(600, 30), 9, Short { bytes: 0, inodes: 21 }), [1, 2, 3]);
    assert_eq!(ids(&keep(600, 30), 9, Short { bytes: u64::MAX, inodes: 0 }), [1, 2, 3]);
}

#[test]
fn kept_layers_are_donors_are_adopted_again_and_never_listed() {
    let temp = Temporary::new();
    let store = temp.open_keeping(keep(2 * 4096, 1000));
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
    assert_eq!(store.prune(Prune::To(4096)).unwrap().layers, 0);
    let pin = found(&store, "a").unwrap();
    assert_eq!(store.prune(Prune::All).unwrap().layers, 0, "pinned and used ones stay");
    drop(pin);
    let pruned = store.prune(Prune::All).unwrap();
    assert_eq!((pruned.layers, pruned.bytes, pruned.inodes, pruned.directories), (1, 4096, 4, 1));
    assert!(found(&store, "a").is_none() && found(&store, "c").is_some());
}

#[test]
fn nothing_young_goes_without_being_told_to() {
    let temp = Temporary::new();
    let store = temp.open_keeping(Keep { min_age: Duration::from_secs(3600), ..keep(0, 0) });
    drop(layer(&store, "a", &[]));
    assert_eq!(store.cleanup().unwrap().layers, 0);
    assert_eq!(store.prune(Prune::Quota).unwrap().layers, 0);
    assert_eq!(store.prune(Prune::To(4095)).unwrap().layers, 1);
}

use std::path::Path;
use std::time::Duration;

use chunked_core::Digest;

use crate::testing::{Temporary, adopt, content, create, layer, problems};
use crate::{Adoption, ErrorKind, Flavour, Kind, Labels, Problem, Store, Verified, VerifyOptions, Watch};

struct Texts(Vec<(String, bool)>);

impl Watch for Texts {
    fn progress(&mut self, _: &Verified) -> bool {
        true
    }

    fn problem(&mut self, problem: &Problem) -> bool {
        self.0.push((problem.text.clone(), problem.repaired));
        true
    }
}

fn repair(store: &Store) -> Vec<(String, bool)> {
    let mut texts = Texts(Vec::new());
    store.verify(VerifyOptions { contents: true, repair: true }, &mut texts).unwrap();
    texts.0
}

fn damage(fs: &Path) {
    let file = fs.join("usr/bin/tool");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(file, text.to_uppercase()).unwrap();
}

fn is_here(store: &Store, name: &str) -> bool {
    let wanted = [(Digest::of(&content(name)), content(name).len() as u64)];
    let donor = store.lookup(&wanted)[0].is_some();
    let pin = store.layer(&Digest::of(name.as_bytes()), Flavour::Base).unwrap();
    assert_eq!(donor, pin.is_some());
    donor
}

#[test]
fn a_damaged_layer_in_use_serves_its_snapshots_alone() {
    let temp = Temporary::new();
    let mut store = temp.open_with(Duration::MAX);
    let pin = layer(&store, "l", &[]);
    let bad = pin.fs();
    let old = adopt(&store, &pin, "l", None);
    create(&store, Kind::Active, "container", Some(&old.name)).unwrap();
    damage(&bad);
    assert!(is_here(&store, "l"));
    let texts = repair(&store);
    assert!(texts.len() == 1 && texts[0].0.contains("no pull reuses it") && !texts[0].1, "{texts:?}");
    assert!(!is_here(&store, "l"));
    assert!(store.pin(pin.id()).is_none());
    // A job that found it before that.
    let target = Digest::of(b"l").to_string();
    let error =
        store.adopt(&pin, &Adoption { target: &target, parent: None, labels: &Labels::new() }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
    assert!(error.to_string().contains("pull again"), "{error}");
    drop((pin, store));
    for _ in 0..2 {
        store = temp.open_with(Duration::MAX);
        store.complete_index().unwrap();
        assert!(!is_here(&store, "l"));
        assert_eq!(problems(&store), 1, "reported until it is gone");
        drop(store);
    }
    // The container goes on with what it has.
    store = temp.open_with(Duration::MAX);
    assert_eq!(store.mount("container").unwrap().parents, std::slice::from_ref(&bad));
    // The next pull brings the layer anew, as another snapshot.
    let new = adopt(&store, &layer(&store, "l", &[]), "l", None);
    assert!(new.name != old.name && new.dir != old.dir);
    assert!(is_here(&store, "l"));
    assert_eq!(store.cleanup().unwrap().layers, 0, "the bad one is in use");
    assert_eq!(store.layers().unwrap().iter().filter(|layer| layer.damaged).count(), 1);
    // When nobody has it any more, it goes at once, however young.
    store.remove("container").unwrap();
    store.remove(&old.name).unwrap();
    assert_eq!(store.cleanup().unwrap().layers, 1);
    assert!(!bad.exists() && is_here(&store, "l"));
    assert_eq!(problems(&store), 0);
}

#[test]
fn a_damaged_layer_in_use_is_not_taken_in_by_a_new_database() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let pin = layer(&store, "l", &[]);
    adopt(&store, &pin, "l", None);
    damage(&pin.fs());
    assert_eq!(repair(&store).len(), 1);
    drop((pin, store));
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(temp.dir.path().join(name));
    }
    let store = temp.open_with(Duration::MAX);
    store.complete_index().unwrap();
    assert!(!is_here(&store, "l"));
    assert_eq!(store.layers().unwrap(), []);
}

#[test]
fn a_damaged_layer_that_was_released_goes_with_the_next_repair() {
    let temp = Temporary::new();
    let store = temp.open_with(Duration::MAX);
    let pin = layer(&store, "l", &[]);
    let snapshot = adopt(&store, &pin, "l", None);
    damage(&pin.fs());
    drop(pin);
    assert_eq!(repair(&store).len(), 1);
    store.remove(&snapshot.name).unwrap();
    let texts = repair(&store);
    assert!(texts.len() == 1 && texts[0].1, "{texts:?}");
    assert_eq!(repair(&store), []);
}

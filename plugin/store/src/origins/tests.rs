use chunked_core::Digest;

use super::*;
use crate::testing::{Temporary, content, layer};
use crate::{Flavour, NewFile, NewLayer, Store, Usage};

fn only(hosts: &[&str]) -> Origins {
    Origins::Only(hosts.iter().map(|host| (*host).to_owned()).collect())
}

fn pulled(store: &Store, name: &str, origin: &str) -> crate::LayerPin {
    let text = content(name);
    let file =
        NewFile { path: b"tool".to_vec(), digest: Digest::of(&text), size: text.len() as u64, proven: true };
    let new = NewLayer {
        diff_id: Digest::of(name.as_bytes()),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage::default(),
        files: vec![file],
        chunks: Some(Vec::new()),
        origin: Some(origin.to_owned()),
    };
    store.commit_layer(store.stage().unwrap(), new).unwrap()
}

#[test]
fn look_ups_stay_in_their_origins() {
    let temporary = Temporary::new();
    let mut store = temporary.open_with(std::time::Duration::MAX);
    let wanted = |name: &str| [(Digest::of(&content(name)), content(name).len() as u64)];
    let a = pulled(&store, "a", "a.example").id();
    pulled(&store, "b", "b.example:5000");
    let local = layer(&store, "local", &[]).id();
    let found = |store: &Store, name: &str, hosts: &[&str]| {
        store.lookup_within(&wanted(name), &only(hosts))[0].is_some()
    };
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = temporary.open_with(std::time::Duration::MAX);
        }
        assert!(found(&store, "a", &["a.example"]));
        assert!(found(&store, "b", &["a.example", "b.example:5000"]));
        assert!(!found(&store, "b", &["a.example", "b.example"]));
        assert!(!found(&store, "local", &["a.example", "b.example:5000"]));
        assert!(!found(&store, "a", &[]));
        assert!(["a", "b", "local"].iter().all(|name| store.lookup(&wanted(name))[0].is_some()));
    }
    // The same layer from another registry, by both ways.
    pulled(&store, "a", "c.example");
    store.add_origin(local, "c.example").unwrap();
    store.add_origin(a, "d.example").unwrap();
    for reopened in [false, true] {
        if reopened {
            drop(store);
            store = temporary.open_with(std::time::Duration::MAX);
        }
        assert!(found(&store, "a", &["c.example"]) && found(&store, "a", &["a.example"]));
        assert!(found(&store, "local", &["c.example"]) && found(&store, "a", &["d.example"]));
        assert!(!found(&store, "b", &["c.example"]));
    }
    for bad in ["", "a b", "a\n", LOCAL, &"a".repeat(300)] {
        assert!(store.add_origin(a, bad).is_err(), "{bad:?}");
    }
}

#[test]
fn a_row_written_again_keeps_its_first_origin() {
    let temporary = Temporary::new();
    let store = temporary.open_with(std::time::Duration::MAX);
    pulled(&store, "a", "a.example");
    drop(store);
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(temporary.dir.path().join(name));
    }
    let store = temporary.open_with(std::time::Duration::MAX);
    let wanted = [(Digest::of(&content("a")), content("a").len() as u64)];
    assert!(store.lookup_within(&wanted, &only(&["a.example"]))[0].is_some());
}

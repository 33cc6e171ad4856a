use std::time::{Duration, Instant};

use chunked_store::{Flavour, NewFile, NewLayer, StoreOptions, Usage};

use super::*;
use crate::blocking::Waiting;

const FILES: u32 = 50_000;

fn key(layer: u32, file: u32) -> Key {
    (Digest::of(&(layer * FILES + file).to_le_bytes()), u64::from(1000 + file))
}

/// A layer of that many files, as far as the index is concerned.
fn fill(store: &Store, layer: u32) {
    let file = |file: u32| {
        let (digest, size) = key(layer, file);
        let path = format!("usr/lib/node_modules/package{}/dist/module{file}.js", file / 50);
        NewFile { path: path.into_bytes(), digest, size, proven: true }
    };
    let new = NewLayer {
        diff_id: Digest::of(&[1, u8::try_from(layer).unwrap()]),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage::default(),
        files: (0..FILES).map(file).collect(),
        chunks: Some(Vec::new()),
        origin: Some("registry.example".to_owned()),
    };
    drop(store.commit_layer(store.stage().unwrap(), new).unwrap());
}

/// A planning job's look-up and its claims. Only the claims are under the lock of what is in flight.
#[test]
#[allow(clippy::print_stdout, reason = "`make bench-index` shows it")]
fn fifty_thousand_files_are_looked_up_and_claimed_in_less_than_a_second() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions { sync: false, ..StoreOptions::default() };
    let store = Store::open_with(dir.path(), options).unwrap();
    (0..4).for_each(|layer| fill(&store, layer));
    let in_flight = Arc::<InFlight>::default();
    let origins = Origins::Only(["registry.example".to_owned()].into());
    let leftovers = Leftovers::default();
    // Half of them are in two of the layers, the rest is nowhere.
    let wanted: Vec<Key> =
        (0..FILES).map(|file| key(if file % 2 == 0 { file % 4 } else { 9 }, file)).collect();
    let plan = || {
        let waiting = Waiting::new();
        let sources = Sources {
            store: &store,
            host: None,
            origins: &origins,
            in_flight: &in_flight,
            who: Claimant {
                registry: "registry.example".into(),
                place: in_flight.place(),
                counters: Arc::default(),
            },
            policy: Policy::default(),
            leftovers: &leftovers,
            wanted: &waiting.wanted(),
            claims: Mutex::default(),
        };
        let started = Instant::now();
        let found = sources.lookup(&wanted);
        (started.elapsed(), found, sources.claims.into_inner())
    };
    let (first, found, claims) = plan();
    let stored = |found: &[Option<NodeDonor>]| {
        found.iter().filter(|donor| matches!(donor, Some(NodeDonor::Layer(_)))).count()
    };
    assert_eq!((stored(&found), found.iter().flatten().count()), (25_000, 25_000));
    let (second, found, _) = plan();
    let waiting = found.iter().filter(|donor| matches!(donor, Some(NodeDonor::InFlight(_)))).count();
    assert_eq!((stored(&found), waiting), (25_000, 25_000), "what the first is fetching");
    let started = Instant::now();
    drop(claims);
    let released = started.elapsed();
    println!(
        "look-up and claims of 50 000 files: {first:.1?} claiming half, {second:.1?} waiting for it; given back in {released:.1?}"
    );
    assert!(first < Duration::from_secs(1) && second < Duration::from_secs(1), "{first:?}, {second:?}");
}

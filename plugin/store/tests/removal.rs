//! Layers are made from donors, adopted, removed and evicted, all at once: no donor that is held vanishes, and in the
//! end rows, directories, lists and index agree and nothing is left over.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chunked_core::{Digest, chain_id};
use chunked_store::{
    Adoption, Flavour, Keep, Kind, Labels, LayerPin, NewFile, NewLayer, NewSnapshot, Problem, Prune, Store,
    StoreOptions, Usage, Verified, VerifyOptions, Watch,
};

const WORKERS: u64 = 4;
const ROUNDS: u64 = 100;
const LAYERS: u64 = 16;
const FILES: u64 = 24;

/// A sequence that looks random and is the same each time (Vigna, splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Watch for Problems {
    fn progress(&mut self, _: &Verified) -> bool {
        true
    }

    fn problem(&mut self, problem: &Problem) -> bool {
        self.0.push(problem.clone());
        true
    }
}

/// Neighbouring layers have most files in common.
fn text(layer: u64, file: u64) -> Vec<u8> {
    format!("file {file} as of layer {}\n", (layer + file) / 4).repeat(50).into_bytes()
}

fn diff_id(layer: u64) -> Digest {
    Digest::of(&layer.to_le_bytes())
}

/// Makes the layer, from donors where there are any. Gives how many there were.
fn build(store: &Store, layer: u64) -> (LayerPin, usize) {
    let staging = store.stage().unwrap();
    let texts: Vec<Vec<u8>> = (0..FILES).map(|file| text(layer, file)).collect();
    let wanted: Vec<(Digest, u64)> = texts.iter().map(|t| (Digest::of(t), t.len() as u64)).collect();
    let mut reused = 0;
    for ((file, text), donor) in texts.iter().enumerate().zip(store.lookup(&wanted)) {
        let to = staging.fs().join(format!("f{file}"));
        let Some((donor, pin)) = donor.and_then(|donor| Some((donor.clone(), store.pin(donor.layer)?)))
        else {
            std::fs::write(to, text).unwrap();
            continue;
        };
        // Held: whatever the others do, it is there and is what it was.
        std::thread::yield_now();
        let path = donor.root.join(String::from_utf8(donor.path).unwrap());
        if donor.may_link {
            std::fs::hard_link(&path, &to).unwrap();
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
        assert_eq!(&std::fs::read(&to).unwrap(), text);
        drop(pin);
        reused += 1;
    }
    let file = |(n, (digest, size)): (usize, &(Digest, u64))| NewFile {
        path: format!("f{n}").into_bytes(),
        digest: *digest,
        size: *size,
        proven: true,
    };
    let new = NewLayer {
        diff_id: diff_id(layer),
        flavour: Flavour::Base,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage { bytes: reused as u64 * 4096, inodes: reused as u64 },
        files: wanted.iter().enumerate().map(file).collect(),
        chunks: Some(Vec::new()),
        origin: Some("registry.example".to_owned()),
    };
    (store.commit_layer(staging, new).unwrap(), reused)
}

/// What a client does: pull a layer, run something on it, perhaps commit that, and remove it all again.
fn work(store: &Store, worker: u64, reused: &AtomicUsize, evicted: &AtomicUsize) {
    let mut dice = Dice(worker);
    let mut mine: Vec<String> = Vec::new();
    let labels = Labels::new();
    for round in 0..ROUNDS {
        let n = dice.roll(LAYERS);
        let pin = match store.layer(&diff_id(n), Flavour::Base).unwrap() {
            Some(pin) => pin,
            None => {
                let (pin, donors) = build(store, n);
                reused.fetch_add(donors, Ordering::Relaxed);
                pin
            }
        };
        // A chain of its own for each worker and round, so that none removes another's.
        let target = chain_id(Some(&diff_id(worker)), &diff_id(round << 32 | n)).to_string();
        let snapshot =
            store.adopt(&pin, &Adoption { target: &target, parent: None, labels: &labels }).unwrap();
        drop(pin);
        let key = format!("{worker}/{round}");
        let new = NewSnapshot {
            name: &key,
            kind: Kind::Active,
            parent: Some(&snapshot.name),
            labels: &labels,
            owner: None,
        };
        let container = store.create(&new).unwrap();
        assert_eq!(std::fs::read(container.parents[0].join("f3")).unwrap(), text(n, 3));
        if dice.roll(4) == 0 {
            std::fs::write(container.fs.join("f7"), text(n + 100, 7)).unwrap();
            let name = format!("{key} committed");
            store.commit(&name, &key, &labels, None).unwrap();
            store.remove(&name).unwrap();
        } else {
            store.remove(&key).unwrap();
        }
        mine.push(snapshot.name);
        while mine.len() > 3 || (!mine.is_empty() && dice.roll(2) == 0) {
            let name = mine.swap_remove(usize::try_from(dice.roll(mine.len() as u64)).unwrap());
            store.remove(&name).unwrap();
        }
        if dice.roll(4) == 0 {
            evicted.fetch_add(store.cleanup().unwrap().layers, Ordering::Relaxed);
        }
    }
    mine.iter().for_each(|name| store.remove(name).unwrap());
}

fn left(root: &Path, place: &str) -> usize {
    std::fs::read_dir(root.join(place)).unwrap().count()
}

#[test]
fn pulls_removals_and_evictions_at_once_leave_a_sound_store() {
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep { min_age: Duration::ZERO, bytes: 2 * FILES * 4096, inodes: u64::MAX, free_percent: 0 };
    let store = Store::open_with(dir.path(), StoreOptions { keep, sync: false }).unwrap();
    let indexer = store.start_indexer().unwrap();
    let (reused, evicted, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let mut dice = Dice(99);
            while !done.load(Ordering::Acquire) {
                let cleaned = match dice.roll(8) {
                    0 => store.prune(Prune::All),
                    1 => store.prune(Prune::To((FILES + 1) * 4096)),
                    _ => store.cleanup(),
                };
                evicted.fetch_add(cleaned.unwrap().layers, Ordering::Relaxed);
                if dice.roll(8) == 0 {
                    let mut problems = Problems::default();
                    store.verify(VerifyOptions::default(), &mut problems).unwrap();
                    assert_eq!(problems.0, [], "while all of it goes on");
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        let workers: Vec<_> = (0..WORKERS)
            .map(|n| {
                scope.spawn({
                    let (store, reused, evicted) = (&store, &reused, &evicted);
                    move || work(store, n, reused, evicted)
                })
            })
            .collect();
        let ended: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Release);
        collector.join().unwrap();
        ended.into_iter().for_each(|worker| worker.unwrap());
    });
    drop(indexer);
    let (reused, evicted) = (reused.into_inner(), evicted.into_inner());
    assert!(reused > 100 && evicted > 20, "the test tests something: {reused} reused, {evicted} evicted");

    let mut problems = Problems::default();
    let verified = store.verify(VerifyOptions { contents: true, repair: false }, &mut problems).unwrap();
    assert_eq!(problems.0, []);
    assert_eq!(verified.layers, store.counts().unwrap().layers);
    store.prune(Prune::All).unwrap();
    store.complete_index().unwrap();
    let counts = store.counts().unwrap();
    assert_eq!((counts.layers, counts.snapshots, counts.indexed_files), (0, 0, 0));
    for place in ["snapshots", "staging", "trash"] {
        assert_eq!(left(dir.path(), place), 0, "{place}");
    }
}

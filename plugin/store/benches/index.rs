//! What the index costs with 1 000 layers and 5 million files (as many as LAYERS and FILES say): filling it, its
//! size, the store's start-up, look-ups for a layer of 50 000 files, and removing a layer. Run by
//! `make bench-index`; prints a table and fails when a bound of the issue is broken.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark, run by hand")]

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use chunked_core::Digest;
use chunked_store::{Flavour, Keep, NewChunk, NewFile, NewLayer, Origins, Prune, Store, StoreOptions, Usage};

const WANTED: u64 = 50_000;
const LIMIT: Duration = Duration::from_secs(1);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Half of a layer's files are in other layers, too.
fn content(layer: u64, file: u64, files: u64) -> u64 {
    if file.is_multiple_of(2) { layer * files + file } else { (layer / 10) * files + file }
}

fn digest(content: u64) -> Digest {
    Digest::of(&content.to_le_bytes())
}

fn layer(store: &Store, n: u64, files: u64) {
    let file = |f: u64| NewFile {
        path: format!("usr/lib/python3/dist-packages/package{}/module{f}.py", f / 50).into_bytes(),
        digest: digest(content(n, f, files)),
        size: 1000 + f,
        proven: true,
    };
    let listed: Vec<NewFile> = (0..files).map(file).collect();
    let chunk = |f: usize| NewChunk {
        digest: digest(u64::MAX - n * files - f as u64),
        size: 10_000,
        path: listed[f].path.clone(),
        offset: 4096,
        proven: true,
    };
    let chunks = Some((0..listed.len() / 5).map(chunk).collect());
    let new = NewLayer {
        diff_id: digest(u64::MAX / 2 + n),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage::default(),
        files: listed,
        chunks,
        origin: Some(format!("registry{}.example", n % 4)),
    };
    drop(store.commit_layer(store.stage().unwrap(), new).unwrap());
}

fn open(root: &Path) -> Store {
    let keep = Keep { bytes: u64::MAX, inodes: u64::MAX, free_percent: 0, ..Keep::default() };
    Store::open_with(root, StoreOptions { keep, sync: false }).unwrap()
}

/// Has the kernel forget what it has of the index and the lists.
fn chill(root: &Path) {
    let forget = |path: &Path| {
        if let Ok(file) = File::open(path) {
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    };
    forget(&root.join("index.db"));
    for entry in std::fs::read_dir(root.join("snapshots")).unwrap() {
        forget(&entry.unwrap().path().join("files"));
    }
}

fn main() {
    let (layers, per_layer) = (number("LAYERS", 1000), number("FILES", 5_000_000) / number("LAYERS", 1000));
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut slowest = Duration::ZERO;
    let started = Instant::now();
    for n in 0..layers {
        let one = Instant::now();
        layer(&store, n, per_layer);
        slowest = slowest.max(one.elapsed());
    }
    let filled = started.elapsed();
    let counts = store.counts().unwrap();
    let millions = counts.indexed_files as f64 / 1e6;
    println!("{} layers, {millions:.2} million files, {} chunks", counts.layers, counts.indexed_chunks);
    println!(
        "commit of a layer of {per_layer} files      {:>8.1?} mean, {slowest:.1?} at most",
        filled / u32::try_from(layers).unwrap()
    );
    drop(store);
    let size = |name: &str| dir.path().join(name).metadata().map_or(0, |meta| meta.len());
    let index = size("index.db") as f64 / 1e6;
    let rows = millions + counts.indexed_chunks as f64 / 1e6;
    println!(
        "index.db                              {index:>8.1} MB, {:.1} MB per million files or chunks",
        index / rows
    );
    let lists: u64 = std::fs::read_dir(dir.path().join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().path().join("files").metadata().unwrap().len())
        .sum();
    println!(
        "lists in the layers' directories      {:>8.1} MB, {:.1} MB per million files",
        lists as f64 / 1e6,
        lists as f64 / 1e6 / millions
    );

    chill(dir.path());
    let started = Instant::now();
    let store = open(dir.path());
    let opened = started.elapsed();
    println!("start-up                              {opened:>8.1?}");

    // Half of it is there, spread over all layers.
    let wish = |n: u64| {
        let (layer, file) = (n * 7919 % layers, n * 31 % per_layer);
        let known = if n.is_multiple_of(2) { content(layer, file, per_layer) } else { u64::MAX / 3 + n };
        (digest(known), 1000 + file)
    };
    let wanted: Vec<(Digest, u64)> = (0..WANTED).map(wish).collect();
    let mut worst = Duration::ZERO;
    let mut time = |what: &str, work: &dyn Fn() -> usize| {
        let started = Instant::now();
        let hits = work();
        let took = started.elapsed();
        worst = worst.max(took);
        println!("{what:<38}{took:>8.1?}, {hits} found");
    };
    let count = |found: Vec<Option<chunked_store::Donor>>| found.iter().flatten().count();
    time("look-up of 50 000 files, cold", &|| count(store.lookup(&wanted)));
    time("look-up of 50 000 files, warm", &|| count(store.lookup(&wanted)));
    let origins = Origins::Only(["registry2.example".to_owned()].into());
    time("the same, layers of one registry", &|| count(store.lookup_within(&wanted, &origins)));
    let wish = |n: u64| {
        let (layer, chunk) = (n * 7919 % layers, n * 31 % (per_layer / 5));
        let known = u64::MAX - layer * per_layer - chunk;
        (digest(if n.is_multiple_of(2) { known } else { u64::MAX / 3 + n }), 10_000)
    };
    let chunks: Vec<(Digest, u64)> = (0..WANTED).map(wish).collect();
    time("look-up of 50 000 chunks", &|| store.lookup_chunks(&chunks).iter().flatten().count());

    let bytes = store.counts().unwrap().layer_usage.bytes;
    let started = Instant::now();
    let pruned = store.prune(Prune::To(bytes - bytes / layers * 10)).unwrap();
    println!(
        "removal of a layer                    {:>8.1?}",
        started.elapsed() / u32::try_from(pruned.layers.max(1)).unwrap()
    );
    assert!(opened < LIMIT, "start-up took {opened:?}");
    assert!(worst < LIMIT, "a look-up took {worst:?}");
}

//! What it costs to find the chunks of a plain layer's large files: MB (1 000 unless told) of random bytes in files of
//! FILE_MB (100). Run by `make bench-cuts`; prints a table.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark, run by hand")]

use std::time::{Duration, Instant};

use chunked_core::{Digest, Hasher};
use chunked_store::{Flavour, Keep, NewFile, NewLayer, Store, StoreOptions, Usage};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Time that this thread was on a processor.
fn on_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

fn main() {
    let (total, each) = (number("MB", 1000), number("FILE_MB", 100).max(1));
    let dir = tempfile::tempdir().unwrap();
    let keep = Keep { bytes: u64::MAX, inodes: u64::MAX, free_percent: 0, ..Keep::default() };
    let store = Store::open_with(dir.path(), StoreOptions { keep, sync: false }).unwrap();
    let staging = store.stage().unwrap();
    let mut state = 1u64;
    let files: Vec<NewFile> = (0..total / each)
        .map(|n| {
            let words = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state.to_le_bytes()
            });
            let bytes: Vec<u8> = words.take(usize::try_from(each * 125_000).unwrap()).flatten().collect();
            let path = format!("file{n}");
            std::fs::write(staging.fs().join(&path), &bytes).unwrap();
            let mut hasher = Hasher::new();
            hasher.update(&bytes);
            NewFile {
                path: path.into_bytes(),
                digest: hasher.finish(),
                size: bytes.len() as u64,
                proven: true,
            }
        })
        .collect();
    let gigabytes = files.iter().map(|file| file.size).sum::<u64>() as f64 / 1e9;
    let new = NewLayer {
        diff_id: Digest::of(b"cuts"),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage::default(),
        files,
        chunks: None,
        origin: None,
    };
    drop(store.commit_layer(staging, new).unwrap());
    let (started, worked) = (Instant::now(), on_cpu());
    assert_eq!(store.complete_index().unwrap(), 1);
    let (took, worked) = (started.elapsed(), on_cpu() - worked);
    let chunks = store.counts().unwrap().indexed_chunks;
    drop(store);
    let index = dir.path().join("index.db").metadata().unwrap().len();
    println!("cut {gigabytes:.2} GB into {chunks} chunks: {:.0} per GB", chunks as f64 / gigabytes);
    println!("processor time   {:.2} s per GB ({took:.1?} in all)", worked.as_secs_f64() / gigabytes);
    println!("index.db         {:.2} MB", index as f64 / 1e6);
}

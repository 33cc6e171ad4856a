//! The fuzzers' corpus, and changes of it, without a fuzzer: what `fuzz/run` does at length.
//!
//! `WRITE_SEEDS=1 cargo test --release -p chunked-format --test corpus seeds` writes the seeds anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

#[path = "../../../fuzz/src/checksums.rs"]
mod checksums;
mod common;
#[path = "../../../fuzz/src/format.rs"]
mod fuzz;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../../fuzz/src/tar.rs"]
mod tar_reader;

use std::path::PathBuf;

use common::oddities::{expressible, inexpressible};
use common::{annotations, data, options, written};
use replay::replay;

fn directory(target: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus")).join(target)
}

#[test]
fn toc() {
    replay("toc", fuzz::toc);
}

#[test]
fn tar_split() {
    replay("tar_split", fuzz::tar_split);
}

#[test]
fn footer() {
    replay("footer", fuzz::footer);
}

#[test]
fn outline() {
    replay("outline", fuzz::outline);
}

#[test]
fn frames() {
    replay("frames", fuzz::frames);
}

#[test]
fn writer() {
    replay("writer", fuzz::writer);
}

#[test]
fn tar() {
    replay("tar", tar_reader::tar);
}

/// Options of `fuzz::outline`: which generation the blob looks like.
const OUTLINES: [(&str, u8); 4] =
    [("current", 0), ("footer-alone", 0x80), ("old", 0b1_1010), ("stargz", 0b101_1010)];

/// Small inputs of every kind for the fuzzers to start from.
#[test]
fn seeds() {
    let mut seeds: Vec<(&str, String, Vec<u8>)> = Vec::new();
    for (what, tar, _) in
        expressible().into_iter().chain(inexpressible()).filter(|(_, tar, _)| tar.len() <= 8 << 10)
    {
        let name = what.replace(' ', "-");
        seeds.push(("writer", name.clone(), [&[1], tar.as_slice()].concat()));
        let (blob, written) = written(&tar, &options(3, 1));
        seeds.push(("frames", name.clone(), blob.clone()));
        if written.stats.toc_bytes == 0 {
            continue;
        }
        let annotations = annotations(&written);
        let text: Vec<_> = annotations.values().map(String::as_str).collect();
        seeds.push(("footer", format!("{name}.annotations"), text.join("\n").into_bytes()));
        seeds.push(("footer", name.clone(), blob[blob.len() - 72..].to_vec()));
        let index = common::index(&blob, annotations);
        let lines = zstd::decode_all(index.tar_split.as_slice()).unwrap();
        seeds.push(("tar_split", name.clone(), lines.clone()));
        let position = &annotations["io.github.containers.zstd-chunked.manifest-position"];
        let at: Vec<usize> = position.split(':').map(|field| field.parse().unwrap()).collect();
        let json = String::from_utf8(zstd::decode_all(&blob[at[0]..at[0] + at[1]]).unwrap()).unwrap();
        let digest = chunked_format::Digest::of(&index.tar_split).to_string();
        let json = json.replace(&digest, "DIGEST").into_bytes();
        for (kind, option) in OUTLINES {
            seeds.push((
                "outline",
                format!("{name}.{kind}"),
                [&[option], json.as_slice(), &[0], &lines].concat(),
            ));
        }
        seeds.push(("toc", name, json));
    }
    for name in ["tiny.zc", "attr.zc"] {
        seeds.push(("frames", name.to_owned(), data(name)));
    }
    if std::env::var_os("WRITE_SEEDS").is_some() {
        for (target, name, bytes) in &seeds {
            std::fs::create_dir_all(directory(target)).unwrap();
            std::fs::write(directory(target).join(name), bytes).unwrap();
        }
    }
    for (target, name, _) in seeds {
        let path = directory(target).join(name);
        assert!(path.exists(), "{} is missing: run with WRITE_SEEDS=1", path.display());
    }
}

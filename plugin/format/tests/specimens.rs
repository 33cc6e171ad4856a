//! Against blobs of the reference writer: same entries, same cuts, same tar-split.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "a test")]

mod common;

use std::collections::BTreeMap;

use chunked_format::read::{SplitItem, TarSplit};
use chunked_format::{Generation, TocEntry};
use common::{annotations, check, data, index, options, rebuild, written};

fn reference(name: &str) -> (Vec<u8>, BTreeMap<String, String>) {
    (data(&format!("{name}.zc")), serde_json::from_slice(&data(&format!("{name}.ann"))).unwrap())
}

/// Without what may differ: offsets depend on the compressor, the zone on the reference's host.
fn comparable(entries: &[TocEntry]) -> Vec<TocEntry> {
    let plain = |entry: &TocEntry| {
        let zone = |time: &Option<String>| time.as_ref().map(|time| time.replace("+00:00", "Z"));
        TocEntry {
            offset: u64::from(entry.offset > 0),
            end_offset: u64::from(entry.end_offset > 0),
            modtime: zone(&entry.modtime),
            accesstime: zone(&entry.accesstime),
            changetime: zone(&entry.changetime),
            ..entry.clone()
        }
    };
    entries.iter().map(plain).collect()
}

/// The items of a tar-split, raw bytes joined: where the padding behind the end is cut is each writer's own.
fn split(blob: &[u8], annotations: &BTreeMap<String, String>) -> Vec<SplitItem> {
    let index = index(blob, annotations);
    let mut split = TarSplit::open(&index.tar_split, index.tar_split_len).unwrap();
    let mut items: Vec<SplitItem> = Vec::new();
    while let Some(item) = split.next().unwrap() {
        match (items.last_mut(), item) {
            (Some(SplitItem::Segment(last)), SplitItem::Segment(more)) => last.extend(more),
            (_, item) => items.push(item),
        }
    }
    items
}

#[test]
fn entries_cuts_and_tar_split_are_the_references() {
    for name in ["tiny", "attr"] {
        let (blob, stated) = reference(name);
        let tar = rebuild(&blob, &stated);
        let theirs = check(&tar, &blob, &stated);
        for level in [1, 3, 10, 19] {
            let (blob, written) = written(&tar, &options(level, 2));
            let ours = check(&tar, &blob, annotations(&written));
            assert_eq!((ours.generation, theirs.generation), (Generation::F, Generation::F));
            assert_eq!(comparable(&ours.entries), comparable(&theirs.entries), "{name}");
            assert_eq!(
                split(&blob, annotations(&written)),
                split(&data(&format!("{name}.zc")), &stated),
                "{name}"
            );
        }
    }
}

/// `full.zc` is too large to keep here; its tail has the TOC and tar-split, and the tar's payloads can be had from its
/// description: random bytes aside, of which the cuts were noted.
#[test]
fn the_chunks_of_full_are_the_references() {
    let tail = data("full.tail");
    let stated: BTreeMap<String, String> = serde_json::from_slice(&data("full.ann")).unwrap();
    // The tail starts with the TOC's skippable frame; a blob of one empty frame before it leads the reader there.
    let toc: Vec<u64> = stated["io.github.containers.zstd-chunked.manifest-position"]
        .split(':')
        .map(|field| field.parse().unwrap())
        .collect();
    let compressed = &tail[8..8 + toc[1] as usize];
    let json = zstd::decode_all(compressed).unwrap();
    let theirs: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let sparse: Vec<(u64, u64, bool)> = theirs["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["name"] == "./usr/sparse")
        .map(|entry| {
            let number = |key: &str| entry[key].as_u64().unwrap_or(0);
            (number("chunkOffset"), number("chunkSize"), entry["chunkType"] == "zeros")
        })
        .collect();
    let mut content = common::noise(1, 5000);
    content.iter_mut().for_each(|byte| *byte |= 1);
    content.resize(6023, 0);
    content.extend([9; 777]);
    content.resize(content.len() + 9000, 0);
    content.extend_from_slice(b"tail");
    content.resize(content.len() + 2000, 0);
    let tar = common::oddities::Tar::default().file(b"./usr/sparse", &content).end();
    let (blob, written) = written(&tar, &options(3, 1));
    let ours: Vec<(u64, u64, bool)> = check(&tar, &blob, annotations(&written))
        .entries
        .iter()
        .map(|entry| (entry.chunk_offset, entry.chunk_size, entry.chunk_type == "zeros"))
        .collect();
    assert_eq!(ours, sparse);
}

/// What the reference corrupts or cannot pull.
#[test]
fn the_references_failures_are_plain_layers_here() {
    for name in ["nonutf8.tar", "o_psp.tar"] {
        let tar = data(name);
        let (blob, written) = written(&tar, &options(3, 1));
        assert!(!common::reason(&written).is_empty());
        assert!(zstd::decode_all(blob.as_slice()).unwrap() == tar);
    }
}

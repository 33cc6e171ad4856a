//! Any input at all: arbitrary bytes, tars with damage, blobs with damage.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::io::Cursor;

use chunked_format::{Cuts, InspectOptions, Outcome, WriteOptions, inspect};
use common::oddities::{Tar, expressible};
use common::{check, data, noise, options, written};
use proptest::prelude::*;

/// An entry of some kind.
#[derive(Debug, Clone)]
enum Part {
    File(Vec<u8>, Vec<u8>),
    Entry(Vec<u8>, u8, Vec<u8>),
    Pax(Vec<(String, Vec<u8>)>),
    Raw(Vec<u8>),
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        (any::<u64>(), 0usize..5000).prop_map(|(seed, len)| noise(seed, len)),
        (0usize..4000).prop_map(|len| vec![0; len]),
        (any::<u8>(), 0usize..3000).prop_map(|(byte, len)| vec![byte; len]),
        (any::<u64>(), 0usize..300_000).prop_map(|(seed, len)| noise(seed, len)),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn part() -> impl Strategy<Value = Part> {
    let name = || "[a-c]{1,2}(/[a-d]{1,3}){0,2}/?".prop_map(String::into_bytes);
    let key = prop::sample::select(vec![
        "path",
        "size",
        "mtime",
        "uid",
        "comment",
        "SCHILY.xattr.user.a",
        "GNU.sparse.major",
    ]);
    let value = prop_oneof![
        Just(b"12".to_vec()),
        "[ -~]{0,20}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..9)
    ];
    prop_oneof![
        8 => (name(), content()).prop_map(|(name, content)| Part::File(name, content)),
        4 => (name(), prop::sample::select(b"0123456".to_vec()), name()).prop_map(|(name, kind, link)| Part::Entry(name, kind, link)),
        1 => (name(), any::<u8>(), name()).prop_map(|(name, kind, link)| Part::Entry(name, kind, link)),
        1 => prop::collection::vec((key.prop_map(str::to_owned), value), 0..3).prop_map(Part::Pax),
        1 => prop::collection::vec(any::<u8>(), 0..600).prop_map(Part::Raw),
    ]
}

fn tar(parts: &[Part], ended: bool) -> Vec<u8> {
    let mut tar = Tar::default();
    for part in parts {
        match part {
            Part::File(name, content) => tar.file(name, content),
            Part::Entry(name, kind, link) => tar.entry(name, *kind, link),
            Part::Pax(records) => {
                let records: Vec<_> =
                    records.iter().map(|(key, value)| (key.as_str(), value.as_slice())).collect();
                tar.pax(b'x', &records)
            }
            Part::Raw(bytes) => tar.raw(bytes),
        };
    }
    if ended { tar.end() } else { tar.0 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_tar_comes_out_again(
        parts in prop::collection::vec(part(), 0..12),
        ended: bool,
        cut in prop::option::weighted(0.3, 0.0f64..1.0),
        least in prop::option::of(0u32..20_000),
        threads in 1usize..4,
    ) {
        let mut tar = tar(&parts, ended);
        if let Some(cut) = cut {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share")]
            tar.truncate((tar.len() as f64 * cut) as usize);
        }
        let cuts = least.map_or(Cuts::Compatible, Cuts::AtLeast);
        let (blob, written) = written(&tar, &WriteOptions { cuts, ..options(1, threads) });
        if let Outcome::Chunked { annotations } = &written.toc {
            check(&tar, &blob, annotations);
        }
    }

    #[test]
    fn arbitrary_bytes_come_out_again(bytes: Vec<u8>) {
        written(&bytes, &options(1, 1));
    }

    #[test]
    fn a_damaged_tar_comes_out_again(at in any::<prop::sample::Index>(), byte: u8) {
        let mut tar = data("tiny.tar");
        let at = at.index(tar.len());
        tar[at] = byte;
        let (blob, written) = written(&tar, &options(1, 1));
        if let Outcome::Chunked { annotations } = &written.toc {
            check(&tar, &blob, annotations);
        }
    }

    #[test]
    fn the_inspector_takes_any_bytes(bytes: Vec<u8>) {
        let _ = inspect(Cursor::new(bytes), None, InspectOptions { verify: true });
    }
}

/// Every byte of a small blob changed: the inspector tells, or the blob is as good as before.
#[test]
fn the_inspector_sees_every_damage() {
    let tar = data("tiny.tar");
    let (blob, written) = written(&tar, &options(3, 1));
    let annotations = common::annotations(&written);
    let mut harmless = 0;
    for at in 0..blob.len() {
        for change in [1u8, 0x80] {
            let mut damaged = blob.clone();
            damaged[at] ^= change;
            let found = inspect(Cursor::new(&damaged), Some(annotations), InspectOptions { verify: true });
            if found.is_ok_and(|found| found.problems.is_empty()) {
                // A few bits of a compressed block mean nothing.
                check(&tar, &damaged, annotations);
                harmless += 1;
            }
        }
    }
    assert!(harmless * 100 < blob.len(), "{harmless}");
}

/// TOC and tar-split of one blob behind the frames of another.
#[test]
fn the_inspector_compares_the_parts() {
    let cases: Vec<_> = expressible().into_iter().take(4).map(|(_, tar, _)| tar).collect();
    let blobs: Vec<_> = cases.iter().map(|tar| written(tar, &options(1, 1)).0).collect();
    for (a, first) in blobs.iter().enumerate() {
        for (b, second) in blobs.iter().enumerate() {
            let joined = [first.as_slice(), second].concat();
            let found = inspect(Cursor::new(&joined), None, InspectOptions { verify: true }).unwrap();
            assert!(!found.problems.is_empty(), "{a} and {b}");
        }
    }
}

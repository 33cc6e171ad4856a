//! Tars of every kind, and what holds for every blob.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "tests share it"
)]

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;

use chunked_format::read::{FileCursor, Format, LayerIndex, PieceKind, SplitItem, TarSplit, classify, parse};
use chunked_format::{
    ByteRange, Digest, InspectOptions, Inspection, Outcome, WriteOptions, Written, inspect, write,
};

pub mod oddities;

/// A file of the test data.
pub fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

/// Options for a level and a number of threads.
pub fn options(level: i32, threads: usize) -> WriteOptions {
    WriteOptions { level, threads, ..WriteOptions::default() }
}

/// Writes `tar` and checks what holds for any input: sizes, digests, and that the blob decompresses to it.
pub fn written(tar: &[u8], options: &WriteOptions) -> (Vec<u8>, Written) {
    let mut blob = Vec::new();
    let written = write(tar, &mut blob, options).unwrap();
    assert_eq!((written.tar_size, written.diff_id), (tar.len() as u64, Digest::of(tar)));
    assert_eq!((written.blob_size, written.blob_digest), (blob.len() as u64, Digest::of(&blob)));
    assert!(zstd::decode_all(blob.as_slice()).unwrap() == tar, "the blob does not decompress to the tar");
    (blob, written)
}

/// The annotations of a chunked layer.
pub fn annotations(written: &Written) -> &BTreeMap<String, String> {
    match &written.toc {
        Outcome::Chunked { annotations } => annotations,
        Outcome::Plain { reasons } => panic!("plain: {reasons:?}"),
    }
}

/// Why a layer is plain.
pub fn reason(written: &Written) -> String {
    match &written.toc {
        Outcome::Chunked { .. } => panic!("chunked"),
        Outcome::Plain { reasons } => reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
    }
}

/// Everything that holds for a sound chunked blob: the inspector verifies it, and a puller gets the tar from its parts.
pub fn check(tar: &[u8], blob: &[u8], annotations: &BTreeMap<String, String>) -> Inspection {
    let found = verified(blob, Some(annotations));
    assert_eq!(found.problems, Vec::<String>::new());
    assert_eq!(found.verified.unwrap().diff_id, Digest::of(tar));
    // The footer alone leads to the same.
    assert_eq!(verified(blob, None).problems, Vec::<String>::new());
    assert!(rebuild(blob, annotations) == tar, "pieces and tar-split do not give the tar");
    found
}

/// The inspector's full report.
pub fn verified(blob: &[u8], annotations: Option<&BTreeMap<String, String>>) -> Inspection {
    inspect(Cursor::new(blob), annotations, InspectOptions { verify: true }).unwrap()
}

/// The index as a puller reads it.
pub fn index(blob: &[u8], annotations: &BTreeMap<String, String>) -> LayerIndex {
    let Format::ZstdChunked(annotations) = classify(annotations, blob.len() as u64) else {
        panic!("{annotations:?}")
    };
    parse(&annotations, slice(blob, annotations.metadata_range())).unwrap()
}

/// The tar, from tar-split and single pieces.
pub fn rebuild(blob: &[u8], annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let index = index(blob, annotations);
    let mut tar = Vec::new();
    let mut split = TarSplit::open(&index.tar_split, index.tar_split_len).unwrap();
    let mut cursor = FileCursor::new(&index.toc);
    while let Some(item) = split.next().unwrap() {
        match item {
            SplitItem::Segment(bytes) => tar.extend(bytes),
            SplitItem::File { size: 0, .. } => {}
            SplitItem::File { name, size, .. } => {
                let file = &index.toc.files[cursor.find(&name, size).unwrap()];
                for piece in index.toc.pieces_of(file) {
                    let bytes = zstd::decode_all(slice(blob, piece.blob)).unwrap();
                    assert_eq!(Some(Digest::of(&bytes)), piece.digest);
                    assert!(piece.kind == PieceKind::Data || bytes.iter().all(|byte| *byte == 0));
                    tar.extend(bytes);
                }
            }
        }
    }
    assert_eq!(cursor.unclaimed(), None);
    tar
}

fn slice(bytes: &[u8], range: ByteRange) -> &[u8] {
    &bytes[range.start as usize..range.end as usize]
}

/// Bytes that do not compress, the same every time.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

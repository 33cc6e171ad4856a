//! Metadata whose digests are right and whose contents are not: errors, never panics, never more output than
//! declared.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::path::Path;

use chunked_core::Digest;
use chunked_toc::{Annotations, ErrorKind, FileCursor, FrameRef, SplitItem, TarSplit, TocError, parse};
use proptest::prelude::*;

/// Where the payload part of the specimens' blobs ends, at the latest.
const PAYLOAD: u64 = 4_000_000;

/// The metadata of a blob that has `json` and `tar_split` (compressed) behind its payload, digests right.
fn blob_of(toc: &[u8], toc_len: u64, tar_split: &[u8], split_len: u64) -> (Annotations, Vec<u8>) {
    let offset = PAYLOAD + 8;
    let split_offset = offset + toc.len() as u64 + 8;
    let annotations = Annotations {
        toc_digest: Digest::of(toc),
        toc: FrameRef { offset, compressed: toc.len() as u64, uncompressed: toc_len },
        tar_split: FrameRef {
            offset: split_offset,
            compressed: tar_split.len() as u64,
            uncompressed: split_len,
        },
    };
    (annotations, [toc, &[0; 8], tar_split].concat())
}

fn pack(json: &[u8], tar_split: &[u8]) -> (Annotations, Vec<u8>) {
    let toc = zstd::encode_all(json, 1).unwrap();
    let split = zstd::encode_all(tar_split, 1).unwrap();
    blob_of(&toc, json.len() as u64, &split, tar_split.len() as u64)
}

/// Uncompressed TOC and tar-split of a specimen.
fn specimen(name: &str) -> (Vec<u8>, Vec<u8>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let blob = std::fs::read(path).unwrap();
    let found = chunked_toc::footer(&blob).unwrap();
    let decode = |frame: FrameRef| {
        let range = frame.range();
        let bytes = &blob[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
        zstd::decode_all(bytes).unwrap()
    };
    (decode(found.toc), decode(found.tar_split.unwrap()))
}

/// Reads everything there is to read.
fn walk(annotations: &Annotations, metadata: &[u8]) -> Result<(), TocError> {
    let index = parse(annotations, metadata)?;
    let mut cursor = FileCursor::new(&index.toc);
    let mut split = TarSplit::open(&index.tar_split, index.tar_split_len)?;
    while let Some(item) = split.next()? {
        if let SplitItem::File { name, size, .. } = item
            && size > 0
        {
            let file = &index.toc.files[cursor.find(&name, size)?];
            assert!(!index.toc.pieces_of(file).is_empty());
            assert!(file.range.end <= PAYLOAD);
        }
    }
    Ok(())
}

fn with_digest_of(json: &str, tar_split: &[u8]) -> Vec<u8> {
    let digest = Digest::of(&zstd::encode_all(tar_split, 1).unwrap()).to_string();
    json.replace("DIGEST", &digest).into_bytes()
}

fn outcome(json: &str) -> Result<(), TocError> {
    let split = b"";
    let (annotations, metadata) = pack(&with_digest_of(json, split), split);
    walk(&annotations, &metadata)
}

#[test]
fn sound_metadata_passes() {
    outcome(r#"{"version":1,"entries":[],"tarSplitDigest":"DIGEST"}"#).unwrap();
    outcome(r#"{"version":1,"entries":null,"tarSplitDigest":"DIGEST"}"#).unwrap();
}

#[test]
fn documents_that_prove_too_little_are_unusable() {
    for (json, expected) in [
        (r#"{"version":1,"entries":[]}"#, "no tar-split digest"),
        (r#"{"version":1,"entries":[],"tarSplitDigest":"sha512:00"}"#, "tar-split digest"),
        (r#"{"version":2,"entries":[],"tarSplitDigest":"DIGEST"}"#, "version"),
        (r#"{"entries":[],"tarSplitDigest":"DIGEST"}"#, "version"),
        (r#"{"version":1,"entries":[],"tarSplitDigest":"DIGEST"},"#, "not valid"),
        (r#"{"version":1,"entries":[{"type":"chunk"}],"tarSplitDigest":"DIGEST"}"#, "entry 0"),
    ] {
        let error = outcome(json).unwrap_err();
        assert!(error.to_string().contains(expected), "{json}: {error}");
        assert_eq!(error.kind(), ErrorKind::Unusable);
    }
}

#[test]
fn a_bomb_stops_at_the_declared_length() {
    let bomb = zstd::encode_all(std::io::repeat(b' ').take(1 << 30), 1).unwrap();
    let (annotations, metadata) = blob_of(&bomb, 1000, &bomb, 1000);
    match parse(&annotations, &metadata) {
        Err(TocError::Length { declared: 1000, actual: 1001, .. }) => {}
        other => panic!("{other:?}"),
    }
    let mut split = TarSplit::open(&bomb, 1000).unwrap();
    assert!(matches!(split.next(), Err(TocError::Length { declared: 1000, actual: 1001, .. })));
}

#[test]
fn a_window_beyond_the_limit_is_refused() {
    // Frame header: magic, no checksum, no content size, window 2^31.
    let frame = b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00";
    let (annotations, metadata) = blob_of(frame, 100, frame, 100);
    assert!(matches!(parse(&annotations, &metadata), Err(TocError::Decompress { .. })));
}

use std::io::Read as _;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_compressed_documents_never_panic(toc: Vec<u8>, split: Vec<u8>, length in 0u64..1000) {
        let (annotations, metadata) = blob_of(&toc, length, &split, length);
        prop_assert!(walk(&annotations, &metadata).is_err());
    }

    #[test]
    fn arbitrary_documents_never_panic(toc: Vec<u8>, split: Vec<u8>) {
        let (annotations, metadata) = pack(&toc, &split);
        prop_assert!(walk(&annotations, &metadata).is_err());
    }

    #[test]
    fn mutated_specimens_never_panic(
        name in prop::sample::select(vec!["tiny.zc", "attr.zc", "nonutf8.zc", "o_psp.zc"]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 1..4),
    ) {
        let (mut toc, mut split) = specimen(name);
        for (at, byte, in_toc) in changes {
            let target = if in_toc { &mut toc } else { &mut split };
            let at = at.index(target.len());
            target[at] = byte;
        }
        // Digests are made right again, so that the change reaches the parsers behind them.
        let found = toc.windows(14).position(|window| window == b"tarSplitDigest");
        if let Some(at) = found {
            let compressed = zstd::encode_all(split.as_slice(), 1).unwrap();
            toc.truncate(at);
            toc.extend(format!("tarSplitDigest\":\"{}\"}}", Digest::of(&compressed)).bytes());
        }
        let (annotations, metadata) = pack(&toc, &split);
        let _ = walk(&annotations, &metadata);
    }

    #[test]
    fn mutated_compressed_specimens_never_panic(at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let (toc, split) = specimen("attr.zc");
        let mut compressed = zstd::encode_all(toc.as_slice(), 1).unwrap();
        let at = at.index(compressed.len());
        compressed[at] = byte;
        let (annotations, metadata) = blob_of(&compressed, toc.len() as u64, b"", 0);
        let _ = walk(&annotations, &metadata);
        let compressed = zstd::encode_all(split.as_slice(), 1).unwrap();
        let part = &compressed[..cut.index(compressed.len())];
        let mut reader = TarSplit::open(part, split.len() as u64).unwrap();
        while let Ok(Some(_)) = reader.next() {}
    }
}

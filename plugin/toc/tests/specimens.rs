//! Blobs made by the reference writer: the index is what the format says, and the tar comes out again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use chunked_core::{ByteRange, Digest};
use chunked_toc::{
    Annotations, ErrorKind, FileCursor, FooterKind, Format, LayerIndex, PieceKind, SplitItem, TarSplit,
    TocError, classify, footer, parse,
};

fn data(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

fn annotations(name: &str, blob_size: u64) -> Annotations {
    let map: BTreeMap<String, String> = serde_json::from_slice(&data(name)).unwrap();
    match classify(&map, blob_size) {
        Format::ZstdChunked(annotations) => annotations,
        Format::Plain { reason } => panic!("{name}: {reason:?}"),
    }
}

fn slice(bytes: &[u8], range: ByteRange) -> &[u8] {
    &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

fn open(name: &str) -> (Vec<u8>, LayerIndex) {
    let blob = data(&format!("{name}.zc"));
    let annotations = annotations(&format!("{name}.ann"), blob.len() as u64);
    let index = parse(&annotations, slice(&blob, annotations.metadata_range())).unwrap();
    (blob, index)
}

/// The tar, from the tar-split and pieces decoded one by one.
fn rebuild(blob: &[u8], index: &LayerIndex) -> Vec<u8> {
    let mut tar = Vec::new();
    let mut split = TarSplit::open(&index.tar_split, index.tar_split_len).unwrap();
    let mut cursor = FileCursor::new(&index.toc);
    while let Some(item) = split.next().unwrap() {
        match item {
            SplitItem::Segment(bytes) => tar.extend(bytes),
            SplitItem::File { size: 0, .. } => {}
            SplitItem::File { name, size, .. } => {
                let file = &index.toc.files[cursor.find(&name, size).unwrap()];
                let start = tar.len();
                for piece in index.toc.pieces_of(file) {
                    let mut bytes = Vec::new();
                    zstd::Decoder::new(slice(blob, piece.blob)).unwrap().read_to_end(&mut bytes).unwrap();
                    assert_eq!(bytes.len() as u64, piece.len);
                    assert_eq!(Some(Digest::of(&bytes)), piece.digest);
                    assert!(piece.kind == PieceKind::Data || bytes.iter().all(|byte| *byte == 0));
                    tar.extend(bytes);
                }
                assert_eq!(Digest::of(&tar[start..]), file.digest);
            }
        }
    }
    assert_eq!(cursor.unclaimed(), None);
    tar
}

#[test]
fn tars_come_out_again() {
    for name in ["tiny", "nonutf8"] {
        let (blob, index) = open(name);
        assert!(rebuild(&blob, &index) == data(&format!("{name}.tar")), "{name}");
    }
    let (blob, index) = open("attr");
    let tar = rebuild(&blob, &index);
    let expected = "sha256:c87ddc1b0d4899e3d00c299b39ddd34d6f9551ef45c66d6c2971e8572cd104a4";
    assert_eq!((tar.len(), Digest::of(&tar).to_string()), (215_040, expected.to_owned()));
}

#[test]
fn tiny_is_the_worked_example() {
    let (blob, index) = open("tiny");
    let [file] = index.toc.files.as_slice() else { panic!("{index:?}") };
    assert_eq!((&*file.name, file.size), (b"etc/hello".as_slice(), 12));
    assert_eq!(file.range, ByteRange { start: 100, end: 125 });
    assert_eq!(file.digest, Digest::of(b"hello world\n"));
    assert_eq!(index.toc.metadata_bytes, 288 + 423);
    let expected = "sha256:b109f3f3defa5d4d3e9f95c0bd68880d4c55c29d29c5272653eafc068987dfe0";
    assert_eq!((Digest::of(&index.tar_split).to_string().as_str(), index.tar_split_len), (expected, 14_116));
    let found = footer(&blob).unwrap();
    let annotations = annotations("tiny.ann", 1043);
    assert_eq!(found.kind, FooterKind::Current);
    assert_eq!((found.toc, found.tar_split), (annotations.toc, Some(annotations.tar_split)));
}

/// A PAX sparse file: the writer stores it expanded, so that what comes out is not the tar that went in.
/// Nothing in the metadata shows it; only the DiffID does.
#[test]
fn the_corrupted_sparse_file_is_only_visible_in_the_digest() {
    let (blob, index) = open("o_psp");
    let tar = rebuild(&blob, &index);
    assert_eq!(tar.len(), 1_054_208);
    let input = "sha256:4de494c3e6109699a9e548651f978b71f0652cc09b2624d203216510554fc0d0";
    assert_ne!(Digest::of(&tar).to_string(), input);
    let kinds: Vec<_> = index.toc.pieces.iter().map(|piece| piece.kind).collect();
    assert_eq!(kinds, [PieceKind::Hole, PieceKind::Data, PieceKind::Hole]);
}

/// The bytes of `full.zc` from the TOC's skippable frame on.
fn full() -> LayerIndex {
    let annotations = annotations("full.ann", 3_159_609);
    let tail = data("full.tail");
    let range = annotations.metadata_range();
    let start = range.start - annotations.payload_end();
    parse(&annotations, slice(&tail, ByteRange::at(start, range.len()).unwrap())).unwrap()
}

#[test]
fn full_has_the_chunks_of_the_worked_example() {
    let index = full();
    let file = |name: &[u8]| index.toc.files.iter().find(|file| *file.name == *name).unwrap();
    let sparse = index.toc.pieces_of(file(b"./usr/sparse"));
    let found: Vec<_> = sparse.iter().map(|piece| (piece.file_offset, piece.len, piece.kind)).collect();
    use PieceKind::{Data, Hole};
    assert_eq!(found, [(0, 6800, Data), (6800, 9000, Hole), (15_800, 4, Data), (15_804, 2000, Hole)]);
    // All of one kind: a single piece, not a hole.
    let zeros = index.toc.pieces_of(file(b"./usr/zeros"));
    assert_eq!((zeros.len(), zeros[0].kind, zeros[0].len), (1, Data, 100_000));
    assert_eq!(zeros[0].digest, Some(file(b"./usr/zeros").digest));
    let big = index.toc.pieces_of(file(b"./usr/big"));
    assert!(big.len() > 50 && big.windows(2).all(|pair| pair[0].blob.end == pair[1].blob.start));
    assert_eq!((big[0].len, big[1].blob.start), (1854, 2100));
    assert!(index.toc.files.iter().all(|file| *file.name != *b"./usr/empty"));
}

#[test]
fn full_names_every_payload_of_its_tar_split() {
    let index = full();
    let mut split = TarSplit::open(&index.tar_split, index.tar_split_len).unwrap();
    let mut cursor = FileCursor::new(&index.toc);
    let mut length = 0;
    let mut expected = 0;
    while let Some(item) = split.next().unwrap() {
        match item {
            SplitItem::Segment(bytes) => length += bytes.len() as u64,
            SplitItem::File { size: 0, .. } => {}
            SplitItem::File { name, size, crc } => {
                assert_eq!(cursor.find(&name, size).unwrap(), expected);
                assert!(crc.is_some());
                expected += 1;
                length += size;
            }
        }
    }
    assert_eq!((cursor.unclaimed(), length), (None, 3_287_040));
}

#[test]
fn stargz_snapshotters_variant_is_plain() {
    let meta: BTreeMap<String, String> = serde_json::from_slice(&data("sz.zc.meta.json")).unwrap();
    let mut both = meta.clone();
    both.insert("containerd.io/snapshot/stargz/toc.digest".to_owned(), meta["toc.digest"].clone());
    for map in [meta, both] {
        match classify(&map, 3_154_086) {
            Format::Plain { reason: Some(reason) } => assert!(reason.contains("old generation"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn changed_or_missing_metadata_is_a_matter_of_integrity() {
    let blob = data("tiny.zc");
    let annotations = annotations("tiny.ann", blob.len() as u64);
    let metadata = slice(&blob, annotations.metadata_range());
    for at in [0, 100, 287, 296, 400, metadata.len() - 1] {
        let mut changed = metadata.to_vec();
        changed[at] ^= 1;
        let error = parse(&annotations, &changed).unwrap_err();
        let part = if at < 288 { "toc" } else { "tar-split" };
        assert!(matches!(&error, TocError::Digest { what, .. } if *what == part), "{at}: {error}");
        assert_eq!(error.kind(), ErrorKind::Integrity);
    }
    for wrong in [&metadata[1..], &metadata[..10], &[], &blob] {
        let error = parse(&annotations, wrong).unwrap_err();
        assert!(matches!(error, TocError::MetadataLength { .. }), "{error}");
    }
}

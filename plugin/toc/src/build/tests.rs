use proptest::prelude::*;

use super::*;
use crate::schema;

const D1: &str = "sha256:a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447";
const D2: &str = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
const PAYLOAD_END: u64 = 1000;

fn build(entries: &str) -> Result<Toc, TocError> {
    let json = format!(r#"{{"version":1,"entries":[{entries}]}}"#).replace("D1", D1).replace("D2", D2);
    let mut builder = Builder::new(PAYLOAD_END, 7);
    schema::read(json.as_bytes(), |entry| builder.push(&entry))?;
    builder.finish()
}

fn refusal(entries: &str) -> EntryError {
    match build(entries) {
        Err(TocError::Entry { source, .. }) => source,
        other => panic!("{entries}: {other:?}"),
    }
}

const BIG: &str = r#"{"type":"reg","name":"big","size":30,"digest":"D1","offset":100,"endOffset":150,
    "chunkSize":10,"chunkDigest":"D2"},"#;

fn chunk(offset: u64, at: u64, size: u64) -> String {
    format!(
        r#"{{"type":"chunk","name":"big","offset":{offset},"chunkSize":{size},"chunkOffset":{at},"chunkDigest":"D2"}}"#
    )
}

fn chunks(parts: &[(u64, u64, u64)]) -> String {
    let parts: Vec<_> = parts.iter().map(|(offset, at, size)| chunk(*offset, *at, *size)).collect();
    format!("{BIG}{}", parts.join(",")).trim_end_matches(',').to_owned()
}

#[test]
fn files_without_payload_are_left_out() {
    let toc = build(
        r#"{"type":"dir","name":"d/"},{"type":"reg","name":"e"},{"type":"hardlink","name":"h","linkName":"e"},
        {"type":"reg","name":"f","size":5,"digest":"D1","offset":10,"endOffset":20},{"type":"new","name":"n"}"#,
    )
    .unwrap();
    let digest: Digest = D1.parse().unwrap();
    let range = ByteRange { start: 10, end: 20 };
    let file = TocFile { name: (*b"f").into(), size: 5, digest, range, pieces: 0..1 };
    let piece = Piece { blob: range, file_offset: 0, len: 5, digest: Some(digest), kind: PieceKind::Data };
    assert_eq!(toc, Toc { files: vec![file], pieces: vec![piece], metadata_bytes: 7 });
    assert_eq!(toc.pieces_of(&toc.files[0]), toc.pieces.as_slice());
}

#[test]
fn chunks_end_where_the_next_one_starts() {
    let toc = build(&chunks(&[(110, 10, 15), (130, 25, 5)])).unwrap();
    let found: Vec<_> = toc.pieces.iter().map(|p| (p.blob.start, p.blob.end, p.file_offset, p.len)).collect();
    assert_eq!(found, [(100, 110, 0, 10), (110, 130, 10, 15), (130, 150, 25, 5)]);
    assert_eq!(toc.files[0].pieces, 0..3);
    assert!(toc.pieces.iter().all(|piece| piece.digest == Some(D2.parse().unwrap())));
}

#[test]
fn holes_keep_their_range_and_may_be_empty() {
    let toc = build(&format!(
        r#"{BIG}{{"type":"chunk","name":"big","offset":120,"chunkSize":10,"chunkOffset":10,"chunkType":"zeros"}},
        {{"type":"chunk","name":"big","offset":120,"chunkSize":5,"chunkOffset":20}},
        {{"type":"chunk","name":"big","offset":150,"chunkSize":5,"chunkOffset":25,"chunkType":"zeros"}}"#
    ))
    .unwrap();
    let found: Vec<_> = toc.pieces.iter().map(|p| (p.blob.start, p.blob.end, p.kind)).collect();
    use PieceKind::{Data, Hole};
    assert_eq!(found, [(100, 120, Data), (120, 120, Hole), (120, 150, Data), (150, 150, Hole)]);
    assert_eq!(toc.pieces[1].digest, None);
}

#[test]
fn broken_chunks_are_refused() {
    for (parts, expected) in [
        (vec![], EntryError::ChunkSum { sum: 10, size: 30 }),
        (vec![(110, 10, 15)], EntryError::ChunkSum { sum: 25, size: 30 }),
        (vec![(110, 10, 21)], EntryError::ChunkSum { sum: 31, size: 30 }),
        (vec![(110, 10, 0)], EntryError::ChunkSum { sum: 10, size: 30 }),
        (vec![(110, 10, u64::MAX)], EntryError::ChunkSum { sum: u64::MAX, size: 30 }),
        (vec![(110, 11, 19)], EntryError::ChunkOffset { expected: 10, found: 11 }),
        (vec![(110, 0, 20)], EntryError::ChunkOffset { expected: 10, found: 0 }),
        (vec![(100, 10, 20)], EntryError::ChunkOrder { start: 100, previous: 100, end: 150 }),
        (vec![(99, 10, 20)], EntryError::ChunkOrder { start: 99, previous: 100, end: 150 }),
        (vec![(150, 10, 20)], EntryError::ChunkOrder { start: 150, previous: 100, end: 150 }),
        (vec![(120, 10, 10), (110, 20, 10)], EntryError::ChunkOrder { start: 110, previous: 120, end: 150 }),
    ] {
        assert_eq!(refusal(&chunks(&parts)), expected, "{parts:?}");
    }
}

#[test]
fn chunks_must_follow_their_file() {
    let complete = chunks(&[(110, 10, 20)]);
    let stray = chunk(110, 10, 20);
    for entries in [
        stray.clone(),
        format!(r#"{{"type":"reg","name":"big"}},{stray}"#),
        format!(r#"{complete},{{"type":"dir","name":"d"}},{stray}"#),
        stray.replace("big", "other").replace('{', &format!("{BIG}{{")),
    ] {
        assert_eq!(refusal(&entries), EntryError::StrayChunk, "{entries}");
    }
    // A file cannot go on after another entry came between.
    let torn = format!(r#"{BIG}{{"type":"dir","name":"d"}},{stray}"#);
    assert_eq!(refusal(&torn), EntryError::ChunkSum { sum: 10, size: 30 });
}

#[test]
fn broken_files_are_refused() {
    let whole = r#""digest":"D1","offset":10,"endOffset":20"#;
    for (fields, expected) in [
        (whole.replace("D1", ""), EntryError::Missing("digest")),
        (whole.replace("\"offset\":10,", ""), EntryError::Missing("offset")),
        (whole.replace(",\"endOffset\":20", ""), EntryError::Missing("endOffset")),
        (whole.replace("20", "10"), EntryError::Range { start: 10, end: 10, limit: 1000 }),
        (whole.replace("20", "9"), EntryError::Range { start: 10, end: 9, limit: 1000 }),
        (whole.replace("20", "1001"), EntryError::Range { start: 10, end: 1001, limit: 1000 }),
        (format!("{whole},\"chunkOffset\":1"), EntryError::ChunkOffset { expected: 0, found: 1 }),
        (format!("{whole},\"chunkSize\":6"), EntryError::ChunkSum { sum: 6, size: 5 }),
        (format!("{whole},\"chunkType\":\"x\""), EntryError::ChunkType),
    ] {
        assert_eq!(
            refusal(&format!(r#"{{"type":"reg","name":"f","size":5,{fields}}}"#)),
            expected,
            "{fields}"
        );
    }
    let foreign = whole.replace("D1", "sha512:00");
    let error = refusal(&format!(r#"{{"type":"reg","name":"f","size":5,{foreign}}}"#));
    assert!(matches!(error, EntryError::Digest { field: "digest", .. }));
}

fn file(name: &str, start: u64, end: u64, size: u64) -> String {
    format!(
        r#"{{"type":"reg","name":"{name}","size":{size},"digest":"D1","offset":{start},"endOffset":{end}}}"#
    )
}

#[test]
fn files_come_out_in_blob_order_and_never_overlap() {
    let entries = [file("b", 20, 30, 1), file("a", 10, 20, 2), file("c", 30, 40, 3)].join(",");
    let toc = build(&entries).unwrap();
    let found: Vec<_> = toc.files.iter().map(|file| (&*file.name, file.pieces.clone())).collect();
    assert_eq!(found, [(b"a".as_slice(), 1..2), (b"b", 0..1), (b"c", 2..3)]);
    assert_eq!(toc.pieces_of(&toc.files[0])[0].len, 2);
    for pair in [[(10, 20), (19, 30)], [(10, 30), (15, 20)], [(10, 20), (10, 20)], [(15, 20), (10, 16)]] {
        let entries = pair.map(|(start, end)| file("x", start, end, 1)).join(",");
        assert!(matches!(build(&entries), Err(TocError::Overlap { .. })), "{pair:?}");
    }
}

#[test]
fn the_sum_of_sizes_is_bounded() {
    let half = limits::LAYER_BYTES / 2 + 1;
    let entries = [file("a", 10, 20, half), file("b", 20, 30, half)].join(",");
    assert_eq!(refusal(&entries), EntryError::LayerSize);
    assert_eq!(refusal(&file("a", 10, 20, u64::MAX)), EntryError::LayerSize);
}

#[test]
fn the_number_of_entries_is_bounded() {
    let mut builder = Builder::new(PAYLOAD_END, 0);
    for _ in 0..limits::ENTRIES {
        builder.push(&Entry::default()).unwrap();
    }
    assert!(matches!(builder.push(&Entry::default()), Err(TocError::TooManyEntries)));
}

proptest! {
    /// Whatever is accepted keeps what [`TocFile`] and [`Piece`] promise.
    #[test]
    fn accepted_tocs_are_sound(
        entries in prop::collection::vec((0u8..4, 0u64..60, 0u64..60, 0u64..4, 0u64..8, any::<bool>()), 0..12),
    ) {
        let text: Vec<_> = entries.iter().map(|(kind, start, end, size, at, zeros)| {
            let kind = ["reg", "chunk", "chunk", "dir"][usize::from(*kind)];
            let zeros = if *zeros { "zeros" } else { "" };
            format!(
                r#"{{"type":"{kind}","name":"n","size":{},"digest":"D1","offset":{start},"endOffset":{end},
                "chunkSize":{size},"chunkOffset":{},"chunkType":"{zeros}"}}"#,
                size + at / 2, if kind == "reg" { 0 } else { *at },
            )
        }).collect();
        if let Ok(toc) = build(&text.join(",")) {
            check(&toc);
        }
    }
}

fn check(toc: &Toc) {
    let mut end = 0;
    for file in &toc.files {
        assert!(file.range.start >= end && file.range.end <= PAYLOAD_END && !file.range.is_empty());
        end = file.range.end;
        let pieces = toc.pieces_of(file);
        let (mut covered, mut blob) = (0, file.range.start);
        assert!(!pieces.is_empty());
        for piece in pieces {
            assert_eq!((piece.file_offset, piece.blob.start), (covered, blob));
            assert!(piece.len > 0 && (piece.kind == PieceKind::Hole || !piece.blob.is_empty()));
            (covered, blob) = (covered + piece.len, piece.blob.end);
        }
        assert_eq!((covered, blob), (file.size, file.range.end));
    }
}

/// Padding, with skippable frames or otherwise, would be held in memory with the content.
#[test]
fn frames_are_no_longer_than_zstd_makes_them() {
    for len in [1, 100, 4096, 128 << 10, 1 << 20, 5_000_000] {
        assert_eq!(most(len), zstd::zstd_safe::compress_bound(usize::try_from(len).unwrap()) as u64, "{len}");
    }
    let file = |end: u64| {
        build(&format!(r#"{{"type":"reg","name":"f","size":5,"digest":"D1","offset":10,"endOffset":{end}}}"#))
    };
    let fits = 10 + most(5);
    assert!(file(fits).is_ok());
    let TocError::Entry { source, .. } = file(fits + 1).unwrap_err() else { panic!("an entry") };
    assert!(matches!(source, EntryError::Padded { len: 5, frames } if frames == most(5) + 1), "{source}");
    // Any chunk of a file, but not its holes.
    let several = |kind: &str| {
        let first = r#"{"type":"reg","name":"big","size":30,"digest":"D1","offset":100,"endOffset":560,"chunkSize":10,"chunkDigest":"D2"}"#;
        let middle = chunk(110, 10, 15)
            .replace("\"chunkDigest\"", &format!("\"chunkType\":\"{kind}\",\"chunkDigest\""));
        format!("{first},{middle},{}", chunk(500, 25, 5))
    };
    let source = refusal(&several("data"));
    assert!(matches!(source, EntryError::Padded { len: 15, frames: 390 }), "{source}");
    assert!(build(&several("zeros")).is_ok());
}

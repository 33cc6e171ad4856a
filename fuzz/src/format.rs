//! The readers and the writer of the format. Each function takes a fuzzer's bytes and panics if something does not hold.
//!
//! They are called by the fuzz targets beside this file, and with the committed corpus and changes of it by the test
//! `corpus` of `plugin/format`, which includes this file.

use std::collections::BTreeMap;
use std::io::Cursor;

use super::checksums::right_checksums;
use chunked_core::Digest;
use chunked_format::read::{
    Annotations, FileCursor, Format, FrameRef, LayerIndex, PieceKind, SplitItem, TarSplit, classify, parse,
};
use chunked_format::{
    Cuts, Generation, InspectOptions, Outcome, WriteOptions, inspect, outline as look, write,
};

/// Where a TOC is said to start: beyond it no file may reach.
const TOC_AT: u64 = 1 << 20;

/// JSON of a TOC, or after a zero byte its compressed form.
pub fn toc(data: &[u8]) {
    let tar_split = zstd::encode_all(b"".as_slice(), 1).expect("memory");
    let (toc, uncompressed) = match data.split_first() {
        Some((0, compressed)) => (compressed.to_vec(), 1000),
        _ => {
            // A fuzzer cannot guess a digest.
            let digest = format!("{}", Digest::of(&tar_split));
            let json = String::from_utf8_lossy(data).replace("DIGEST", &digest);
            (zstd::encode_all(json.as_bytes(), 1).expect("memory"), json.len() as u64)
        }
    };
    let annotations = Annotations {
        toc_digest: Digest::of(&toc),
        toc: FrameRef { offset: TOC_AT, compressed: toc.len() as u64, uncompressed },
        tar_split: FrameRef {
            offset: TOC_AT + toc.len() as u64 + 8,
            compressed: tar_split.len() as u64,
            uncompressed: 0,
        },
    };
    let metadata = [toc.as_slice(), &[0; 8], &tar_split].concat();
    if let Ok(index) = parse(&annotations, &metadata) {
        sound(&index, TOC_AT - 8);
    }
}

/// What a puller relies on.
fn sound(index: &LayerIndex, payload_end: u64) {
    let mut before = 0;
    let mut cursor = FileCursor::new(&index.toc);
    for (number, file) in index.toc.files.iter().enumerate() {
        assert!(file.range.start >= before && file.range.end <= payload_end && file.size > 0);
        before = file.range.end;
        let (mut at, mut covered) = (file.range.start, 0);
        let pieces = index.toc.pieces_of(file);
        assert!(!pieces.is_empty());
        for piece in pieces {
            assert!(piece.blob.start == at && piece.file_offset == covered && piece.len > 0);
            assert!(piece.blob.end > at || piece.kind == PieceKind::Hole);
            at = piece.blob.end;
            covered += piece.len;
        }
        assert!(at == file.range.end && covered == file.size);
        if let Ok(name) = std::str::from_utf8(&file.name) {
            assert_eq!(cursor.find(name.as_bytes(), file.size).ok(), Some(number));
        }
    }
}

/// Lines of a tar-split, or after a zero byte their compressed form.
pub fn tar_split(data: &[u8]) {
    match data.split_first() {
        Some((0, compressed)) => {
            if let Ok(mut split) = TarSplit::open(compressed, 1 << 16) {
                while let Ok(Some(_)) = split.next() {}
            }
        }
        _ => {
            let mut split = TarSplit::new(data, data.len() as u64);
            let mut bytes = 0;
            while let Ok(Some(item)) = split.next() {
                if let SplitItem::Segment(segment) = item {
                    bytes += segment.len();
                }
            }
            assert!(bytes <= data.len());
        }
    }
}

/// The end of a blob; or text of annotations, three lines and a blob's size.
pub fn footer(data: &[u8]) {
    if let Some(found) = chunked_format::read::footer(data) {
        assert!(data.len() >= 48);
        let _ = (found.toc.range(), found.tar_split.map(|split| split.range()));
    }
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    let keys = ["manifest-checksum", "manifest-position", "tarsplit-position"];
    let annotations: BTreeMap<String, String> = keys
        .iter()
        .zip(&mut lines)
        .map(|(key, line)| (format!("io.github.containers.zstd-chunked.{key}"), line.to_owned()))
        .collect();
    let size = lines.next().and_then(|line| line.parse().ok()).unwrap_or(1 << 30);
    if let Format::ZstdChunked(found) = classify(&annotations, size) {
        assert!(found.metadata_range().end <= size && found.payload_end() < size);
    }
}

/// TOC and tar-split, before and behind a zero byte, after a byte of options: a blob is made of them, as a writer of some
/// generation would, and seen without its content.
pub fn outline(data: &[u8]) {
    let Some((options, documents)) = data.split_first() else { return };
    let option = |bit: u8| options >> bit & 1 != 0;
    let mut documents = documents.splitn(2, |byte| *byte == 0);
    let (json, lines) = (documents.next().unwrap_or_default(), documents.next().unwrap_or_default());
    let frame = |content: &[u8]| zstd::encode_all(content, 1).expect("memory");
    let tar_split = frame(lines);
    let json = String::from_utf8_lossy(json).replace("DIGEST", &Digest::of(&tar_split).to_string());
    // One of them is no zstd frame.
    let toc = if option(0) { json.clone().into_bytes() } else { frame(json.as_bytes()) };
    let mut blob = vec![0; 1024];
    let mut place = |payload: &[u8], uncompressed: usize| {
        blob.extend_from_slice(b"\x50\x2a\x4d\x18");
        blob.extend_from_slice(&u32::try_from(payload.len()).expect("short").to_le_bytes());
        let offset = blob.len() as u64;
        blob.extend_from_slice(payload);
        [offset, payload.len() as u64, uncompressed as u64]
    };
    let toc_at = place(&toc, json.len());
    let split_at = place(&tar_split, lines.len());
    let mut numbers = [toc_at.as_slice(), &[1]].concat();
    if !option(1) {
        numbers.extend(split_at);
    }
    let mut footer: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    footer.extend_from_slice(if option(1) { b"GnUlInUx" } else { b"GNUlInUx" });
    if !option(2) {
        place(&footer, 0);
    }
    let text = |numbers: [u64; 3]| numbers.map(|number| number.to_string()).join(":");
    let (old, new) = ("io.containers.zstd-chunked.", "io.github.containers.zstd-chunked.");
    let prefix = if option(3) { old } else { new };
    let mut annotations = BTreeMap::from([
        (format!("{prefix}manifest-checksum"), Digest::of(&toc).to_string()),
        (format!("{prefix}manifest-position"), format!("{}:1", text(toc_at))),
    ]);
    if !option(4) {
        annotations.insert(format!("{new}tarsplit-position"), text(split_at));
    }
    if option(5) {
        annotations.insert(format!("{new}tarsplit-checksum"), Digest::of(&tar_split).to_string());
    }
    if option(6) {
        annotations.insert(
            "containerd.io/snapshot/stargz/toc.digest".to_owned(),
            Digest::of(json.as_bytes()).to_string(),
        );
    }
    let annotations = (!option(7)).then_some(annotations);

    let seen = look(Cursor::new(&blob), annotations.as_ref()).expect("all of it can be read");
    assert_eq!(seen.blob_size, blob.len() as u64);
    assert!(seen.toc.is_none_or(|found| (found.offset, found.digest) == (toc_at[0], Digest::of(&toc))));
    assert_eq!(seen.generation == Generation::F, seen.toc.is_some_and(|toc| toc.tar_split_authenticated));
    // What is sound to it is what a puller takes.
    let classified = annotations.as_ref().map(|annotations| classify(annotations, seen.blob_size));
    if let (true, Generation::F, Some(Format::ZstdChunked(found))) =
        (seen.problems.is_empty(), seen.generation, classified)
    {
        let range = found.metadata_range();
        let index =
            parse(&found, &blob[range.start as usize..range.end as usize]).expect("no problem was found");
        sound(&index, found.payload_end());
    }
}

/// A whole blob.
pub fn frames(data: &[u8]) {
    // A frame of a few bytes may hold gigabytes of zeros.
    if data.len() > 1 << 16 || content(data) > 64 << 20 {
        return;
    }
    let outlined = look(Cursor::new(data), None).expect("all of it can be read");
    let Ok(found) = inspect(Cursor::new(data), None, InspectOptions { verify: true }) else { return };
    assert_eq!(found.blob_digest, Digest::of(data));
    // An outline sees the same, as far as it sees.
    assert_eq!((outlined.generation, outlined.toc), (found.generation, found.toc));
    assert_eq!((&outlined.chunks, &outlined.entries), (&found.chunks, &found.entries));
    assert!(outlined.problems.is_empty() || !found.problems.is_empty());
    if !found.problems.is_empty() {
        return;
    }
    let tar = zstd::decode_all(data).expect("the inspector found no problem");
    let verified = found.verified.expect("asked for");
    assert_eq!((verified.tar_size, verified.diff_id), (tar.len() as u64, Digest::of(&tar)));
    if found.generation == Generation::F {
        assert!(found.toc.is_some_and(|toc| toc.tar_split_authenticated));
    }
}

/// Bytes of content that blocks of repeated bytes announce, at most; cheap to know without decoding.
fn content(data: &[u8]) -> usize {
    // Every block of at most 128 KiB takes four bytes or more.
    let bound = data.len() / 4 * (128 << 10);
    if bound <= 64 << 20 {
        return bound;
    }
    let mut decoder = match zstd::Decoder::new(data) {
        Ok(decoder) => decoder,
        Err(_) => return 0,
    };
    let mut sink = Bounded(64 << 20);
    let _ = std::io::copy(&mut decoder, &mut sink);
    if sink.0 == 0 { usize::MAX } else { 0 }
}

/// Takes so many bytes and then no more.
struct Bounded(usize);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_sub(bytes.len());
        if self.0 == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A tar after a byte of options. One of them gives the headers right checksums, which a fuzzer does not find.
pub fn writer(data: &[u8]) {
    let Some((options, tar)) = data.split_first() else { return };
    let mut tar = tar.to_vec();
    if options & 1 != 0 {
        right_checksums(&mut tar);
    }
    let cuts = if options & 2 != 0 { Cuts::AtLeast(u32::from(*options) << 5) } else { Cuts::Compatible };
    let options = WriteOptions { level: 1, threads: 1 + usize::from(options & 4 != 0), cuts };
    let mut blob = Vec::new();
    let written = write(tar.as_slice(), &mut blob, &options).expect("no input is an error");
    assert_eq!((written.tar_size, written.diff_id), (tar.len() as u64, Digest::of(&tar)));
    assert_eq!((written.blob_size, written.blob_digest), (blob.len() as u64, Digest::of(&blob)));
    assert!(zstd::decode_all(blob.as_slice()).expect("a zstd stream") == tar);
    if let Outcome::Chunked { annotations } = &written.toc {
        let found =
            inspect(Cursor::new(&blob), Some(annotations), InspectOptions { verify: true }).expect("frames");
        assert_eq!(found.problems, Vec::<String>::new());
        assert_eq!(found.verified.map(|verified| verified.headers), Some(written.stats.entries));
    }
}

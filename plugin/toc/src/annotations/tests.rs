use proptest::prelude::*;

use super::*;

const CHECKSUM: &str = "sha256:abda778a0f52c815a1f4e25452a283bf7ecaa3659f710e658456c183391da1d9";
const TINY_SIZE: u64 = 1043;

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn tiny(position: &str, tar_split: &str) -> BTreeMap<String, String> {
    map(&[
        (labels::ZSTD_CHUNKED_CHECKSUM, CHECKSUM),
        (labels::ZSTD_CHUNKED_POSITION, position),
        (labels::ZSTD_CHUNKED_TARSPLIT, tar_split),
    ])
}

fn reason(annotations: &BTreeMap<String, String>, blob_size: u64) -> String {
    match classify(annotations, blob_size) {
        Format::Plain { reason: Some(reason) } => reason,
        other => panic!("not plain with a reason: {other:?}"),
    }
}

#[test]
fn current_generation_is_chunked() {
    let found = classify(&tiny("252:288:567:1", "548:423:14116"), TINY_SIZE);
    let Format::ZstdChunked(found) = found else { panic!("{found:?}") };
    assert_eq!(found.toc_digest.to_string(), CHECKSUM);
    assert_eq!(found.toc, FrameRef { offset: 252, compressed: 288, uncompressed: 567 });
    assert_eq!(found.tar_split, FrameRef { offset: 548, compressed: 423, uncompressed: 14116 });
    assert_eq!(found.metadata_range(), ByteRange { start: 252, end: 971 });
    assert_eq!(found.payload_end(), 244);
}

#[test]
fn a_bare_tar_is_plain_whatever_its_annotations_say() {
    let annotations = tiny("252:288:567:1", "548:423:14116");
    for (media_type, chunked) in [
        ("application/vnd.oci.image.layer.v1.tar", false),
        ("application/vnd.oci.image.layer.v1.tar+zstd", true),
        ("application/vnd.oci.image.layer.v1.tar+gzip", true),
        ("application/vnd.docker.image.rootfs.diff.tar", true),
    ] {
        let found = classify_layer(media_type, &annotations, TINY_SIZE);
        assert_eq!(matches!(found, Format::ZstdChunked(_)), chunked, "{media_type}: {found:?}");
        assert_eq!(classify_layer(media_type, &BTreeMap::new(), TINY_SIZE), Format::Plain { reason: None });
    }
}

#[test]
fn a_layer_without_annotations_is_plain_without_a_reason() {
    assert_eq!(classify(&BTreeMap::new(), 10), Format::Plain { reason: None });
    assert_eq!(classify(&map(&[("org.example", "x")]), 10), Format::Plain { reason: None });
}

#[test]
fn other_generations_are_plain_with_a_reason() {
    // Generation A: old prefix, as Debian 12's skopeo writes it.
    let a = map(&[
        (labels::OLD_ZSTD_CHUNKED_CHECKSUM, CHECKSUM),
        ("io.containers.zstd-chunked.manifest-position", "3153776:4474:16394:1"),
    ]);
    assert!(reason(&a, 3_158_298).contains("old generation"));
    // Generation B: current prefix, no tar-split.
    let b =
        map(&[(labels::ZSTD_CHUNKED_CHECKSUM, CHECKSUM), (labels::ZSTD_CHUNKED_POSITION, "252:288:567:1")]);
    assert!(reason(&b, TINY_SIZE).contains("without a tar-split"));
    let estargz = map(&[(labels::STARGZ_TOC_DIGEST, CHECKSUM)]);
    assert!(reason(&estargz, 10).contains("estargz"));
    let mut both = tiny("252:288:567:1", "548:423:14116");
    both.insert(labels::STARGZ_TOC_DIGEST.to_owned(), CHECKSUM.to_owned());
    assert!(reason(&both, TINY_SIZE).contains("both"));
}

#[test]
fn unsound_annotations_are_plain_with_a_reason() {
    for (position, tar_split, size, expected) in [
        ("252:288:567:1x", "548:423:14116", TINY_SIZE, "4 decimal numbers"),
        ("252:288:567", "548:423:14116", TINY_SIZE, "4 decimal numbers"),
        ("252:288:567:2", "548:423:14116", TINY_SIZE, "type 2"),
        ("252:288:567:1", "548:423:14116:1", TINY_SIZE, "3 decimal numbers"),
        ("252:288:567:1", "548:423:14116", 970, "outside the blob"),
        ("7:288:567:1", "548:423:14116", TINY_SIZE, "outside the blob"),
        ("252:0:567:1", "548:423:14116", TINY_SIZE, "empty"),
        ("252:288:567:1", "548:423:0", TINY_SIZE, "empty"),
        ("252:288:157286401:1", "548:423:14116", TINY_SIZE, "limit"),
        ("252:157286401:567:1", "548:423:14116", 1 << 40, "limit"),
        ("252:288:567:1", "548:423:1073741825", TINY_SIZE, "limit"),
        ("252:288:567:1", "539:423:14116", TINY_SIZE, "overlap"),
        ("252:288:567:1", "66077:423:14116", 1 << 20, "apart"),
        ("18446744073709551615:288:567:1", "548:423:14116", u64::MAX, "outside the blob"),
    ] {
        let reason = reason(&tiny(position, tar_split), size);
        assert!(reason.contains(expected), "{position} {tar_split} in {size}: {reason}");
    }
}

#[test]
fn a_checksum_that_is_no_sha256_is_plain() {
    for bad in ["", "sha256:00", "sha512:00", &CHECKSUM.to_uppercase()] {
        let mut annotations = tiny("252:288:567:1", "548:423:14116");
        annotations.insert(labels::ZSTD_CHUNKED_CHECKSUM.to_owned(), bad.to_owned());
        assert!(reason(&annotations, TINY_SIZE).contains("checksum"), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(checksum in "\\PC*", position in "\\PC*", split in "\\PC*", size: u64) {
        let mut annotations = tiny(&position, &split);
        let _ = classify(&annotations, size);
        annotations.insert(labels::ZSTD_CHUNKED_CHECKSUM.to_owned(), checksum);
        let _ = classify(&annotations, size);
    }

    #[test]
    fn accepted_positions_lie_inside_the_blob(toc: [u64; 3], split: [u64; 3], shift in 0u32..60, size: u64) {
        let [a, b, c] = toc.map(|value| value >> shift);
        let [d, e, f] = split.map(|value| value >> shift);
        let annotations = tiny(&format!("{a}:{b}:{c}:1"), &format!("{d}:{e}:{f}"));
        if let Format::ZstdChunked(found) = classify(&annotations, size) {
            let range = found.metadata_range();
            prop_assert!(range.end <= size);
            prop_assert!(range.contains(&found.toc.range()) && range.contains(&found.tar_split.range()));
            let most = b + e + limits::METADATA_GAP_BYTES;
            prop_assert!(range.len() >= b + e && range.len() <= most);
        }
    }
}

//! Blobs as older writers made them: what can be verified of them is, and the rest is named.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation, reason = "a test")]

mod common;

use std::collections::BTreeMap;

use chunked_format::{Digest, Generation, Inspection};
use common::oddities::Tar;
use common::{annotations, noise, options, verified, written};
use serde_json::{Value, json};

const NEW: &str = "io.github.containers.zstd-chunked.";
const OLD: &str = "io.containers.zstd-chunked.";

type Annotations = BTreeMap<String, String>;

/// Blob and annotations of the current writer with the TOC changed, and the frames behind the payload made anew.
fn older(old_footer: bool, prefix: &str, change: impl Fn(&mut Value)) -> (Vec<u8>, Annotations) {
    let content = noise(7, 300_000);
    let tar = Tar::default().file(b"cut", &content).file(b"small", b"some text").file(b"empty", b"").end();
    let (mut blob, written) = written(&tar, &options(3, 1));
    let stated = annotations(&written);
    let split = common::index(&blob, stated);
    let at: Vec<usize> =
        stated[&format!("{NEW}manifest-position")].split(':').map(|n| n.parse().unwrap()).collect();
    let mut toc: Value =
        serde_json::from_slice(&zstd::decode_all(&blob[at[0]..at[0] + at[1]]).unwrap()).unwrap();
    change(&mut toc);
    let json = serde_json::to_vec(&toc).unwrap();
    blob.truncate(at[0] - 8);
    let mut place = |payload: &[u8]| {
        blob.extend_from_slice(b"\x50\x2a\x4d\x18");
        blob.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        blob.extend_from_slice(payload);
        (blob.len() - payload.len()) as u64
    };
    let compressed = zstd::encode_all(json.as_slice(), 3).unwrap();
    let offset = place(&compressed);
    let mut numbers = vec![offset, compressed.len() as u64, json.len() as u64, 1];
    let mut annotations = Annotations::from([
        (format!("{prefix}manifest-checksum"), Digest::of(&compressed).to_string()),
        (format!("{prefix}manifest-position"), format!("{offset}:{}:{}:1", compressed.len(), json.len())),
    ]);
    if !old_footer {
        let offset = place(&split.tar_split);
        let (len, whole) = (split.tar_split.len() as u64, split.tar_split_len);
        numbers.extend([offset, len, whole]);
        annotations.insert(format!("{NEW}tarsplit-position"), format!("{offset}:{len}:{whole}"));
        annotations.insert(format!("{NEW}tarsplit-checksum"), Digest::of(&split.tar_split).to_string());
    }
    let mut footer: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    footer.extend_from_slice(if old_footer { b"GnUlInUx" } else { b"GNUlInUx" });
    place(&footer);
    (blob, annotations)
}

fn without_split(toc: &mut Value) {
    toc.as_object_mut().unwrap().remove("tarSplitDigest");
}

fn entries(toc: &mut Value) -> &mut Vec<Value> {
    toc["entries"].as_array_mut().unwrap()
}

fn says(phrases: &[String], what: &str) -> bool {
    phrases.iter().any(|phrase| phrase.contains(what))
}

fn sound(seen: &Inspection, generation: Generation, headers: u64) {
    assert_eq!((seen.generation, seen.problems.as_slice()), (generation, [].as_slice()));
    let verified = seen.verified.unwrap();
    assert_eq!((verified.files, verified.headers), (2, headers));
    assert!(verified.chunks > 3, "{verified:?}");
    assert!(says(&seen.evidence.checked, "digests of 2 files"), "{:?}", seen.evidence);
    assert!(says(&seen.evidence.checked, "digest of the TOC, as the annotations"), "{:?}", seen.evidence);
}

#[test]
fn a_tar_split_that_only_annotations_vouch_for() {
    let (blob, mut stated) = older(false, NEW, without_split);
    let seen = verified(&blob, Some(&stated));
    sound(&seen, Generation::CToE, 3);
    assert!(says(&seen.evidence.checked, "tar-split, as the annotations state it"));
    assert!(says(&seen.evidence.checked, "3 tar headers"));
    // With the footer alone, nothing vouches for either.
    let seen = verified(&blob, None);
    assert_eq!(seen.problems, Vec::<String>::new());
    assert!(says(&seen.evidence.not_checked, "the TOC: without its image"));
    assert!(says(&seen.evidence.not_checked, "the tar-split: nothing states"));
    stated.insert(format!("{NEW}tarsplit-checksum"), Digest::of(b"").to_string());
    assert!(says(&verified(&blob, Some(&stated)).problems, "the tar-split does not have the digest"));
}

#[test]
fn without_a_tar_split() {
    for prefix in [OLD, NEW] {
        let (blob, mut stated) = older(true, prefix, without_split);
        let seen = verified(&blob, Some(&stated));
        sound(&seen, Generation::AOrB, 0);
        assert!(says(&seen.evidence.not_checked, "there is no tar-split"));
        stated.insert(format!("{prefix}manifest-checksum"), Digest::of(b"").to_string());
        assert!(says(&verified(&blob, Some(&stated)).problems, "the TOC has digest"));
    }
}

#[test]
fn stargz_snapshotters() {
    let strip = |toc: &mut Value| {
        without_split(toc);
        for entry in entries(toc) {
            entry.as_object_mut().unwrap().remove("endOffset");
        }
    };
    let (blob, mut stated) = older(true, OLD, strip);
    let seen = verified(&blob, Some(&stated));
    let toc = seen.toc.unwrap();
    let compressed = &blob[toc.offset as usize..(toc.offset + toc.compressed) as usize];
    let json = zstd::decode_all(compressed).unwrap();
    stated.insert("containerd.io/snapshot/stargz/toc.digest".to_owned(), Digest::of(&json).to_string());
    sound(&verified(&blob, Some(&stated)), Generation::Stargz, 0);
    stated.insert("containerd.io/snapshot/stargz/toc.digest".to_owned(), Digest::of(b"").to_string());
    assert!(says(&verified(&blob, Some(&stated)).problems, "the TOC's JSON has digest"));
}

#[test]
fn what_such_a_toc_says_wrongly_is_found() {
    let other = Digest::of(b"other").to_string();
    let (blob, stated) = older(true, OLD, |toc| {
        without_split(toc);
        entries(toc)[0]["digest"] = json!(other);
    });
    let seen = verified(&blob, Some(&stated));
    assert!(says(&seen.problems, "\"cut\" is not what the TOC says"), "{:?}", seen.problems);
    let (blob, stated) = older(true, OLD, |toc| {
        without_split(toc);
        let small = entries(toc).iter().position(|entry| entry["name"] == "small").unwrap();
        entries(toc)[small]["offset"] = json!(3);
        entries(toc)[0].as_object_mut().unwrap().remove("digest");
    });
    let seen = verified(&blob, Some(&stated));
    assert_eq!(seen.problems, ["\"small\" is not where the TOC says"]);
    assert!(says(&seen.evidence.not_checked, "states no digest: 1"));
}

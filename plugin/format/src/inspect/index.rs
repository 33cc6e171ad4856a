//! Finds and reads TOC and tar-split of a blob.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

use chunked_core::{ByteRange, Digest, labels};
use chunked_toc::{Annotations, FooterKind, Format, FrameRef, LayerIndex, TocError, limits};
use serde::Deserialize;

use crate::entry::TocEntry;
use crate::inspect::decoder::decode;
use crate::inspect::frames::FrameStats;
use crate::inspect::{InspectError, Problems, TocStats};
use crate::skippable;

/// Bytes at the end that hold any footer.
const TAIL: u64 = 72;

/// What a blob says about its content.
#[derive(Debug)]
pub(super) struct Index {
    pub toc: TocStats,
    pub entries: Vec<TocEntry>,
    pub footer: Option<FooterKind>,
    /// As a puller sees it; only of the current generation, and only if a puller would take it.
    pub layer: Option<LayerIndex>,
    /// What there was to compare with.
    pub stated: Stated,
    /// The tar-split of a generation whose TOC does not authenticate it.
    old_split: Option<(Vec<u8>, u64)>,
}

/// Which statements there were to compare TOC and tar-split with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stated {
    /// The annotations state the TOC's digest.
    pub toc: bool,
    /// The TOC states the tar-split's digest.
    pub tar_split: bool,
    /// The TOC does not, but annotations do, as they did from June 2023 to May 2024.
    pub tar_split_by_annotation: bool,
}

/// The TOC as a whole.
#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    version: u64,
    #[serde(default)]
    entries: Option<Vec<TocEntry>>,
    #[serde(rename = "tarSplitDigest", default)]
    tar_split_digest: String,
}

/// Looks for TOC and tar-split by annotations, else by the footer.
pub(super) fn find(
    blob: &mut (impl Read + Seek),
    size: u64,
    annotations: Option<&BTreeMap<String, String>>,
    problems: &mut Problems,
) -> Result<Option<Index>, InspectError> {
    let tail = read(blob, ByteRange { start: size.saturating_sub(TAIL), end: size })?;
    let footer = chunked_toc::footer(&tail);
    let classified = annotations.map(|annotations| chunked_toc::classify(annotations, size));
    let (toc, tar_split, stated) = match (classified, footer) {
        (Some(Format::ZstdChunked(found)), footer) => {
            if footer
                .is_none_or(|footer| footer.toc != found.toc || footer.tar_split != Some(found.tar_split))
            {
                problems.add("the footer does not say what the annotations say");
            }
            (found.toc, Some(found.tar_split), Some(found.toc_digest))
        }
        (Some(Format::Plain { reason: Some(reason) }), None) => {
            problems.add(format!("annotations: {reason}"));
            return Ok(None);
        }
        (_, Some(footer)) => (footer.toc, footer.tar_split, None),
        (_, None) => return Ok(None),
    };
    let Some(compressed) = bounded(blob, size, toc, limits::TOC_BYTES, limits::TOC_BYTES)? else {
        problems.add("the table of contents lies outside the blob, or is too long");
        return Ok(None);
    };
    let digest = Digest::of(&compressed);
    let stated = stated.map(|stated| stated.to_string());
    let stated = stated.or_else(|| annotations.and_then(toc_checksum).cloned());
    if let Some(stated) = stated.as_ref().filter(|stated| !is(stated, digest)) {
        problems.add(format!("the TOC has digest {digest}, the annotations say {stated}"));
    }
    let of_json = annotations.and_then(|annotations| annotations.get(labels::STARGZ_TOC_DIGEST));
    let (entries, split_digest) = match document(&compressed, toc.uncompressed) {
        Ok((document, digest)) => {
            if let Some(stated) = of_json.filter(|stated| !is(stated, digest)) {
                problems.add(format!("the TOC's JSON has digest {digest}, the annotations say {stated}"));
            }
            if document.version != 1 {
                problems.add(format!("TOC version {} is unknown", document.version));
            }
            (document.entries.unwrap_or_default(), document.tar_split_digest)
        }
        Err(error) => {
            problems.add(format!("TOC: {error}"));
            (Vec::new(), String::new())
        }
    };
    let authenticated = !split_digest.is_empty();
    let layer = match tar_split.filter(|_| authenticated) {
        Some(tar_split) => layer(blob, size, Annotations { toc_digest: digest, toc, tar_split }, problems)?,
        None => None,
    };
    let mut stated = Stated { toc: stated.or(of_json.cloned()).is_some(), ..Stated::default() };
    let mut old_split = None;
    if let (false, Some(tar_split)) = (authenticated, tar_split) {
        let limits = (limits::TAR_SPLIT_COMPRESSED_BYTES, limits::TAR_SPLIT_BYTES);
        match bounded(blob, size, tar_split, limits.0, limits.1)? {
            Some(bytes) => old_split = Some((bytes, tar_split.uncompressed)),
            None => problems.add("the tar-split lies outside the blob, or is too long"),
        }
        let checksum =
            annotations.and_then(|annotations| annotations.get(labels::ZSTD_CHUNKED_TARSPLIT_CHECKSUM));
        if let (Some((bytes, _)), Some(checksum)) = (&old_split, checksum) {
            stated.tar_split_by_annotation = true;
            if !is(checksum, Digest::of(bytes)) {
                problems.add(format!(
                    "the tar-split does not have the digest that the annotations say, {checksum}"
                ));
            }
        }
    }
    stated.tar_split = layer.is_some();
    let split = tar_split.unwrap_or(FrameRef { offset: 0, compressed: 0, uncompressed: 0 });
    let toc = TocStats {
        offset: toc.offset,
        compressed: toc.compressed,
        uncompressed: toc.uncompressed,
        digest,
        entries: entries.len() as u64,
        tar_split_offset: split.offset,
        tar_split_compressed: split.compressed,
        tar_split_uncompressed: split.uncompressed,
        tar_split_authenticated: authenticated,
    };
    Ok(Some(Index { toc, entries, footer: footer.map(|footer| footer.kind), layer, stated, old_split }))
}

impl Index {
    pub(super) fn into_parts(self) -> (TocStats, Vec<TocEntry>) {
        (self.toc, self.entries)
    }

    /// The compressed tar-split that can be compared with the content, and its length uncompressed.
    pub(super) fn tar_split(&self) -> Option<(&[u8], u64)> {
        let current = self.layer.as_ref().map(|layer| (layer.tar_split.as_ref(), layer.tar_split_len));
        current.or_else(|| self.old_split.as_ref().map(|(bytes, len)| (bytes.as_slice(), *len)))
    }

    /// TOC, tar-split and footer must be the last frames, and skippable ones, for clients that know nothing of them.
    pub(super) fn check_frames(&self, frames: &FrameStats, blob_size: u64, problems: &mut Problems) {
        let mut wanted = vec![(self.toc.offset, self.toc.compressed)];
        if self.toc.tar_split_offset > 0 {
            wanted.push((self.toc.tar_split_offset, self.toc.tar_split_compressed));
        }
        if !wanted.iter().all(|payload| frames.skippable_payloads.contains(payload)) {
            problems.add("TOC or tar-split is not a skippable frame of its own");
        }
        let last = frames.skippable_payloads.last().map_or(0, |(offset, len)| offset + len);
        if last != blob_size {
            problems.add("the footer is not the last frame");
        }
    }
}

/// What a puller makes of it.
fn layer(
    blob: &mut (impl Read + Seek),
    size: u64,
    annotations: Annotations,
    problems: &mut Problems,
) -> Result<Option<LayerIndex>, InspectError> {
    // The same checks as for annotations, as these may come from a footer.
    let derived = skippable::annotations(annotations.toc_digest, annotations.toc, annotations.tar_split);
    if let Format::Plain { reason } = chunked_toc::classify(&derived, size) {
        problems.add(reason.unwrap_or_default());
        return Ok(None);
    }
    let metadata = read(blob, annotations.metadata_range())?;
    let parsed: Result<LayerIndex, TocError> = chunked_toc::parse(&annotations, &metadata);
    match parsed {
        Ok(layer) => Ok(Some(layer)),
        Err(error) => {
            problems.add(chunked_core::Causes(&error).to_string());
            Ok(None)
        }
    }
}

/// What annotations of any generation say that the compressed TOC's digest is.
fn toc_checksum(annotations: &BTreeMap<String, String>) -> Option<&String> {
    let keys = [labels::ZSTD_CHUNKED_CHECKSUM, labels::OLD_ZSTD_CHUNKED_CHECKSUM];
    keys.into_iter().find_map(|key| annotations.get(key))
}

fn is(stated: &str, digest: Digest) -> bool {
    stated.parse().is_ok_and(|stated: Digest| stated == digest)
}

/// The TOC, and the digest of its JSON.
fn document(compressed: &[u8], uncompressed: u64) -> io::Result<(Document, Digest)> {
    let json = decode(compressed, uncompressed)?;
    Ok((serde_json::from_slice(&json)?, Digest::of(&json)))
}

/// The compressed bytes of a document that lies in the blob and is not too long.
fn bounded(
    blob: &mut (impl Read + Seek),
    size: u64,
    frame: FrameRef,
    compressed: u64,
    uncompressed: u64,
) -> io::Result<Option<Vec<u8>>> {
    let range = frame.range();
    let sound = range.end <= size
        && range.len() == frame.compressed
        && frame.compressed <= compressed
        && frame.uncompressed <= uncompressed;
    if sound { read(blob, range).map(Some) } else { Ok(None) }
}

fn read(blob: &mut (impl Read + Seek), range: ByteRange) -> io::Result<Vec<u8>> {
    blob.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::new();
    blob.by_ref().take(range.len()).read_to_end(&mut bytes)?;
    Ok(bytes)
}

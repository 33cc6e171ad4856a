//! Layer annotations: is this layer zstd:chunked in a generation that can be proven, and where is its TOC?
//! (zstd-chunked.md §2 and §5)

use std::collections::BTreeMap;

use chunked_core::media::is_bare_tar;
use chunked_core::{ByteRange, Digest, labels};

use crate::limits;
use crate::position::{FrameRef, fields};

/// Manifest type of the TOC, the fourth field of `manifest-position`; no other was ever defined.
const TOC_TYPE: u64 = 1;

/// Bytes of a skippable frame's header: magic and length.
pub(crate) const FRAME_HEADER: u64 = 8;

/// What a layer's annotations say, positions checked against the blob's size and [`limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotations {
    /// SHA-256 of the *compressed* TOC.
    pub toc_digest: Digest,
    /// The TOC in the blob.
    pub toc: FrameRef,
    /// The tar-split in the blob. Its digest stands in the TOC.
    pub tar_split: FrameRef,
}

/// How a layer can be pulled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Partially: TOC and tar-split are present and authenticated by the manifest.
    ZstdChunked(Annotations),
    /// As a whole, checked by blob digest and DiffID.
    Plain {
        /// Why a layer with annotations of a seekable format is not pulled partially; `None` when it has none.
        reason: Option<String>,
    },
}

impl Annotations {
    /// The one range of the blob that holds both TOC and tar-split.
    pub fn metadata_range(&self) -> ByteRange {
        let (toc, tar_split) = (self.toc.range(), self.tar_split.range());
        ByteRange { start: toc.start.min(tar_split.start), end: toc.end.max(tar_split.end) }
    }

    /// End of the blob's payload part: no file may reach beyond it. Bytes in the blob.
    pub fn payload_end(&self) -> u64 {
        self.metadata_range().start.saturating_sub(FRAME_HEADER)
    }
}

/// Sorts a layer of an image: as [`classify`], but a media type that makes its bytes a tar goes before the annotations.
pub fn classify_layer(media_type: &str, annotations: &BTreeMap<String, String>, blob_size: u64) -> Format {
    match classify(annotations, blob_size) {
        Format::ZstdChunked(_) if is_bare_tar(media_type) => {
            Format::Plain { reason: Some("its media type is that of an uncompressed layer".to_owned()) }
        }
        format => format,
    }
}

/// Sorts a blob by its `annotations`; `blob_size` is the layer descriptor's size in bytes.
///
/// Never an error: whatever is odd about the annotations, the whole blob can still be pulled and proven by
/// its digest and DiffID, so everything but a sound current layer is [`Format::Plain`] with a reason.
pub fn classify(annotations: &BTreeMap<String, String>, blob_size: u64) -> Format {
    let Some(checksum) = annotations.get(labels::ZSTD_CHUNKED_CHECKSUM) else {
        return Format::Plain { reason: other_format(annotations).map(str::to_owned) };
    };
    match current(annotations, checksum, blob_size) {
        Ok(annotations) => Format::ZstdChunked(annotations),
        Err(reason) => Format::Plain { reason: Some(reason) },
    }
}

fn other_format(annotations: &BTreeMap<String, String>) -> Option<&'static str> {
    if annotations.contains_key(labels::OLD_ZSTD_CHUNKED_CHECKSUM) {
        return Some("zstd:chunked of an old generation, without a tar-split");
    }
    annotations
        .contains_key(labels::STARGZ_TOC_DIGEST)
        .then_some("estargz, which has no tar-split to prove the layer's digest with")
}

fn current(
    annotations: &BTreeMap<String, String>,
    checksum: &str,
    blob_size: u64,
) -> Result<Annotations, String> {
    if annotations.contains_key(labels::STARGZ_TOC_DIGEST) {
        return Err("annotations of both zstd:chunked and estargz".to_owned());
    }
    let toc_digest: Digest = checksum.parse().map_err(|error| format!("toc checksum: {error}"))?;
    let [offset, compressed, uncompressed, kind] =
        position(annotations, labels::ZSTD_CHUNKED_POSITION)?.ok_or("annotations give no toc position")?;
    if kind != TOC_TYPE {
        return Err(format!("toc type {kind} is unknown"));
    }
    let toc = FrameRef { offset, compressed, uncompressed };
    let [offset, compressed, uncompressed] = position(annotations, labels::ZSTD_CHUNKED_TARSPLIT)?
        .ok_or("zstd:chunked without a tar-split (written before 2023)")?;
    let found = Annotations { toc_digest, toc, tar_split: FrameRef { offset, compressed, uncompressed } };
    check(&found, blob_size)?;
    Ok(found)
}

fn position<const N: usize>(
    annotations: &BTreeMap<String, String>,
    key: &str,
) -> Result<Option<[u64; N]>, String> {
    let Some(text) = annotations.get(key) else { return Ok(None) };
    let shown = || text.chars().take(100).collect::<String>();
    fields(text).map(Some).ok_or_else(|| format!("{key} {:?} is not {N} decimal numbers", shown()))
}

fn check(found: &Annotations, blob_size: u64) -> Result<(), String> {
    let frames = [
        ("toc", found.toc, limits::TOC_BYTES, limits::TOC_BYTES),
        ("tar-split", found.tar_split, limits::TAR_SPLIT_COMPRESSED_BYTES, limits::TAR_SPLIT_BYTES),
    ];
    for (what, frame, compressed_limit, uncompressed_limit) in frames {
        if frame.compressed == 0 || frame.uncompressed == 0 {
            return Err(format!("{what} is empty"));
        }
        if frame.compressed > compressed_limit || frame.uncompressed > uncompressed_limit {
            return Err(format!(
                "{what} of {} bytes ({} compressed) exceeds the limit of {uncompressed_limit} ({compressed_limit})",
                frame.uncompressed, frame.compressed
            ));
        }
        let end = frame.offset.checked_add(frame.compressed);
        if frame.offset < FRAME_HEADER || end.is_none_or(|end| end > blob_size) {
            return Err(format!(
                "{what} at {} with {} bytes lies outside the blob of {blob_size} bytes",
                frame.offset, frame.compressed
            ));
        }
    }
    let range = found.metadata_range();
    match range.len().checked_sub(found.toc.compressed + found.tar_split.compressed) {
        None => Err("toc and tar-split overlap".to_owned()),
        Some(gap) if gap > limits::METADATA_GAP_BYTES => {
            Err(format!("toc and tar-split are {gap} bytes apart"))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;

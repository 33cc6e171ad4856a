//! The metadata bytes of a blob to a checked index of the layer.

use chunked_core::{ByteRange, Digest};

use crate::annotations::Annotations;
use crate::build::Builder;
use crate::decode;
use crate::error::TocError;
use crate::schema;
use crate::toc::Toc;

/// The only TOC version there is. The reference never looks at it.
const VERSION: u64 = 1;

/// All that has to be known of a layer before its payload is fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerIndex {
    /// Files and where their bytes are.
    pub toc: Toc,
    /// The tar-split, still compressed; it has the digest that the TOC gives.
    pub tar_split: Vec<u8>,
    /// Uncompressed length of the tar-split as declared by the manifest, in bytes.
    pub tar_split_len: u64,
}

/// Parses `metadata`, the bytes of [`Annotations::metadata_range`], and checks everything that can be checked
/// without the payload (zstd-chunked.md §8, §10, §11).
///
/// # Errors
///
/// See [`TocError::kind`] for what a caller can do about them.
pub fn parse(annotations: &Annotations, metadata: &[u8]) -> Result<LayerIndex, TocError> {
    let wanted = annotations.metadata_range();
    let wrong_length = || TocError::MetadataLength { wanted, got: metadata.len() };
    if metadata.len() as u64 != wanted.len() {
        return Err(wrong_length());
    }
    let part = |range| part(metadata, wanted, range).ok_or_else(wrong_length);
    let compressed = part(annotations.toc.range())?;
    verify("toc", compressed, annotations.toc_digest)?;
    let json = decode::exactly("toc", compressed, annotations.toc.uncompressed)?;
    let metadata_bytes = annotations.toc.compressed.saturating_add(annotations.tar_split.compressed);
    let mut builder = Builder::new(annotations.payload_end(), metadata_bytes);
    let document = schema::read(&json, |entry| builder.push(&entry))?;
    if document.version != Some(VERSION) {
        return Err(TocError::Version(document.version));
    }
    let digest = document.tar_split_digest.as_deref().ok_or(TocError::NoTarSplitDigest)?;
    let tar_split = part(annotations.tar_split.range())?;
    verify("tar-split", tar_split, digest.parse().map_err(TocError::TarSplitDigest)?)?;
    let toc = builder.finish()?;
    Ok(LayerIndex { toc, tar_split: tar_split.to_vec(), tar_split_len: annotations.tar_split.uncompressed })
}

/// The bytes of `range` when `metadata` holds the bytes of `whole`.
fn part(metadata: &[u8], whole: ByteRange, range: ByteRange) -> Option<&[u8]> {
    let index = |offset: u64| usize::try_from(offset.checked_sub(whole.start)?).ok();
    metadata.get(index(range.start)?..index(range.end)?)
}

fn verify(what: &'static str, bytes: &[u8], expected: Digest) -> Result<(), TocError> {
    let actual = Digest::of(bytes);
    if actual == expected { Ok(()) } else { Err(TocError::Digest { what, expected, actual }) }
}

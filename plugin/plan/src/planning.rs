//! From a TOC to a plan.

use chunked_core::{ByteRange, Digest};
use chunked_toc::{Piece, PieceKind, Toc, TocFile};

use crate::costs::Costs;
use crate::ranges::{cover, total};
use crate::summary::Summary;

/// What the node already has.
pub trait Reuse {
    /// A file on the node that can stand in for one of the layer.
    type Donor;

    /// For each (SHA-256, size in bytes) of `wanted` a file with these contents, if there is one. Whoever
    /// copies it checks the digest. Asked once per layer, so that an index can answer in one query.
    fn lookup(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Self::Donor>>;
}

/// Where a file's bytes come from. Never from both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource<D> {
    /// From the blob: all its data pieces lie in [`Plan::ranges`].
    Fetch,
    /// From a file on the node.
    Donor(D),
}

/// How to get a layer's payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan<D> {
    /// Parallel to [`Toc::files`].
    pub sources: Vec<FileSource<D>>,
    /// Bytes of the blob to fetch: sorted, not touching, none empty, all inside the payload part.
    pub ranges: Vec<ByteRange>,
    /// Bytes of blob in data pieces of files that are fetched.
    pub needed_bytes: u64,
    /// Bytes in `ranges`: `needed_bytes` and the gaps between.
    pub fetch_bytes: u64,
    /// Bytes of blob in data pieces of files that the node has.
    pub reused_bytes: u64,
    /// Files that the node has.
    pub reused_files: u64,
    /// The node has no file of this layer, and one range gets them all.
    pub whole: bool,
    /// Bytes of TOC and tar-split, which were fetched to make this plan.
    pub metadata_bytes: u64,
}

/// Plans how to get the files of `toc`.
pub fn plan<R: Reuse>(toc: &Toc, reuse: &R, costs: &Costs) -> Plan<R::Donor> {
    let wanted: Vec<_> = toc.files.iter().map(|file| (file.digest, file.size)).collect();
    let mut donors = if wanted.is_empty() { Vec::new() } else { reuse.lookup(&wanted) }.into_iter();
    let mut sources = Vec::with_capacity(toc.files.len());
    let mut missing = Vec::new();
    let (mut reused_bytes, mut reused_files) = (0u64, 0);
    for file in &toc.files {
        sources.push(match donors.next().flatten() {
            Some(donor) => {
                reused_files += 1;
                reused_bytes =
                    data(toc, file).fold(reused_bytes, |sum, range| sum.saturating_add(range.len()));
                FileSource::Donor(donor)
            }
            None => {
                missing.extend(data(toc, file));
                FileSource::Fetch
            }
        });
    }
    let cover = cover(missing, toc.metadata_bytes, costs);
    Plan {
        sources,
        whole: reused_files == 0 && cover.ranges.len() == 1,
        needed_bytes: cover.needed,
        fetch_bytes: cover.fetched,
        ranges: cover.ranges,
        reused_bytes,
        reused_files,
        metadata_bytes: toc.metadata_bytes,
    }
}

/// Blob ranges of a file's data pieces.
fn data<'a>(toc: &'a Toc, file: &TocFile) -> impl Iterator<Item = ByteRange> + use<'a> {
    toc.pieces_of(file).iter().filter(|piece: &&Piece| piece.kind == PieceKind::Data).map(|piece| piece.blob)
}

impl<D> Plan<D> {
    /// Numbers for logs and `plan --dry-run`.
    pub fn summary(&self) -> Summary {
        debug_assert_eq!(self.fetch_bytes, total(&self.ranges));
        Summary {
            files: self.sources.len() as u64,
            reused_files: self.reused_files,
            reused_bytes: self.reused_bytes,
            needed_bytes: self.needed_bytes,
            fetch_bytes: self.fetch_bytes,
            metadata_bytes: self.metadata_bytes,
            ranges: self.ranges.len() as u64,
            whole: self.whole,
        }
    }
}

#[cfg(test)]
mod tests;

//! From a TOC to a plan.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chunked_core::{ByteRange, Digest};
use chunked_toc::{Piece, PieceKind, Toc, TocFile};

use crate::costs::{Costs, Prefer};
use crate::decision::Decision;
use crate::ranges::{cover, total};
use crate::summary::Summary;

/// What the node already has.
pub trait Reuse {
    /// A file on the node that can stand in for one of the layer.
    type Donor;

    /// For each (SHA-256, size in bytes) of `wanted` a file with these contents, if there is one. Whoever
    /// copies it checks the digest. Asked once per layer, so that an index can answer in one query. The same
    /// content may be wanted several times.
    fn lookup(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Self::Donor>>;

    /// For each (SHA-256, length in bytes) of `wanted` a file that holds these bytes from some offset on, and
    /// that offset. Asked at most once per layer, after [`Reuse::lookup`], for pieces of large files.
    fn lookup_chunks(&self, wanted: &[(Digest, u64)]) -> Vec<Option<(Self::Donor, u64)>> {
        let _ = wanted;
        Vec::new()
    }
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileSource<D> {
    /// From the blob: all its data pieces lie in [`Plan::ranges`].
    Fetch,
    /// From a file on the node.
    Donor(D),
    /// An earlier file of this layer has the same content: its number in [`Toc::files`]. That one is fetched.
    Repeat(usize),
    /// Piece by piece, parallel to [`Toc::pieces_of`]; at least one of them is not fetched.
    Pieces(Vec<PieceSource<D>>),
}

/// Where a piece of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PieceSource<D> {
    /// From the blob; a hole from nowhere.
    Fetch,
    /// From a file on the node, from this offset on, in bytes.
    Donor(D, u64),
    /// An earlier piece of this layer has the same content: its number in [`Toc::pieces`]. That one is fetched.
    Repeat(u32),
}

/// How to get a layer's payloads.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan<D> {
    /// Parallel to [`Toc::files`].
    pub sources: Vec<FileSource<D>>,
    /// Bytes of the blob to fetch: sorted, not touching, none empty, all inside the payload part.
    pub ranges: Vec<ByteRange>,
    /// Bytes of blob in the data pieces that are fetched.
    pub needed_bytes: u64,
    /// Bytes in `ranges`: `needed_bytes` and the gaps between.
    pub fetch_bytes: u64,
    /// Bytes of blob in the data pieces that the node has, or that come once already.
    pub reused_bytes: u64,
    /// Files of which nothing is fetched for their own sake.
    pub reused_files: u64,
    /// Pieces of other files that are not fetched for their own sake, holes left out.
    pub reused_pieces: u64,
    /// Bytes of blob of files and pieces that repeat earlier ones of this layer.
    pub repeated_bytes: u64,
    /// The node has nothing of this layer, and one range gets all of it.
    pub whole: bool,
    /// Bytes of TOC and tar-split, which were fetched to make this plan.
    pub metadata_bytes: u64,
    /// Why these ranges.
    pub decision: Decision,
}

impl<D> Default for Plan<D> {
    fn default() -> Self {
        Self {
            sources: Vec::new(),
            ranges: Vec::new(),
            needed_bytes: 0,
            fetch_bytes: 0,
            reused_bytes: 0,
            reused_files: 0,
            reused_pieces: 0,
            repeated_bytes: 0,
            whole: false,
            metadata_bytes: 0,
            decision: Decision::default(),
        }
    }
}

/// Longest piece, in bytes, that is taken from elsewhere: whoever places it holds it in memory.
pub const MAX_REUSED_PIECE: u64 = 2 << 20;

/// Plans how to get the files of `toc`.
pub fn plan<R: Reuse>(toc: &Toc, reuse: &R, costs: &Costs) -> Plan<R::Donor> {
    let mut sources = files(toc, reuse);
    pieces(toc, reuse, &mut sources);
    let mut count = Count::default();
    let mut missing = Vec::new();
    for (file, source) in toc.files.iter().zip(&sources) {
        match source {
            FileSource::Fetch => missing.extend(data(toc, file)),
            FileSource::Donor(_) => count.file(toc, file, false),
            FileSource::Repeat(_) => count.file(toc, file, true),
            FileSource::Pieces(pieces) => {
                for (piece, source) in toc.pieces_of(file).iter().zip(pieces) {
                    match source {
                        PieceSource::Fetch if piece.kind == PieceKind::Data => missing.push(piece.blob),
                        PieceSource::Fetch => {}
                        PieceSource::Donor(..) => count.piece(piece, false),
                        PieceSource::Repeat(_) => count.piece(piece, true),
                    }
                }
            }
        }
    }
    // Of a layer that is new to the node hardly a byte can be saved.
    let prefer = if count.here { costs.prefer } else { Prefer::Time };
    let cover = cover(missing, toc.metadata_bytes, &Costs { prefer, ..*costs });
    Plan {
        sources,
        whole: count.bytes == 0 && cover.ranges.len() == 1,
        needed_bytes: cover.needed,
        fetch_bytes: cover.fetched,
        ranges: cover.ranges,
        decision: cover.decision,
        reused_bytes: count.bytes,
        reused_files: count.files,
        reused_pieces: count.pieces,
        repeated_bytes: count.repeated,
        metadata_bytes: toc.metadata_bytes,
    }
}

#[derive(Default)]
struct Count {
    bytes: u64,
    files: u64,
    pieces: u64,
    repeated: u64,
    /// Some of them are on the node.
    here: bool,
}

impl Count {
    fn bytes(&mut self, bytes: u64, repeat: bool) {
        self.here |= !repeat && bytes > 0;
        self.bytes = self.bytes.saturating_add(bytes);
        if repeat {
            self.repeated = self.repeated.saturating_add(bytes);
        }
    }

    fn file(&mut self, toc: &Toc, file: &TocFile, repeat: bool) {
        self.files += 1;
        data(toc, file).for_each(|range| self.bytes(range.len(), repeat));
    }

    fn piece(&mut self, piece: &Piece, repeat: bool) {
        self.pieces += 1;
        self.bytes(piece.blob.len(), repeat);
    }
}

/// Whole files: donors, and repeats of files that have none.
fn files<R: Reuse>(toc: &Toc, reuse: &R) -> Vec<FileSource<R::Donor>> {
    let wanted: Vec<_> = toc.files.iter().map(|file| (file.digest, file.size)).collect();
    let mut donors = if wanted.is_empty() { Vec::new() } else { reuse.lookup(&wanted) }.into_iter();
    let mut first = HashMap::new();
    let source = |(index, key)| match donors.next().flatten() {
        Some(donor) => FileSource::Donor(donor),
        None => match first.entry(key) {
            Entry::Occupied(first) => FileSource::Repeat(*first.get()),
            Entry::Vacant(place) => {
                place.insert(index);
                FileSource::Fetch
            }
        },
    };
    wanted.into_iter().enumerate().map(source).collect()
}

/// Pieces of the files in `sources` that are fetched so far.
fn pieces<R: Reuse>(toc: &Toc, reuse: &R, sources: &mut [FileSource<R::Donor>]) {
    let fetched = |source: &FileSource<_>| matches!(source, FileSource::Fetch);
    // A file of one piece was looked up already.
    let of_several = |file: &TocFile| file.pieces.len() > 1;
    let wanted: Vec<_> = toc
        .files
        .iter()
        .zip(&*sources)
        .filter(|(file, source)| fetched(source) && of_several(file))
        .flat_map(|(file, _)| toc.pieces_of(file))
        .filter_map(key)
        .collect();
    let mut donors = if wanted.is_empty() { Vec::new() } else { reuse.lookup_chunks(&wanted) }.into_iter();
    let mut first = HashMap::new();
    for (file, source) in toc.files.iter().zip(sources) {
        if !fetched(source) {
            continue;
        }
        let from = |(index, piece)| {
            let Some(key) = key(piece) else { return PieceSource::Fetch };
            // In step with `wanted`.
            let donor = if of_several(file) { donors.next().flatten() } else { None };
            if let Some((donor, offset)) = donor {
                return PieceSource::Donor(donor, offset);
            }
            match first.entry(key) {
                Entry::Occupied(first) => PieceSource::Repeat(*first.get()),
                Entry::Vacant(place) => {
                    place.insert(index);
                    PieceSource::Fetch
                }
            }
        };
        let pieces: Vec<_> = file.pieces.clone().zip(toc.pieces_of(file)).map(from).collect();
        if pieces.iter().any(|piece| !matches!(piece, PieceSource::Fetch)) {
            *source = FileSource::Pieces(pieces);
        }
    }
}

/// What to look a piece up by; `None` when it is not to be taken from elsewhere.
fn key(piece: &Piece) -> Option<(Digest, u64)> {
    let taken = piece.kind == PieceKind::Data && piece.len <= MAX_REUSED_PIECE;
    piece.digest.filter(|_| taken).map(|digest| (digest, piece.len))
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
            reused_pieces: self.reused_pieces,
            repeated_bytes: self.repeated_bytes,
            reused_bytes: self.reused_bytes,
            needed_bytes: self.needed_bytes,
            fetch_bytes: self.fetch_bytes,
            metadata_bytes: self.metadata_bytes,
            ranges: self.ranges.len() as u64,
            whole: self.whole,
            decision: self.decision,
        }
    }
}

#[cfg(test)]
mod tests;

//! TOC entries to the arena, with the rules of a strict reader (zstd-chunked.md §11).

use chunked_core::{ByteRange, Digest};

use crate::error::{EntryError, TocError, shown};
use crate::limits;
use crate::schema::{Entry, Text};
use crate::toc::{Piece, PieceKind, Toc, TocFile};

/// How far the last file has come.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// Number of its `reg` entry.
    number: u64,
    /// Bytes that its pieces cover.
    covered: u64,
}

/// Collects entries in TOC order.
#[derive(Debug)]
pub(crate) struct Builder {
    toc: Toc,
    /// End of the payload part of the blob.
    payload_end: u64,
    /// Entries seen.
    entries: u64,
    /// Sum of the file sizes.
    bytes: u64,
    /// The last file, which still takes chunks.
    open: Option<Open>,
}

impl Builder {
    /// `payload_end`: offset in the blob that no file may reach beyond.
    pub(crate) fn new(payload_end: u64, metadata_bytes: u64) -> Self {
        let toc = Toc { metadata_bytes, ..Toc::default() };
        Self { toc, payload_end, entries: 0, bytes: 0, open: None }
    }

    /// Takes the next entry.
    pub(crate) fn push(&mut self, entry: &Entry<'_>) -> Result<(), TocError> {
        let number = self.entries;
        if number >= limits::ENTRIES {
            return Err(TocError::TooManyEntries);
        }
        self.entries += 1;
        let name = entry.name.as_deref().unwrap_or_default();
        let outcome = match entry.kind.as_deref() {
            Some("chunk") => self.chunk(entry, name),
            kind => {
                // An unfinished file is that file's fault, not this entry's.
                self.close()?;
                match kind {
                    Some("reg") if entry.size.unwrap_or(0) > 0 => self.file(entry, name, number),
                    _ => Ok(()),
                }
            }
        };
        outcome.map_err(|source| TocError::Entry { number, name: shown(name.as_bytes()), source })
    }

    /// Checks what can only be checked at the end, and gives the arena.
    pub(crate) fn finish(mut self) -> Result<Toc, TocError> {
        self.close()?;
        let ordered = |pair: &[TocFile]| matches!(pair, [a, b] if a.range.end <= b.range.start);
        if !self.toc.files.windows(2).all(ordered) {
            // Writers use tar order, but the format does not promise it.
            self.toc.files.sort_by_key(|file| file.range);
            for pair in self.toc.files.windows(2) {
                if let [a, b] = pair
                    && a.range.end > b.range.start
                {
                    let (first, second) = (shown(&a.name), shown(&b.name));
                    return Err(TocError::Overlap { first, second, start: b.range.start, end: a.range.end });
                }
            }
        }
        self.toc.files.shrink_to_fit();
        self.toc.pieces.shrink_to_fit();
        Ok(self.toc)
    }

    fn file(&mut self, entry: &Entry<'_>, name: &str, number: u64) -> Result<(), EntryError> {
        let size = entry.size.unwrap_or(0);
        let digest = digest("digest", entry.digest.as_ref())?.ok_or(EntryError::Missing("digest"))?;
        let range = self.range(entry)?;
        self.bytes = self
            .bytes
            .checked_add(size)
            .filter(|bytes| *bytes <= limits::LAYER_BYTES)
            .ok_or(EntryError::LayerSize)?;
        let found = entry.chunk_offset.unwrap_or(0);
        if found != 0 {
            return Err(EntryError::ChunkOffset { expected: 0, found });
        }
        let len = entry.chunk_size.filter(|len| *len > 0).unwrap_or(size);
        if len > size {
            return Err(EntryError::ChunkSum { sum: len, size });
        }
        let chunk_digest = digest_of_chunk(entry)?;
        let piece = Piece {
            blob: range,
            file_offset: 0,
            len,
            digest: if len == size { Some(digest) } else { chunk_digest },
            kind: kind(entry)?,
        };
        let first = self.next_piece()?;
        self.toc.pieces.push(piece);
        let after = self.next_piece()?;
        self.toc.files.push(TocFile {
            name: name.as_bytes().into(),
            size,
            digest,
            range,
            pieces: first..after,
        });
        self.open = Some(Open { number, covered: len });
        Ok(())
    }

    fn chunk(&mut self, entry: &Entry<'_>, name: &str) -> Result<(), EntryError> {
        let (Some(open), Some(file), Some(previous)) =
            (&mut self.open, self.toc.files.last_mut(), self.toc.pieces.last_mut())
        else {
            return Err(EntryError::StrayChunk);
        };
        if *file.name != *name.as_bytes() {
            return Err(EntryError::StrayChunk);
        }
        let (covered, found) = (open.covered, entry.chunk_offset.unwrap_or(0));
        if found != covered {
            return Err(EntryError::ChunkOffset { expected: covered, found });
        }
        let len = entry.chunk_size.unwrap_or(0);
        let sum = covered.saturating_add(len);
        if len == 0 || sum > file.size {
            return Err(EntryError::ChunkSum { sum, size: file.size });
        }
        let kind = kind(entry)?;
        let start = entry.offset.ok_or(EntryError::Missing("offset"))?;
        let end = file.range.end;
        // Data always has a frame; only a hole could do without.
        let starts_late_enough =
            start > previous.blob.start || (start == previous.blob.start && previous.kind == PieceKind::Hole);
        let starts_early_enough = start < end || (start == end && kind == PieceKind::Hole);
        if !(starts_late_enough && starts_early_enough) {
            return Err(EntryError::ChunkOrder { start, previous: previous.blob.start, end });
        }
        previous.blob.end = start;
        let blob = ByteRange { start, end };
        let digest = digest_of_chunk(entry)?;
        self.toc.pieces.push(Piece { blob, file_offset: covered, len, digest, kind });
        file.pieces.end += 1;
        open.covered = sum;
        Ok(())
    }

    /// Ends the open file: its pieces must cover it.
    fn close(&mut self) -> Result<(), TocError> {
        let (Some(open), Some(file)) = (self.open.take(), self.toc.files.last()) else { return Ok(()) };
        let padded = |piece: &&Piece| piece.kind == PieceKind::Data && piece.blob.len() > most(piece.len);
        let source = if open.covered != file.size {
            EntryError::ChunkSum { sum: open.covered, size: file.size }
        } else if let Some(piece) = self.toc.pieces_of(file).iter().find(padded) {
            EntryError::Padded { len: piece.len, frames: piece.blob.len() }
        } else {
            return Ok(());
        };
        Err(TocError::Entry { number: open.number, name: shown(&file.name), source })
    }

    fn range(&self, entry: &Entry<'_>) -> Result<ByteRange, EntryError> {
        let start = entry.offset.ok_or(EntryError::Missing("offset"))?;
        let end = entry.end_offset.ok_or(EntryError::Missing("endOffset"))?;
        if start >= end || end > self.payload_end {
            return Err(EntryError::Range { start, end, limit: self.payload_end });
        }
        Ok(ByteRange { start, end })
    }

    fn next_piece(&self) -> Result<u32, EntryError> {
        u32::try_from(self.toc.pieces.len()).map_err(|_| EntryError::LayerSize)
    }
}

/// Most bytes that the frames of `len` bytes of content take: zstd's own bound (`ZSTD_compressBound`).
fn most(len: u64) -> u64 {
    const SMALL: u64 = 128 << 10;
    let margin = SMALL.saturating_sub(len) >> 11;
    len.saturating_add(len >> 8).saturating_add(margin)
}

fn digest(field: &'static str, text: Option<&Text<'_>>) -> Result<Option<Digest>, EntryError> {
    let parse = |text: &Text<'_>| text.parse().map_err(|source| EntryError::Digest { field, source });
    text.filter(|text| !text.is_empty()).map(parse).transpose()
}

fn digest_of_chunk(entry: &Entry<'_>) -> Result<Option<Digest>, EntryError> {
    digest("chunkDigest", entry.chunk_digest.as_ref())
}

fn kind(entry: &Entry<'_>) -> Result<PieceKind, EntryError> {
    match entry.chunk_type.as_deref() {
        None | Some("" | "data") => Ok(PieceKind::Data),
        Some("zeros") => Ok(PieceKind::Hole),
        Some(_) => Err(EntryError::ChunkType),
    }
}

#[cfg(test)]
mod tests;

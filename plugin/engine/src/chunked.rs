//! A zstd:chunked layer: headers from the tar-split, payloads from donors and fetched pieces.

use chunked_assemble::{AssembleError, BIG_FILE, Extracted, Extractor, FetchedPiece, is_long};
use chunked_plan::{FileSource, Plan};
use chunked_toc::{FileCursor, LayerIndex, Piece, PieceKind, SplitItem, TarSplit, Toc, TocError, TocFile};

use crate::reuse::Donors;
use crate::source::{Source, SourceError};

/// How a layer by ranges went wrong.
#[derive(Debug)]
pub(crate) enum ChunkedError {
    Fetch(chunked_fetch::FetchError),
    Toc(TocError),
    Assemble(AssembleError),
    /// A piece of the TOC lies before the one of an earlier tar entry.
    Order(u64),
    /// The transfer ended early.
    Ended(u64),
    /// This layer must be pulled whole.
    Whole(String),
}

impl From<AssembleError> for ChunkedError {
    fn from(error: AssembleError) -> Self {
        match error {
            AssembleError::NotChunked { .. } => Self::Whole(error.to_string()),
            error => Self::Assemble(error),
        }
    }
}

impl From<TocError> for ChunkedError {
    fn from(error: TocError) -> Self {
        Self::Toc(error)
    }
}

impl From<SourceError> for ChunkedError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Fetch(error) => Self::Fetch(error),
            SourceError::Order(offset) => Self::Order(offset),
            SourceError::Ended(offset) => Self::Ended(offset),
        }
    }
}

/// Everything one layer is built from.
pub(crate) struct Build<'a> {
    pub(crate) index: &'a LayerIndex,
    pub(crate) plan: &'a Plan<chunked_store::Donor>,
    pub(crate) donors: Donors,
    pub(crate) source: Source,
    pub(crate) extractor: Extractor,
}

impl Build<'_> {
    /// Runs the layer through the extractor. Blocks on the network and the disk.
    pub(crate) fn run(mut self) -> Result<Extracted, ChunkedError> {
        let mut split = TarSplit::open(&self.index.tar_split, self.index.tar_split_len)?;
        let mut cursor = FileCursor::new(&self.index.toc);
        while let Some(item) = split.next()? {
            match item {
                SplitItem::Segment(bytes) => self.extractor.raw(bytes.into())?,
                SplitItem::File { size: 0, .. } => {}
                SplitItem::File { name, size, .. } => {
                    let at = cursor.find(&name, size)?;
                    self.file(at)?;
                }
            }
        }
        Ok(self.extractor.finish()?)
    }

    fn file(&mut self, at: usize) -> Result<(), ChunkedError> {
        let lost = || ChunkedError::Whole("its plan does not fit its TOC".into());
        let toc: &Toc = &self.index.toc;
        let file = toc.files.get(at).ok_or_else(lost)?;
        if let FileSource::Donor(donor) = self.plan.sources.get(at).ok_or_else(lost)? {
            let opened = self.donors.open(donor).map_err(|error| AssembleError::Donor {
                path: String::from_utf8_lossy(&file.name).into_owned(),
                reason: error.to_string(),
                digest: file.digest,
            })?;
            return Ok(self.extractor.donor(file.size, file.digest, opened)?);
        }
        let pieces = toc.pieces_of(file);
        let long = |piece: &Piece| is_long(piece.len, piece.blob.len());
        if file.size > BIG_FILE || pieces.iter().any(long) {
            return self.long_file(file, pieces);
        }
        let mut fetched = Vec::with_capacity(pieces.len());
        for piece in pieces {
            fetched.push(fetch(&mut self.source, piece)?);
        }
        Ok(self.extractor.pieces(file.size, file.digest, fetched)?)
    }

    fn long_file(&mut self, file: &TocFile, pieces: &[Piece]) -> Result<(), ChunkedError> {
        let mut long_file = self.extractor.long_file(file.size, file.digest)?;
        for piece in pieces {
            if piece.kind == PieceKind::Hole || !is_long(piece.len, piece.blob.len()) {
                long_file.piece(fetch(&mut self.source, piece)?)?;
                continue;
            }
            let mut reader = self.source.reader(piece.blob);
            let done = long_file.long_piece(&described(piece), &mut reader);
            // The decoder's error hides the transfer's.
            if let Some(error) = reader.error {
                return Err(error.into());
            }
            done?;
        }
        Ok(long_file.finish()?)
    }
}

fn described(piece: &Piece) -> FetchedPiece {
    FetchedPiece { offset: piece.blob.start, len: piece.len, digest: piece.digest, frames: None }
}

fn fetch(source: &mut Source, piece: &Piece) -> Result<FetchedPiece, ChunkedError> {
    let mut fetched = described(piece);
    if piece.kind == PieceKind::Data {
        fetched.frames = Some(source.take(piece.blob)?);
    }
    Ok(fetched)
}

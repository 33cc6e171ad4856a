//! Checks what is in the frames: every digest, and the tar-split.

use chunked_core::{Digest, Hasher};
use chunked_toc::{LayerIndex, TocFile};

use crate::inspect::claims::Claims;
use crate::inspect::decoder::Pieces;
use crate::inspect::frames::Visitor;
use crate::inspect::index::Index;
use crate::inspect::split::Split;
use crate::inspect::{InspectError, Problems, Verified};

/// Bytes seen and their digest.
#[derive(Debug, Default)]
struct Sum {
    hasher: Hasher,
    len: u64,
}

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// Length and digest; starts anew.
    fn take(&mut self) -> (u64, Digest) {
        let sum = std::mem::take(self);
        (sum.len, sum.hasher.finish())
    }
}

/// Decompresses the frames and compares their content with the index.
pub(super) struct Content<'a> {
    decoder: Pieces,
    whole: Sum,
    layer: Option<&'a LayerIndex>,
    split: Option<Split<'a>>,
    /// What a TOC says that pullers do not go by.
    claims: Option<Claims<'a>>,
    problems: &'a mut Problems,
    /// The next file of the TOC, and its next piece.
    file: usize,
    piece: usize,
    /// The open frame is the file's.
    inside: bool,
    /// The open frame starts here and cannot be decompressed.
    frame: u64,
    broken: bool,
    /// Bytes of content before it.
    content: u64,
    file_sum: Sum,
    piece_sum: Sum,
    files: u64,
    chunks: u64,
}

impl<'a> Content<'a> {
    pub(super) fn new(index: Option<&'a Index>, problems: &'a mut Problems) -> Result<Self, InspectError> {
        let layer = index.and_then(|index| index.layer.as_ref());
        let split = index
            .and_then(|index| index.tar_split().map(|split| (index, split)))
            .and_then(|(index, split)| Split::new(split, &index.entries, problems));
        let claims = index.filter(|_| layer.is_none()).map(|index| Claims::new(&index.entries, problems));
        Ok(Self {
            decoder: Pieces::new()?,
            whole: Sum::default(),
            layer,
            split,
            claims,
            problems,
            file: 0,
            piece: 0,
            inside: false,
            frame: 0,
            broken: false,
            content: 0,
            file_sum: Sum::default(),
            piece_sum: Sum::default(),
            files: 0,
            chunks: 0,
        })
    }

    /// What was verified, and how many files have no digest.
    pub(super) fn finish(mut self) -> (Verified, u64) {
        let headers = self.split.take().map_or(0, |split| split.finish(self.problems));
        while let Some(file) = self.current() {
            self.skip(file);
        }
        let (mut files, mut chunks, mut without_digest) = (self.files, self.chunks, 0);
        if let Some(mut claims) = self.claims.take() {
            claims.finish(self.problems);
            (files, chunks, without_digest) = (claims.files, claims.chunks, claims.without_digest);
        }
        let (tar_size, diff_id) = self.whole.take();
        (Verified { diff_id, tar_size, files, chunks, headers }, without_digest)
    }

    fn current(&self) -> Option<&'a TocFile> {
        self.layer?.toc.files.get(self.file)
    }

    fn skip(&mut self, file: &TocFile) {
        self.problems.add(format!("{:?} is not in frames of its own", shown(file)));
        self.next_file();
    }

    fn next_file(&mut self) {
        self.file += 1;
        self.piece = 0;
        (self.file_sum, self.piece_sum) = (Sum::default(), Sum::default());
    }

    /// A frame of `file` ended before `offset`.
    fn frame_ended(&mut self, file: &TocFile, offset: u64) {
        let pieces = self.layer.map_or(&[][..], |layer| layer.toc.pieces_of(file));
        let Some(piece) = pieces.get(self.piece).filter(|piece| offset >= piece.blob.end) else { return };
        let (len, digest) = self.piece_sum.take();
        let same = len == piece.len && piece.digest.is_none_or(|stated| stated == digest);
        if offset > piece.blob.end || !same {
            let (name, at) = (shown(file), piece.file_offset);
            self.problems.add(format!("{name:?}: the chunk at byte {at} is not what the TOC says"));
        }
        self.chunks += 1;
        self.piece += 1;
        if self.piece < pieces.len() {
            return;
        }
        if self.file_sum.take() != (file.size, file.digest) {
            self.problems.add(format!("{:?} is not what the TOC says", shown(file)));
        }
        self.files += 1;
        self.next_file();
    }
}

impl Visitor for Content<'_> {
    fn start(&mut self, offset: u64) -> Result<(), InspectError> {
        (self.frame, self.broken, self.content) = (offset, false, self.whole.len);
        // A file that was passed over is skipped, so that the others are checked.
        while let Some(file) = self.current().filter(|file| file.range.end <= offset) {
            self.skip(file);
        }
        self.inside = self.current().is_some_and(|file| file.range.start <= offset);
        if let Some(claims) = &mut self.claims {
            claims.frame(offset, self.problems);
        }
        self.decoder.restart()?;
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), InspectError> {
        if self.broken {
            return Ok(());
        }
        let (whole, file, piece) = (&mut self.whole, &mut self.file_sum, &mut self.piece_sum);
        let (split, claims, inside) = (&mut self.split, &mut self.claims, self.inside);
        let problems = &mut *self.problems;
        let outcome = self.decoder.feed(bytes, |content| {
            whole.add(content);
            if inside {
                file.add(content);
                piece.add(content);
            }
            if let Some(split) = split {
                split.feed(content);
            }
            if let Some(claims) = claims {
                claims.feed(content, problems);
            }
        });
        if let Err(error) = outcome {
            self.broken = true;
            self.problems.add(format!("the frame at byte {}: {error}", self.frame));
        }
        Ok(())
    }

    fn end(&mut self, offset: u64, size: Option<u64>) -> Result<(), InspectError> {
        // zstd's streaming decoder does not compare the size when the last block is empty.
        let other = size.is_some_and(|size| size != self.whole.len - self.content);
        if !self.broken && (other || !self.decoder.ended()) {
            self.problems
                .add(format!("the frame at byte {} does not have the content it announces", self.frame));
        }
        if self.inside
            && let Some(file) = self.current()
        {
            self.frame_ended(file, offset);
        }
        Ok(())
    }
}

fn shown(file: &TocFile) -> String {
    String::from_utf8_lossy(&file.name).into_owned()
}

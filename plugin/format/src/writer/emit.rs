//! Writes frames in order and keeps the books: offsets, TOC, tar-split.

use std::io::Write;
use std::sync::mpsc::Receiver;

use chunked_core::{Digest, Hasher};
use chunked_toc::FrameRef;

use crate::entry::TocEntry;
use crate::error::WriteError;
use crate::reason::Reason;
use crate::skippable;
use crate::writer::lane::FileSums;
use crate::writer::metadata::{TarSplit, Toc};
use crate::writer::pool::{Compressed, Done};
use crate::writer::step::Step;
use crate::writer::{Outcome, Stats, Written};

/// Bytes that a chunk's entry has at least: its digest and keys.
const CHUNK_ENTRY: u64 = 150;

/// The output with its digest.
struct Blob<W> {
    out: W,
    hasher: Hasher,
    offset: u64,
}

impl<W: Write> Blob<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        self.out.write_all(bytes).map_err(|source| WriteError::Write { offset: self.offset, source })?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// TOC and tar-split, while there is no reason against them.
struct Books {
    toc: Toc,
    tar_split: TarSplit,
}

/// A chunk that has been written.
struct Chunk {
    offset: u64,
    len: u64,
    zeros: bool,
    digest: Digest,
}

/// The file being written.
struct Open {
    entry: Box<TocEntry>,
    chunks: Vec<Chunk>,
    /// Where the next chunk starts in the blob.
    next: u64,
}

/// Takes steps in order and writes the blob.
pub(super) struct Emitter<W> {
    blob: Blob<W>,
    books: Result<Box<Books>, Reason>,
    open: Option<Open>,
    /// The frame written last.
    last: Option<Compressed>,
    stats: Stats,
}

impl<W: Write> Emitter<W> {
    pub(super) fn new(out: W, level: i32) -> Result<Self, WriteError> {
        let books = Books { toc: Toc::new(level)?, tar_split: TarSplit::new(level)? };
        Ok(Self {
            blob: Blob { out, hasher: Hasher::new(), offset: 0 },
            books: Ok(Box::new(books)),
            open: None,
            last: None,
            stats: Stats::default(),
        })
    }

    /// Writes the frames of a job and takes its steps.
    pub(super) fn emit(&mut self, steps: Vec<Step>, done: Done) -> Result<(), WriteError> {
        self.stats.frames += done.frames.len() as u64;
        // One write for the whole job; the steps then walk over it.
        let mut at = self.blob.offset;
        self.blob.write(&done.bytes)?;
        let mut frames = done.frames.into_iter();
        for step in steps {
            match step {
                Step::Frame => {
                    self.last = frames.next();
                    at += self.last.as_ref().map_or(0, |frame| frame.len as u64);
                }
                Step::Plain(reason) => self.give_up(reason),
                step => self.book(step, at)?,
            }
        }
        Ok(())
    }

    /// Takes a step that concerns TOC or tar-split; `at` is the offset in the blob behind the last frame.
    fn book(&mut self, step: Step, at: u64) -> Result<(), WriteError> {
        let Ok(books) = &mut self.books else { return Ok(()) };
        let refused = match step {
            Step::Segment(bytes) => books.tar_split.segment(&bytes)?,
            Step::Entry(entry) => {
                self.stats.entries += 1;
                if entry.size == 0 {
                    let refused = books.tar_split.file(&entry.name, 0, None)?;
                    refused.or(books.toc.entry(&entry)?)
                } else {
                    self.open = Some(Open { entry, chunks: Vec::new(), next: at });
                    None
                }
            }
            Step::Chunk { len, zeros, digest } => {
                let Some(open) = &mut self.open else { return Ok(()) };
                let digest = match digest {
                    Some(later) => later.recv().map_err(|_| WriteError::Worker)?,
                    None => self.last.as_ref().and_then(|frame| frame.digest).ok_or(WriteError::Worker)?,
                };
                open.chunks.push(Chunk { offset: open.next, len, zeros, digest });
                open.next = at;
                books.toc.too_long_with(open.chunks.len(), CHUNK_ENTRY)
            }
            Step::PayloadEnd { sums } => return self.file(sums),
            Step::Frame | Step::Plain(_) => None,
        };
        if let Some(reason) = refused {
            self.give_up(reason);
        }
        Ok(())
    }

    /// The open file is complete.
    fn file(&mut self, sums: Option<Receiver<FileSums>>) -> Result<(), WriteError> {
        let (Ok(books), Some(open)) = (&mut self.books, self.open.take()) else { return Ok(()) };
        let (digest, crc) = match sums {
            Some(later) => later.recv().map_err(|_| WriteError::Worker)?,
            None => {
                let sums = self.last.as_ref().and_then(|frame| frame.digest.zip(frame.crc));
                sums.ok_or(WriteError::Worker)?
            }
        };
        let mut entry = open.entry;
        let size = entry.size.unsigned_abs();
        self.stats.files += 1;
        self.stats.file_bytes += size;
        let mut refused = books.tar_split.file(&entry.name, size, Some(crc))?;
        entry.digest = digest.to_string();
        entry.end_offset = open.next;
        entry.offset = open.chunks.first().map_or(open.next, |chunk| chunk.offset);
        let several = open.chunks.len() > 1;
        self.stats.chunks += open.chunks.len() as u64;
        let mut offset = 0;
        for (index, chunk) in open.chunks.into_iter().enumerate() {
            let mut current = if index == 0 {
                std::mem::take(&mut *entry)
            } else {
                TocEntry { kind: "chunk".to_owned(), ..TocEntry::default() }
            };
            if index == 0 {
                // Its name goes on to the chunks.
                entry.name.clone_from(&current.name);
            } else {
                current.name.clone_from(&entry.name);
                current.offset = chunk.offset;
                current.chunk_offset = offset;
            }
            if several {
                current.chunk_size = chunk.len;
                current.chunk_digest = chunk.digest.to_string();
                if chunk.zeros {
                    "zeros".clone_into(&mut current.chunk_type);
                    self.stats.holes += 1;
                    self.stats.hole_bytes += chunk.len;
                }
            }
            offset += chunk.len;
            refused = refused.or(books.toc.entry(&current)?);
        }
        if let Some(reason) = refused {
            self.give_up(reason);
        }
        Ok(())
    }

    /// No TOC. The first reason counts.
    fn give_up(&mut self, reason: Reason) {
        self.open = None;
        if self.books.is_ok() {
            self.books = Err(reason);
        }
    }

    /// Writes TOC, tar-split and footer, unless there is a reason against them.
    pub(super) fn finish(mut self, tar_size: u64, diff_id: Digest) -> Result<Written, WriteError> {
        let books = std::mem::replace(&mut self.books, Err(Reason::Empty));
        let toc = match books {
            Ok(books) => self.write_books(*books)?,
            Err(reason) => Outcome::Plain { reasons: vec![reason] },
        };
        self.blob.out.flush().map_err(|source| WriteError::Write { offset: self.blob.offset, source })?;
        Ok(Written {
            diff_id,
            tar_size,
            blob_digest: self.blob.hasher.finish(),
            blob_size: self.blob.offset,
            toc,
            stats: self.stats,
        })
    }

    fn write_books(&mut self, books: Books) -> Result<Outcome, WriteError> {
        let tar_split = books.tar_split.finish()?;
        let toc = books.toc.finish(Digest::of(&tar_split.compressed))?;
        let toc_digest = Digest::of(&toc.compressed);
        let toc_at = self.skippable(&toc.compressed)?;
        let split_at = self.skippable(&tar_split.compressed)?;
        let reference = |offset, compressed: &[u8], uncompressed| FrameRef {
            offset,
            compressed: compressed.len() as u64,
            uncompressed,
        };
        let toc = reference(toc_at, &toc.compressed, toc.len);
        let tar_split = reference(split_at, &tar_split.compressed, tar_split.len);
        self.skippable(&skippable::footer(toc, tar_split))?;
        self.stats.toc_bytes = toc.uncompressed;
        self.stats.toc_compressed = toc.compressed;
        self.stats.tar_split_bytes = tar_split.uncompressed;
        self.stats.tar_split_compressed = tar_split.compressed;
        Ok(Outcome::Chunked { annotations: skippable::annotations(toc_digest, toc, tar_split) })
    }

    /// Writes a skippable frame; gives the offset of its payload.
    fn skippable(&mut self, payload: &[u8]) -> Result<u64, WriteError> {
        let header =
            skippable::header(payload).ok_or(WriteError::Compress("a skippable frame is too long"))?;
        self.blob.write(&header)?;
        debug_assert_eq!(header.len() as u64, skippable::HEADER);
        let at = self.blob.offset;
        self.blob.write(payload)?;
        Ok(at)
    }
}

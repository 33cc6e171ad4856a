//! From the tar's bytes to frames and entries: the writer's part that understands the tar.

mod headers;
mod payload;

use std::collections::HashSet;
use std::io::{Read, Write};

use bytes::Bytes;
use chunked_core::Digest;
use chunked_cuts::Cuts;
use chunked_tar::BLOCK;

use crate::entry::TocEntry;
use crate::error::WriteError;
use crate::header::clean;
use crate::reason::Reason;
use crate::writer::flow::Flow;
use crate::writer::input::Input;
use crate::writer::lane::Files;
use crate::writer::pool::{Frame, Sums};
use crate::writer::step::Step;
use crate::writer::{FRAME, Written};
use headers::Next;

/// Bytes of one segment behind the end of the archive.
const TRAILING: u64 = 1 << 20;

/// Reads the tar and plans the blob.
pub(super) struct Planner<R, W> {
    input: Input<R>,
    flow: Flow<W>,
    files: Files,
    cuts: Cuts,
    /// The open frame: tar bytes since the last payload.
    open: Vec<Bytes>,
    /// Bytes in `open`.
    open_len: usize,
    /// Padding that follows the last payload.
    padding: u64,
    /// Paths so far: the first half of their digests. As many as a TOC can have take a few dozen MiB.
    paths: HashSet<[u8; 16]>,
}

impl<R: Read, W: Write> Planner<R, W> {
    pub(super) fn new(input: Input<R>, flow: Flow<W>, files: Files, cuts: Cuts) -> Self {
        Self { input, flow, files, cuts, open: Vec::new(), open_len: 0, padding: 0, paths: HashSet::new() }
    }

    /// Reads to the end.
    pub(super) fn run(mut self) -> Result<Written, WriteError> {
        if let Err(reason) = self.entries()? {
            if reason == Reason::Empty {
                // No bytes at all would be no zstd stream.
                self.flow.frame(Frame { data: Vec::new(), sums: Sums::None })?;
            }
            self.flow.step(Step::Plain(reason));
            // No more is understood: the rest is cut evenly.
            loop {
                let bytes = self.input.next(FRAME as u64)?;
                if bytes.is_empty() {
                    break;
                }
                self.raw(bytes)?;
            }
        }
        self.close_frame()?;
        let emitter = self.flow.finish()?;
        let (size, digest) = self.input.finish()?;
        emitter.finish(size, digest)
    }

    /// Takes entry by entry; the reason why that stopped before the end, if it did.
    fn entries(&mut self) -> Result<Result<(), Reason>, WriteError> {
        loop {
            let mut segment = Vec::new();
            let next = self.next_header(&mut segment)?;
            if matches!(next, Next::End) {
                // The reference reader takes the start of every segment for a tar header. Behind the end-of-archive
                // blocks it looks no further, so what is in their segment may be anything.
                self.input.append(TRAILING, &mut segment)?;
            }
            let segment = Bytes::from(segment);
            self.raw(segment.clone())?;
            match next {
                Next::Entry(entry, payload) => {
                    if !self.paths.insert(path_key(&entry)) {
                        return Ok(Err(Reason::Duplicate { name: entry.name }));
                    }
                    self.flow.step(Step::Segment(segment));
                    if payload == 0 {
                        self.flow.step(Step::Entry(entry));
                    } else if let Err(reason) = self.payload(entry, payload)? {
                        return Ok(Err(reason));
                    }
                }
                Next::End => {
                    if self.input.offset() == 0 {
                        return Ok(Err(Reason::Empty));
                    }
                    if !segment.is_empty() {
                        self.flow.step(Step::Segment(segment));
                    }
                    return self.zeros();
                }
                Next::Stop(reason) => return Ok(Err(reason)),
            }
        }
    }

    /// Takes zeros up to the end of the input as segments of their own: whole blocks of them only, which readers take
    /// for another end.
    fn zeros(&mut self) -> Result<Result<(), Reason>, WriteError> {
        loop {
            let offset = self.input.offset();
            let mut segment = Vec::new();
            self.input.append(TRAILING, &mut segment)?;
            if segment.is_empty() {
                return Ok(Ok(()));
            }
            let segment = Bytes::from(segment);
            self.raw(segment.clone())?;
            if segment.iter().any(|byte| *byte != 0) || !segment.len().is_multiple_of(BLOCK) {
                return Ok(Err(Reason::Trailing { offset }));
            }
            self.flow.step(Step::Segment(segment));
        }
    }

    /// Adds tar bytes that are no payload to the open frame.
    fn raw(&mut self, mut bytes: Bytes) -> Result<(), WriteError> {
        while self.open_len + bytes.len() >= FRAME {
            let part = bytes.split_to(FRAME - self.open_len);
            self.open.push(part);
            self.close_frame()?;
        }
        if !bytes.is_empty() {
            self.open_len += bytes.len();
            self.open.push(bytes);
        }
        Ok(())
    }

    /// Ends the open frame, if it has anything.
    fn close_frame(&mut self) -> Result<(), WriteError> {
        self.open_len = 0;
        let data = std::mem::take(&mut self.open);
        if data.is_empty() { Ok(()) } else { self.flow.frame(Frame { data, sums: Sums::None }) }
    }
}

fn path_key(entry: &TocEntry) -> [u8; 16] {
    let digest = Digest::of(&clean(entry.name.as_bytes()));
    digest.as_bytes().first_chunk().copied().unwrap_or_default()
}

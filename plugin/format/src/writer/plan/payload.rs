//! Cuts a file's payload into chunks and those into frames.

use std::collections::VecDeque;
use std::io::{Read, Write};

use bytes::Bytes;
use chunked_cuts::{Cut, Cutter};

use crate::entry::TocEntry;
use crate::error::WriteError;
use crate::reason::Reason;
use crate::writer::FRAME;
use crate::writer::plan::Planner;
use crate::writer::pool::{Frame, Sums};
use crate::writer::step::Step;

/// The part of a file that is not in frames yet.
#[derive(Debug, Default)]
struct Pending {
    data: VecDeque<Bytes>,
    /// Offset in the file of its first byte.
    start: u64,
}

impl Pending {
    /// Removes the first `len` bytes.
    fn split(&mut self, len: u64) -> Vec<Bytes> {
        let mut missing = len;
        let mut taken = Vec::new();
        while missing > 0 {
            let Some(mut piece) = self.data.pop_front() else { break };
            if piece.len() as u64 > missing {
                let rest = piece.split_off(usize::try_from(missing).unwrap_or(piece.len()));
                self.data.push_front(rest);
            }
            missing = missing.saturating_sub(piece.len() as u64);
            taken.push(piece);
        }
        self.start += len;
        taken
    }
}

/// A file on its way into frames.
#[derive(Debug)]
struct Payload {
    size: u64,
    pending: Pending,
    /// Where the open chunk starts in the file.
    chunk: u64,
    /// A part of the open chunk is in frames already.
    partly: bool,
    /// Sums are the files' thread's: there is, or will be, more than one frame.
    in_lane: bool,
}

impl<R: Read, W: Write> Planner<R, W> {
    /// Takes `size` bytes of payload for `entry`; a reason if there are not that many.
    pub(super) fn payload(
        &mut self,
        entry: Box<TocEntry>,
        size: u64,
    ) -> Result<Result<(), Reason>, WriteError> {
        self.close_frame()?;
        self.flow.step(Step::Entry(entry));
        let mut cutter = Cutter::new(self.cuts);
        let mut cuts = Vec::new();
        let mut file = Payload { size, pending: Pending::default(), chunk: 0, partly: false, in_lane: false };
        let mut missing = size;
        while missing > 0 {
            let bytes = self.input.next(missing)?;
            if bytes.is_empty() {
                // What was read of it is in the blob all the same.
                for piece in file.pending.data {
                    self.raw(piece)?;
                }
                return Ok(Err(Reason::Truncated { offset: self.input.offset(), inside: "a payload" }));
            }
            missing -= bytes.len() as u64;
            cutter.feed(&bytes, |cut| cuts.push(cut));
            file.pending.data.push_back(bytes);
            for cut in cuts.drain(..) {
                self.chunk(&mut file, cut)?;
            }
            self.long_chunk(&mut file, cutter.settled())?;
        }
        cutter.finish(|cut| cuts.push(cut));
        for cut in cuts {
            self.chunk(&mut file, cut)?;
        }
        let sums = if file.in_lane { Some(self.files.file()?) } else { None };
        self.flow.step(Step::PayloadEnd { sums });
        Ok(Ok(()))
    }

    /// Puts what is surely in the open chunk into frames, as long as it fills them.
    fn long_chunk(&mut self, file: &mut Payload, settled: u64) -> Result<(), WriteError> {
        while settled.saturating_sub(file.pending.start) > FRAME as u64 {
            file.partly = true;
            self.frame(file, FRAME as u64, Sums::None)?;
        }
        Ok(())
    }

    /// Ends the open chunk at `cut`.
    fn chunk(&mut self, file: &mut Payload, cut: Cut) -> Result<(), WriteError> {
        let len = cut.at - file.chunk;
        let whole_file = len == file.size;
        file.partly |= len > FRAME as u64;
        while cut.at - file.pending.start > FRAME as u64 {
            self.frame(file, FRAME as u64, Sums::None)?;
        }
        let rest = cut.at - file.pending.start;
        let sums = match (file.partly, whole_file) {
            (true, _) => Sums::None,
            (false, true) => Sums::Both,
            (false, false) => Sums::Digest,
        };
        if rest > 0 {
            self.frame(file, rest, sums)?;
        }
        let digest = if file.partly { Some(self.files.chunk()?) } else { None };
        self.flow.step(Step::Chunk { len, zeros: cut.zeros, digest });
        file.chunk = cut.at;
        file.partly = false;
        Ok(())
    }

    /// Puts the next `len` pending bytes into a frame.
    fn frame(&mut self, file: &mut Payload, len: u64, sums: Sums) -> Result<(), WriteError> {
        let data = file.pending.split(len);
        if sums != Sums::Both {
            file.in_lane = true;
            for piece in &data {
                self.files.data(piece.clone(), file.partly)?;
            }
        }
        self.flow.frame(Frame { data, sums })
    }
}

//! Where a file is cut into chunks (zstd-chunked.md §7).

mod rollsum;

use crate::options::Cuts;
use rollsum::Rollsum;

/// Zeros in a row that make a hole.
const HOLE: u64 = 1024;

/// The end of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Offset in the file behind the chunk's last byte.
    pub at: u64,
    /// Whether the chunk is a hole.
    pub zeros: bool,
}

/// Finds the cuts of one file, fed in any pieces.
#[derive(Debug)]
pub(crate) struct Cutter {
    sum: Rollsum,
    /// Bytes of a chunk before the sum may end it.
    least: u64,
    /// Zeros in a row that make a hole.
    hole: u64,
    /// Bytes seen.
    at: u64,
    /// Where the open chunk starts.
    start: u64,
    /// Zeros directly before `at`.
    zeros: u64,
    /// Cuts inside those zeros. They count only if the run ends before it is a hole.
    in_zeros: Vec<u64>,
}

impl Cutter {
    pub(crate) fn new(cuts: Cuts) -> Self {
        let (least, hole) = match cuts {
            Cuts::Compatible => (0, HOLE),
            Cuts::AtLeast(bytes) => (u64::from(bytes), HOLE.max(u64::from(bytes))),
        };
        Self { sum: Rollsum::new(), least, hole, at: 0, start: 0, zeros: 0, in_zeros: Vec::new() }
    }

    /// Takes the next bytes of the file and tells the cuts that are now certain, in order.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut cut: impl FnMut(Cut)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if self.zeros >= self.hole {
                let run = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
                self.advance(run);
                rest = rest.get(run..).unwrap_or_default();
                if !rest.is_empty() {
                    self.end_hole(&mut cut);
                }
                continue;
            }
            let used = self.data(rest, &mut cut);
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Tells the cuts that the end of the file decides, its own among them. An empty file has none.
    pub(crate) fn finish(mut self, mut cut: impl FnMut(Cut)) {
        if self.zeros >= self.hole {
            self.end_hole(&mut cut);
        } else {
            self.settle(&mut cut);
        }
        if self.at > self.start {
            cut(Cut { at: self.at, zeros: false });
        }
    }

    /// Offset in the file that all cuts still to come lie behind.
    pub(crate) fn settled(&self) -> u64 {
        if self.zeros >= self.hole { self.at } else { self.at - self.zeros }
    }

    /// Takes bytes up to a hole's threshold; gives how many.
    fn data(&mut self, bytes: &[u8], cut: &mut impl FnMut(Cut)) -> usize {
        for (index, byte) in bytes.iter().enumerate() {
            let ends = self.sum.roll(*byte);
            self.at += 1;
            if *byte == 0 {
                self.zeros += 1;
                if ends {
                    self.in_zeros.push(self.at);
                }
                if self.zeros == self.hole {
                    self.begin_hole(cut);
                    return index + 1;
                }
            } else {
                if self.zeros > 0 {
                    self.zeros = 0;
                    self.settle(cut);
                }
                if ends {
                    self.try_cut(self.at, cut);
                }
            }
        }
        bytes.len()
    }

    fn try_cut(&mut self, at: u64, cut: &mut impl FnMut(Cut)) {
        if at - self.start >= self.least {
            self.start = at;
            cut(Cut { at, zeros: false });
        }
    }

    /// The zeros were too few for a hole: cuts in them count.
    fn settle(&mut self, cut: &mut impl FnMut(Cut)) {
        if self.in_zeros.is_empty() {
            return;
        }
        for at in std::mem::take(&mut self.in_zeros) {
            self.try_cut(at, cut);
        }
    }

    fn begin_hole(&mut self, cut: &mut impl FnMut(Cut)) {
        self.in_zeros.clear();
        let hole = self.at - self.zeros;
        if hole > self.start {
            self.start = hole;
            cut(Cut { at: hole, zeros: false });
        }
    }

    fn end_hole(&mut self, cut: &mut impl FnMut(Cut)) {
        // The sum depends on the last 64 bytes alone, and they are zeros as at a file's start.
        self.sum = Rollsum::new();
        self.zeros = 0;
        self.start = self.at;
        cut(Cut { at: self.at, zeros: true });
    }

    /// Goes on in a hole.
    fn advance(&mut self, run: usize) {
        self.at += run as u64;
        self.zeros += run as u64;
    }
}

#[cfg(test)]
mod tests;

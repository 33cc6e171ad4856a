//! Finds the cuts.

use crate::options::Cuts;
use crate::rollsum::Rollsum;

/// Zeros in a row that make a hole.
const HOLE: u64 = 1024;

/// The end of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Offset in the file behind the chunk's last byte.
    pub at: u64,
    /// Whether the chunk is a hole.
    pub zeros: bool,
}

/// Finds the cuts of one file, fed in any pieces.
#[derive(Debug)]
pub struct Cutter {
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
    /// Where the sum says that a chunk ends, not looked at yet: at first all, then those inside the last zeros. They count
    /// only if the run ends before it is a hole.
    ends: Vec<u64>,
}

impl Cutter {
    /// At the start of a file.
    pub fn new(cuts: Cuts) -> Self {
        let (least, hole) = match cuts {
            Cuts::Compatible => (0, HOLE),
            Cuts::AtLeast(bytes) => (u64::from(bytes), HOLE.max(u64::from(bytes))),
        };
        Self { sum: Rollsum::new(), least, hole, at: 0, start: 0, zeros: 0, ends: Vec::new() }
    }

    /// Takes the next bytes of the file and tells the cuts that are now certain, in order.
    pub fn feed(&mut self, bytes: &[u8], mut cut: impl FnMut(Cut)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = if self.zeros >= self.hole {
                let run = leading_zeros(rest);
                self.at += run as u64;
                self.zeros += run as u64;
                if run < rest.len() {
                    self.end_hole(&mut cut);
                }
                run
            } else {
                let data = self.before_hole(rest);
                self.data(rest.get(..data).unwrap_or(rest), &mut cut);
                data
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Tells the cuts that the end of the file decides, its own among them. An empty file has none.
    pub fn finish(mut self, mut cut: impl FnMut(Cut)) {
        if self.zeros >= self.hole {
            self.end_hole(&mut cut);
        } else {
            self.settle(self.at, &mut cut);
        }
        if self.at > self.start {
            cut(Cut { at: self.at, zeros: false });
        }
    }

    /// Whether the last bytes taken are in a hole.
    pub fn in_hole(&self) -> bool {
        self.zeros >= self.hole
    }

    /// Offset in the file that all cuts still to come lie behind. What was taken after it are zeros.
    pub fn settled(&self) -> u64 {
        if self.in_hole() { self.at } else { self.at - self.zeros }
    }

    /// How many of `bytes` come before a run of zeros has become a hole, those zeros included; or all.
    fn before_hole(&self, bytes: &[u8]) -> usize {
        let hole = usize::try_from(self.hole).unwrap_or(usize::MAX);
        let missing = usize::try_from(self.hole - self.zeros).unwrap_or(usize::MAX);
        if self.zeros > 0 && leading_zeros(bytes.get(..missing).unwrap_or(bytes)) == missing {
            return missing;
        }
        // A run of that many covers one of these places.
        let mut place = hole - 1;
        while let Some(byte) = bytes.get(place) {
            if *byte == 0 {
                let before = bytes.get(..place).unwrap_or_default();
                let start = before.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                let run = bytes.get(start..).unwrap_or_default();
                let run = leading_zeros(run.get(..hole).unwrap_or(run));
                if run >= hole {
                    return start + hole;
                }
                place = start + run;
            }
            place += hole;
        }
        bytes.len()
    }

    /// Takes bytes in which no zero after a hole's threshold is.
    fn data(&mut self, bytes: &[u8], cut: &mut impl FnMut(Cut)) {
        let (from, ends) = (self.at, &mut self.ends);
        self.sum.roll(bytes, |count| ends.push(from + count as u64));
        self.at += bytes.len() as u64;
        match bytes.iter().rposition(|byte| *byte != 0) {
            Some(last) => {
                self.zeros = (bytes.len() - last - 1) as u64;
                self.settle(self.at - self.zeros, cut);
            }
            None => self.zeros += bytes.len() as u64,
        }
        if self.zeros >= self.hole {
            self.begin_hole(cut);
        }
    }

    /// Cuts where the sum says so, up to `limit`.
    fn settle(&mut self, limit: u64, cut: &mut impl FnMut(Cut)) {
        let settled = self.ends.partition_point(|at| *at <= limit);
        for at in self.ends.drain(..settled) {
            if at - self.start >= self.least {
                self.start = at;
                cut(Cut { at, zeros: false });
            }
        }
    }

    fn begin_hole(&mut self, cut: &mut impl FnMut(Cut)) {
        self.ends.clear();
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
}

fn leading_zeros(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests;

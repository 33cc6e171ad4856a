//! Wanted ranges: checked, cut into requests, picked out of a whole body.

use std::collections::VecDeque;

use bytes::Bytes;
use chunked_core::ByteRange;
use chunked_registry::Blob;

use crate::error::FetchError;
use crate::fetch::Segment;

/// What is still wanted, in blob order.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Reversed: the next one is the last.
    ranges: Vec<ByteRange>,
}

impl Wanted {
    /// Ranges of `blob`, which must be sorted and not overlap; empty ones are left out.
    pub(crate) fn new(blob: &Blob, mut ranges: Vec<ByteRange>) -> Result<Self, FetchError> {
        let mut position = 0;
        for range in &ranges {
            if range.start < position || range.end < range.start || range.end > blob.size() {
                return Err(FetchError::Range { blob: blob.digest(), size: blob.size(), range: *range });
            }
            position = range.end;
        }
        ranges.retain(|range| !range.is_empty());
        ranges.reverse();
        Ok(Self { ranges })
    }

    /// The next request: at most `limit` bytes.
    pub(crate) fn cut(&mut self, limit: u64) -> Option<ByteRange> {
        let range = self.ranges.last_mut()?;
        if range.len() <= limit {
            return self.ranges.pop();
        }
        let cut = ByteRange { start: range.start, end: range.start + limit };
        range.start = cut.end;
        Some(cut)
    }

    /// The next request of several ranges: at most `count` of them, at most `limit` bytes.
    pub(crate) fn cut_many(&mut self, limit: u64, count: usize) -> Vec<ByteRange> {
        let mut cuts = Vec::new();
        let mut room = limit;
        while room > 0 && cuts.len() < count.max(1) {
            // A range is not cut in two to fill a request.
            if !cuts.is_empty() && self.ranges.last().is_none_or(|next| next.len() > room) {
                break;
            }
            let Some(cut) = self.cut(room) else { break };
            room -= cut.len();
            cuts.push(cut);
        }
        cuts
    }

    /// Takes back requests that were cut, first one first.
    pub(crate) fn put_back(&mut self, cuts: impl DoubleEndedIterator<Item = ByteRange>) {
        self.ranges.extend(cuts.rev().filter(|range| !range.is_empty()));
    }

    /// Bytes of the next range.
    pub(crate) fn next_len(&self) -> Option<u64> {
        self.ranges.last().map(ByteRange::len)
    }

    /// Bytes wanted.
    pub(crate) fn total(&self) -> u64 {
        self.ranges.iter().map(ByteRange::len).sum()
    }

    /// From the first to the last wanted byte; `None` when nothing is wanted any more.
    pub(crate) fn span(&self) -> Option<ByteRange> {
        Some(ByteRange { start: self.ranges.last()?.start, end: self.ranges.first()?.end })
    }

    /// The wanted parts of `data`, which begins at `offset`; they are not wanted any more afterwards.
    pub(crate) fn pick(&mut self, offset: u64, data: &Bytes) -> Vec<Segment> {
        let end = offset + data.len() as u64;
        let mut picked = Vec::new();
        while let Some(range) = self.ranges.last_mut() {
            let start = range.start.max(offset);
            let stop = range.end.min(end);
            if start >= stop {
                break;
            }
            let part = usize::try_from(start - offset).ok().zip(usize::try_from(stop - offset).ok());
            // Both are at most the length of `data`.
            picked.extend(part.map(|(from, to)| Segment { offset: start, data: data.slice(from..to) }));
            range.start = stop;
            if !range.is_empty() {
                break;
            }
            self.ranges.pop();
        }
        picked
    }
}

/// What one request has still to bring: ranges sorted and apart, which arrive in any order.
#[derive(Debug, Clone)]
pub(crate) struct Left {
    ranges: VecDeque<ByteRange>,
}

impl Left {
    pub(crate) fn new(ranges: Vec<ByteRange>) -> Self {
        let ranges = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        Self { ranges }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn total(&self) -> u64 {
        self.ranges.iter().map(ByteRange::len).sum()
    }

    pub(crate) fn first(&self) -> Option<ByteRange> {
        self.ranges.front().copied()
    }

    pub(crate) fn all(&self) -> Vec<ByteRange> {
        self.ranges.iter().copied().collect()
    }

    /// The wanted parts of `data`, which begins at `offset`; they are not wanted any more afterwards.
    pub(crate) fn take(&mut self, offset: u64, data: &Bytes) -> Vec<Segment> {
        let end = offset.saturating_add(data.len() as u64);
        let mut taken = Vec::new();
        let mut index = self.ranges.partition_point(|range| range.end <= offset);
        while let Some(range) = self.ranges.get(index).copied().filter(|range| range.start < end) {
            let (start, stop) = (range.start.max(offset), range.end.min(end));
            let part = usize::try_from(start - offset).ok().zip(usize::try_from(stop - offset).ok());
            // Both are at most the length of `data`.
            taken.extend(part.map(|(from, to)| Segment { offset: start, data: data.slice(from..to) }));
            let (before, after) =
                (ByteRange { start: range.start, end: start }, ByteRange { start: stop, end: range.end });
            match (before.is_empty(), after.is_empty()) {
                (true, true) => drop(self.ranges.remove(index)),
                (true, false) => self.ranges[index] = after,
                (false, true) => self.ranges[index] = before,
                (false, false) => {
                    self.ranges[index] = before;
                    self.ranges.insert(index + 1, after);
                }
            }
            index = self.ranges.partition_point(|range| range.end <= stop);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(ranges: &[(u64, u64)]) -> Wanted {
        let ranges = ranges.iter().rev().map(|(start, end)| ByteRange { start: *start, end: *end }).collect();
        Wanted { ranges }
    }

    #[test]
    fn cuts_and_puts_back() {
        let mut some = wanted(&[(0, 5), (7, 9)]);
        let cuts: Vec<ByteRange> = std::iter::from_fn(|| some.cut(2)).collect();
        assert_eq!(format!("{cuts:?}"), "[0..2, 2..4, 4..5, 7..9]");
        assert_eq!(some.span(), None);
        some.put_back(cuts.into_iter().skip(1));
        assert_eq!(format!("{:?}", some.span().unwrap()), "2..9");
        assert_eq!(format!("{:?}", some.cut(100).unwrap()), "2..4");
        let mut some = wanted(&[(0, 5), (7, 9), (10, 20), (30, 31), (40, 41)]);
        assert_eq!(format!("{:?}", some.cut_many(10, 9)), "[0..5, 7..9]");
        assert_eq!(format!("{:?}", some.cut_many(4, 9)), "[10..14]");
        assert_eq!(format!("{:?}", some.cut_many(100, 2)), "[14..20, 30..31]");
        assert_eq!(format!("{:?}", some.cut_many(100, 2)), "[40..41]");
        assert!(some.cut_many(100, 2).is_empty());
    }

    proptest! {
        /// However parts are ordered, repeated and cut, each wanted byte is taken once, and is right.
        #[test]
        fn takes_each_byte_once(
            gaps in proptest::collection::vec((0_u64..9, 1_u64..9), 0..12),
            parts in proptest::collection::vec((0_u64..150, 0_u64..60), 0..40),
        ) {
            let mut position = 0;
            let mut ranges = Vec::new();
            for (gap, len) in gaps {
                ranges.push(ByteRange { start: position + gap, end: position + gap + len });
                position += gap + len;
            }
            let mut left = Left::new(ranges.clone());
            let mut got: Vec<u64> = Vec::new();
            for (offset, len) in parts.into_iter().chain([(0, 300)]) {
                let data: Vec<u8> = (offset..offset + len).map(|b| b.to_le_bytes()[0]).collect();
                for segment in left.take(offset, &data.into()) {
                    for (at, byte) in (segment.offset..).zip(&segment.data) {
                        prop_assert_eq!(at.to_le_bytes()[0], *byte);
                        got.push(at);
                    }
                }
            }
            prop_assert!(left.is_empty() && left.count() == 0);
            got.sort_unstable();
            prop_assert_eq!(got, ranges.iter().flat_map(|r| r.start..r.end).collect::<Vec<u64>>());
        }

        /// However a body is chopped, exactly the wanted bytes are picked, in order.
        #[test]
        fn picks_exactly_what_is_wanted(
            gaps in proptest::collection::vec((0_u64..9, 1_u64..9), 0..12),
            chunks in proptest::collection::vec(1_usize..20, 1..60),
        ) {
            let mut position = 0;
            let mut ranges = Vec::new();
            for (gap, len) in gaps {
                ranges.push((position + gap, position + gap + len));
                position += gap + len;
            }
            let mut left = wanted(&ranges);
            let mut offset = 0_u64;
            let mut got: Vec<u64> = Vec::new();
            for len in chunks {
                let data: Bytes = (offset..).take(len).map(|b| b.to_le_bytes()[0]).collect::<Vec<u8>>().into();
                for segment in left.pick(offset, &data) {
                    for (at, byte) in (segment.offset..).zip(&segment.data) {
                        prop_assert_eq!(at.to_le_bytes()[0], *byte);
                        got.push(at);
                    }
                }
                offset += len as u64;
            }
            let all = ranges.iter().flat_map(|(start, end)| *start..*end);
            prop_assert_eq!(got, all.filter(|at| *at < offset).collect::<Vec<u64>>());
        }
    }
}

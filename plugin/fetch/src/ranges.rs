//! Wanted ranges: checked, cut into requests, picked out of a whole body.

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

    /// Takes back requests that were cut, first one first.
    pub(crate) fn put_back(&mut self, cuts: impl DoubleEndedIterator<Item = ByteRange>) {
        self.ranges.extend(cuts.rev().filter(|range| !range.is_empty()));
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
    }

    proptest! {
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

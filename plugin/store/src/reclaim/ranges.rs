//! Sets of ranges of numbers.

use std::ops::Range;

/// Ranges in order that do not touch one another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ranges(Vec<Range<u64>>);

impl Ranges {
    /// All numbers that are in one of `ranges`.
    pub(super) fn of(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut all: Vec<Range<u64>> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        all.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::with_capacity(all.len());
        for range in all {
            match joined.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many numbers.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// The numbers that are not in `other`.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut others = other.0.iter().peekable();
        for range in &self.0 {
            let mut start = range.start;
            while let Some(taken) = others.peek().filter(|taken| taken.start < range.end) {
                if start < taken.start {
                    left.push(start..taken.start);
                }
                start = start.max(taken.end);
                if taken.end > range.end {
                    break;
                }
                others.next();
            }
            if start < range.end {
                left.push(start..range.end);
            }
        }
        Self(left)
    }
}

/// Ranges that are joined now and then while they come: where many files share blocks, these are held once.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    ranges: Vec<Range<u64>>,
    /// How many there were when they were joined last.
    joined: usize,
}

/// So many may come before they are joined.
const BATCH: usize = 4096;

impl Gathered {
    pub(super) fn extend(&mut self, ranges: Vec<Range<u64>>) {
        self.ranges.extend(ranges);
        if self.ranges.len() > 2 * self.joined + BATCH {
            self.ranges = Ranges::of(std::mem::take(&mut self.ranges)).0;
            self.joined = self.ranges.len();
        }
    }

    pub(super) fn joined(self) -> Ranges {
        Ranges::of(self.ranges)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn numbers(ranges: &[Range<u64>]) -> BTreeSet<u64> {
        ranges.iter().cloned().flatten().collect()
    }

    fn some() -> impl Strategy<Value = Vec<Range<u64>>> {
        proptest::collection::vec((0u64..60, 0u64..12).prop_map(|(start, len)| start..start + len), 0..12)
    }

    #[test]
    fn what_comes_often_is_held_once() {
        let mut gathered = Gathered::default();
        for n in 0..10_000 {
            gathered.extend((0..10).map(|k| 20 * k..20 * k + 10 + n % 10).collect());
            assert!(gathered.ranges.len() <= BATCH + 30);
        }
        assert_eq!(gathered.joined().0, (0..10).map(|k| 20 * k..20 * k + 19).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn they_are_sets(a in some(), b in some()) {
            let (one, other) = (Ranges::of(a.clone()), Ranges::of(b.clone()));
            prop_assert_eq!(numbers(&one.0), numbers(&a));
            prop_assert!(one.0.windows(2).all(|two| two[0].end < two[1].start));
            prop_assert_eq!(one.len(), numbers(&a).len() as u64);
            prop_assert_eq!(one.is_empty(), numbers(&a).is_empty());
            let left = one.without(&other);
            prop_assert_eq!(numbers(&left.0), &numbers(&a) - &numbers(&b));
        }
    }
}

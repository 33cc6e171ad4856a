//! How fast the bytes of all requests together come.

use std::time::{Duration, Instant};

/// A measurement takes at least this long and brings at least so many bytes, so that no burst counts: what has gathered
/// in buffers comes at the speed of memory.
const BRISK: (Duration, u64) = (Duration::from_millis(100), 1 << 20);
/// The same on lines that bring less in that time.
const SLOW: (Duration, u64) = (Duration::from_secs(1), 64 << 10);

/// Measures bytes per second while somebody waits for bytes that are on their way.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    bytes: u64,
    time: Duration,
    /// When the clock was read last, if it runs.
    since: Option<Instant>,
}

impl Meter {
    /// `bytes` came of those that were waited for until `now`. `waiting`: for others still is.
    pub(crate) fn note(&mut self, bytes: u64, waiting: bool, now: Instant) {
        if let Some(since) = self.since {
            self.time += now.saturating_duration_since(since);
            self.bytes = self.bytes.saturating_add(bytes);
        }
        self.since = waiting.then_some(now);
    }

    /// Bytes per second since this gave something last, once that is known well enough.
    pub(crate) fn take(&mut self) -> Option<u64> {
        let enough = |(time, bytes)| self.time >= time && self.bytes >= bytes;
        if !enough(BRISK) && !enough(SLOW) {
            return None;
        }
        let rate = u128::from(self.bytes) * 1_000_000 / self.time.as_micros().max(1);
        (self.bytes, self.time) = (0, Duration::ZERO);
        Some(u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds a meter with (milliseconds, bytes, is more waited for).
    fn measured(steps: &[(u64, u64, bool)]) -> Option<u64> {
        let (mut meter, mut now) = (Meter::default(), Instant::now());
        meter.note(0, true, now);
        for (millis, bytes, waiting) in steps {
            now += Duration::from_millis(*millis);
            meter.note(*bytes, *waiting, now);
        }
        meter.take()
    }

    #[test]
    fn only_waits_that_are_long_enough_count() {
        const MIB: u64 = 1 << 20;
        for (steps, rate) in [
            // A burst.
            (&[(1, 64 * MIB, true)][..], None),
            (&[(50, MIB, true), (50, MIB, true)], Some(20 * MIB)),
            // Nobody waited in between: neither those bytes nor that time.
            (&[(100, MIB, false), (5_000, 64 * MIB, true)], Some(10 * MIB)),
            (&[(900, 100_000, true)], None),
            (&[(1_000, 100_000, true)], Some(100_000)),
            (&[(60_000, 1_000, true)], None),
        ] {
            assert_eq!(measured(steps), rate, "{steps:?}");
        }
    }

    #[test]
    fn each_measurement_begins_anew() {
        let (mut meter, now) = (Meter::default(), Instant::now());
        meter.note(0, true, now);
        meter.note(1 << 20, true, now + Duration::from_millis(100));
        assert_eq!(meter.take(), Some(10 << 20));
        assert_eq!(meter.take(), None);
        meter.note(2 << 20, true, now + Duration::from_millis(200));
        assert_eq!(meter.take(), Some(20 << 20));
    }
}

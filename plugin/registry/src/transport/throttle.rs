//! One bandwidth for all transfers together: a token bucket that may be overdrawn.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What may come at once after a pause, as time at the full rate.
const BURST: Duration = Duration::from_millis(100);

/// A rate that all transfers share.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Bytes in a second; `None` when there is no limit.
    rate: Option<u64>,
    /// When all bytes so far would have arrived at that rate.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self { rate: rate.filter(|rate| *rate > 0), paid: Mutex::new(None) }
    }

    /// How long whoever received `bytes` has to wait before it receives more.
    pub(crate) fn pay(&self, bytes: usize, now: Instant) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        #[allow(clippy::cast_precision_loss, reason = "a rate; nobody counts these bytes")]
        let price = Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let until = paid.map_or(earliest, |paid| paid.max(earliest)) + price;
        *paid = Some(until);
        until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_over_all() {
        let throttle = Throttle::new(Some(1_000_000));
        let mut now = Instant::now();
        let start = now;
        for _ in 0..200 {
            now += throttle.pay(50_000, now);
        }
        let seconds = now.duration_since(start).as_secs_f64();
        assert!((9.85..=10.0).contains(&seconds), "{seconds}");
        // A long pause does not save up more than the burst.
        now += Duration::from_secs(60);
        assert_eq!(throttle.pay(100_000, now), Duration::ZERO);
        assert_eq!(throttle.pay(1_000_000, now).as_millis(), 1000);
        // Two that share it get half each.
        assert_eq!(throttle.pay(1_000_000, now).as_millis(), 2000);
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        for throttle in [Throttle::new(None), Throttle::new(Some(0))] {
            assert_eq!(throttle.pay(usize::MAX, Instant::now()), Duration::ZERO);
        }
    }
}

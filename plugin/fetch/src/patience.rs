//! How often and after what pause a failed request is repeated.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chunked_registry::{ErrorKind, Failure, RegistryError};

/// Bytes that make good for the failures before them. Fewer do not, or a server that sends one byte for each
/// connection would keep us for ever.
const PROGRESS: u64 = 4 << 20;
/// Failures of all transfers of a blob together that are forgiven, for each that one transfer may have in a row.
const SHARED: u32 = 4;

/// How failed requests are repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retry {
    /// Failures in a row that one request is forgiven. All requests of a blob together are forgiven four times as
    /// many, and one more for each 4 MiB that arrive.
    pub attempts: u32,
    /// Pause after the first failure; it doubles with each. Up to half of it is left out at random.
    pub pause: Duration,
    /// Longest pause. A server's `Retry-After` may ask for more, up to a minute.
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_millis(200), longest_pause: Duration::from_secs(10) }
    }
}

/// What all transfers of one blob may fail together. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<AtomicI64>);

impl Budget {
    pub(crate) fn new(retry: &Retry) -> Self {
        Self(Arc::new(AtomicI64::new(i64::from(retry.attempts.saturating_mul(SHARED)))))
    }

    fn take(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) > 0
    }

    fn give(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The retry budget of one transfer.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    retry: Retry,
    shared: Budget,
    failures: u32,
    progress: u64,
    /// Ranges that were refused by a registry that had served some before.
    refusals: u32,
}

impl Patience {
    pub(crate) fn new(retry: Retry, shared: Budget) -> Self {
        Self { retry, shared, failures: 0, progress: 0, refusals: 0 }
    }

    /// Bytes have arrived.
    pub(crate) fn progress(&mut self, bytes: u64) {
        self.progress = self.progress.saturating_add(bytes);
        if self.progress >= PROGRESS {
            (self.failures, self.progress, self.refusals) = (0, 0, 0);
            self.shared.give();
        }
    }

    /// The pause before the next attempt; `None` when there shall be none. `had_ranges`: the registry is known to
    /// serve ranges, so that one refusal may be an accident.
    pub(crate) fn after(&mut self, error: &RegistryError, had_ranges: bool) -> Option<Duration> {
        let again = match error.kind() {
            ErrorKind::Transient => self.failures < self.retry.attempts,
            // An answer that is wrong has cost its bytes already.
            ErrorKind::RangeUnsupported if matches!(error.failure(), Failure::Status { .. }) => {
                self.refusals += 1;
                had_ranges && self.refusals == 1 && self.retry.attempts > 0
            }
            _ => false,
        };
        if !again || !self.shared.take() {
            return None;
        }
        let pause = self.retry.pause.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures += 1;
        self.progress = 0;
        // Between half and all of it, so that transfers broken together do not come back together.
        let pause = pause.min(self.retry.longest_pause).mul_f64(0.5 + random() / 2.0);
        Some(pause.max(error.retry_after().unwrap_or_default()))
    }
}

/// Between 0 and 1; good enough for jitter.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    u32::try_from(bits).map_or(0.0, |bits| f64::from(bits) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_stays_inside() {
        for _ in 0..1000 {
            assert!((0.0..=1.0).contains(&random()));
        }
    }

    #[test]
    fn progress_makes_good_only_when_it_is_some() {
        let retry = Retry::default();
        let mut patience = Patience { failures: 3, ..Patience::new(retry.clone(), Budget::new(&retry)) };
        patience.progress(1000);
        assert_eq!(patience.failures, 3);
        patience.progress(PROGRESS);
        assert_eq!(patience.failures, 0);
    }

    #[test]
    fn the_budget_is_shared() {
        let budget = Budget::new(&Retry { attempts: 1, ..Retry::default() });
        let taken = (0..100).filter(|_| budget.clone().take()).count();
        assert_eq!(taken, 4);
    }
}

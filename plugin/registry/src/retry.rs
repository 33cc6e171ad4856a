//! How often and after what pause a failed request is repeated: one policy for documents, tokens, uploads and blobs.
//!
//! What to repeat is decided by [`ErrorKind`] alone. An answer that is for good is never asked for twice.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::error::{ErrorKind, RegistryError};
use crate::transport::Traffic;

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
    /// For blobs.
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_millis(200), longest_pause: Duration::from_secs(10) }
    }
}

impl Retry {
    /// For manifests, configs and tokens: somebody waits for them.
    pub(crate) const DOCUMENTS: Self =
        Self { attempts: 2, pause: Duration::from_millis(400), longest_pause: Duration::from_secs(10) };

    /// For whatever a conversion reads and writes: it has taken minutes already.
    pub(crate) const CONVERSION: Self =
        Self { attempts: 4, pause: Duration::from_millis(400), longest_pause: Duration::from_secs(10) };
}

/// What all transfers of one blob may fail together. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<AtomicI64>);

impl Budget {
    /// Four times the failures that one transfer is forgiven.
    pub fn new(retry: &Retry) -> Self {
        Self(Arc::new(AtomicI64::new(i64::from(retry.attempts.saturating_mul(SHARED)))))
    }

    fn take(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) > 0
    }

    fn give(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The failures of one request, and how many more it is forgiven.
#[derive(Debug, Clone)]
pub struct Patience {
    retry: Retry,
    shared: Budget,
    failures: u32,
    progress: u64,
    /// Ranges that were refused by a registry that had served some before.
    refusals: u32,
}

impl Patience {
    /// For a request that stands alone.
    pub(crate) fn new(retry: Retry) -> Self {
        let shared = Budget::new(&retry);
        Self::sharing(retry, shared)
    }

    /// For one of several requests that share `shared`.
    pub fn sharing(retry: Retry, shared: Budget) -> Self {
        Self { retry, shared, failures: 0, progress: 0, refusals: 0 }
    }

    /// Notes that `bytes` have arrived.
    pub fn progress(&mut self, bytes: u64) {
        self.progress = self.progress.saturating_add(bytes);
        if self.progress >= PROGRESS {
            self.achieved();
            self.shared.give();
        }
    }

    /// Notes that something was achieved: earlier failures do not count.
    pub(crate) fn achieved(&mut self) {
        (self.failures, self.progress, self.refusals) = (0, 0, 0);
    }

    /// The pause before the next attempt; `None` when there shall be none. `had_ranges`: the registry is known to
    /// serve ranges, so that one refusal of a range may be an accident.
    pub fn after(&mut self, error: &RegistryError, had_ranges: bool) -> Option<Duration> {
        let again = match error.kind() {
            ErrorKind::Transient => self.failures < self.retry.attempts,
            // Nobody has ever answered there. A packet may have been lost; more tries would only keep whoever waits
            // from hearing of a wrong address.
            ErrorKind::Unreachable => self.failures < self.retry.attempts.min(1),
            // An answer that is wrong has cost its bytes already.
            ErrorKind::RangeUnsupported if error.is_status() => {
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

    /// Waits before the next attempt; false when there shall be none.
    pub(crate) async fn forgives(&mut self, error: &RegistryError, traffic: &Traffic) -> bool {
        let Some(pause) = self.after(error, false) else { return false };
        tracing::debug!(%error, failures = self.failures, "trying again");
        tokio::time::sleep(pause).await;
        traffic.retried();
        true
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
    use crate::error::{Failure, Subject};

    fn error(failure: Failure) -> RegistryError {
        Subject { host: "r.example".to_owned(), what: "blob".to_owned() }.error(failure)
    }

    fn status(code: u16) -> RegistryError {
        let status = http::StatusCode::from_u16(code).unwrap();
        error(Failure::Status {
            status,
            detail: String::new(),
            retry_after: None,
            ranged: true,
            direct: true,
        })
    }

    #[test]
    fn what_is_for_good_is_asked_for_once() {
        let text = || "x".to_owned();
        for (failure, attempts) in [
            (status(404), 0),
            (status(403), 0),
            (status(503), 5),
            (status(416), 1),
            (error(Failure::Denied(text())), 0),
            (error(Failure::Certificate(text())), 0),
            (error(Failure::Handshake(text())), 0),
            (error(Failure::Request(text())), 0),
            (error(Failure::TooLong(1)), 0),
            (error(Failure::Unreachable(text())), 1),
            (error(Failure::Transport(text())), 5),
            (error(Failure::Stalled(Duration::from_secs(1))), 5),
        ] {
            let mut patience = Patience::new(Retry::default());
            let tries = (0..100).take_while(|_| patience.after(&failure, true).is_some()).count();
            assert_eq!(tries, attempts, "{failure}");
            assert_eq!(
                failure.is_permanent(),
                attempts < 1 || failure.kind() == ErrorKind::Unreachable,
                "{failure}"
            );
        }
    }

    #[test]
    fn pauses_double_within_bounds() {
        let retry = Retry { attempts: 10, ..Retry::default() };
        let mut patience = Patience::new(retry.clone());
        for n in 0..10 {
            let pause = patience.after(&status(503), false).unwrap();
            let most = (retry.pause * 2_u32.pow(n)).min(retry.longest_pause);
            assert!(pause <= most && pause * 2 >= most, "{n}: {pause:?}");
        }
    }

    #[test]
    fn random_stays_inside() {
        for _ in 0..1000 {
            assert!((0.0..=1.0).contains(&random()));
        }
    }

    #[test]
    fn progress_makes_good_only_when_it_is_some() {
        let mut patience = Patience { failures: 3, ..Patience::new(Retry::default()) };
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

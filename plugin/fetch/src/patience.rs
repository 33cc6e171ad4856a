//! How often and after what pause a failed request is repeated.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use chunked_registry::{ErrorKind, RegistryError};

/// Failures in a row that are forgiven.
const ATTEMPTS: u32 = 5;
/// Pause after the first failure; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Bytes that make good for the failures before them. Fewer do not, or a server that sends one byte for each
/// connection would keep us for ever.
const PROGRESS: u64 = 4 << 20;

/// The retry budget of one transfer.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
    progress: u64,
}

impl Patience {
    /// Bytes have arrived.
    pub(crate) fn progress(&mut self, bytes: u64) {
        self.progress = self.progress.saturating_add(bytes);
        if self.progress >= PROGRESS {
            *self = Self::default();
        }
    }

    /// The pause before the next attempt; `None` when there shall be none.
    pub(crate) fn after(&mut self, error: &RegistryError) -> Option<Duration> {
        if error.kind() != ErrorKind::Transient || self.failures >= ATTEMPTS {
            return None;
        }
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.failures);
        self.failures += 1;
        self.progress = 0;
        // Between half and all of it, so that transfers broken together do not come back together.
        let pause = pause.mul_f64(0.5 + random() / 2.0);
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
        let mut patience = Patience { failures: 3, progress: 0 };
        patience.progress(1000);
        assert_eq!(patience.failures, 3);
        patience.progress(PROGRESS);
        assert_eq!(patience.failures, 0);
    }
}

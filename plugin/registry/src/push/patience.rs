//! How often a request that writes is repeated, and after what pause.

use std::time::Duration;

use crate::error::{ErrorKind, RegistryError};

/// Failures in a row that are forgiven.
const ATTEMPTS: u32 = 4;
/// Pause after the first failure; doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(300);

/// The failures of one request.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    failures: u32,
}

impl Patience {
    /// Waits before the request is made again; false when that would not help, or was done often enough.
    pub(crate) async fn forgives(&mut self, error: &RegistryError) -> bool {
        if error.kind() != ErrorKind::Transient || self.failures >= ATTEMPTS {
            return false;
        }
        let pause = FIRST_PAUSE * 2u32.pow(self.failures);
        self.failures += 1;
        tracing::debug!(%error, failures = self.failures, "trying again");
        tokio::time::sleep(pause.max(error.retry_after().unwrap_or_default())).await;
        true
    }

    /// Something was achieved: earlier failures do not count.
    pub(crate) fn progress(&mut self) {
        self.failures = 0;
    }
}

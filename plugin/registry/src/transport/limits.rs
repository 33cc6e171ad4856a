//! How much is asked for at once: connections to one host and in all, and bytes on their way.
//!
//! All are taken in one order (host, all, bytes) and nothing is held while another host's are waited for, so that
//! no two requests can wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit of the bytes on their way.
const UNIT: u64 = 1024;
/// Hosts counted; beyond that, idle ones are forgotten.
const MAX_HOSTS: usize = 1000;

/// Counters of all requests.
#[derive(Debug)]
pub(crate) struct Limits {
    per_host: usize,
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    all: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    /// Permits there are of `bytes`.
    most: u32,
}

/// What one request holds until its answer has been read or dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    _host: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
    bytes: Option<OwnedSemaphorePermit>,
    /// Bytes that came and are not given back yet: less than a unit.
    odd: u64,
}

impl Limits {
    /// At least one of each is allowed.
    pub(crate) fn new(per_host: usize, all: usize, bytes: u64) -> Self {
        let most = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX >> 1).clamp(1, u32::MAX >> 1);
        Self {
            per_host: per_host.max(1),
            hosts: Mutex::default(),
            all: Arc::new(Semaphore::new(all.clamp(1, Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(usize::MAX >> 3))),
            most,
        }
    }

    /// Waits until a request for `bytes` bytes to `host` may be sent.
    pub(crate) async fn enter(&self, host: &str, bytes: u64) -> Permits {
        let own = {
            let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
            if hosts.len() >= MAX_HOSTS {
                hosts.retain(|_, host| Arc::strong_count(host) > 1);
            }
            let new = || Arc::new(Semaphore::new(self.per_host.min(Semaphore::MAX_PERMITS)));
            Arc::clone(hosts.entry(host.to_owned()).or_insert_with(new))
        };
        // These never fail: nobody closes the semaphores.
        let _host = own.acquire_owned().await.ok();
        let _all = Arc::clone(&self.all).acquire_owned().await.ok();
        let wanted = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.most);
        let bytes = match wanted {
            0 => None,
            wanted => Arc::clone(&self.bytes).acquire_many_owned(wanted).await.ok(),
        };
        Permits { _host, _all, bytes, odd: 0 }
    }
}

impl Permits {
    /// `bytes` have arrived: others may ask for as many.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        let Some(held) = &mut self.bytes else { return };
        let come = self.odd + bytes as u64;
        self.odd = come % UNIT;
        let units = usize::try_from(come / UNIT).unwrap_or(usize::MAX).min(held.num_permits());
        drop(held.split(units));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn waits(limits: &Limits, host: &str, bytes: u64) -> bool {
        tokio::time::timeout(Duration::from_millis(20), limits.enter(host, bytes)).await.is_err()
    }

    #[tokio::test]
    async fn hosts_and_all_are_limited() {
        let limits = Limits::new(2, 3, 1 << 30);
        let one = limits.enter("a", 0).await;
        let _two = limits.enter("a", 0).await;
        assert!(waits(&limits, "a", 0).await);
        let _three = limits.enter("b", 0).await;
        assert!(waits(&limits, "b", 0).await, "all are taken");
        drop(one);
        assert!(!waits(&limits, "b", 0).await);
    }

    #[tokio::test]
    async fn bytes_are_given_back_as_they_arrive() {
        let limits = Limits::new(10, 10, 100 * UNIT);
        let mut one = limits.enter("a", 90 * UNIT).await;
        assert!(!waits(&limits, "a", 10 * UNIT).await);
        assert!(waits(&limits, "a", 11 * UNIT).await);
        for _ in 0..4 {
            one.arrived(256);
        }
        assert!(!waits(&limits, "a", 11 * UNIT).await);
        one.arrived(usize::MAX / 2);
        assert!(!waits(&limits, "a", 100 * UNIT).await);
        // More than there is at all is asked for alone.
        drop(one);
        assert!(!waits(&limits, "a", 1000 * UNIT).await);
    }

    #[test]
    fn hosts_are_forgotten() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let limits = Limits::new(1, 10, 1);
        runtime.block_on(async {
            for n in 0..2 * MAX_HOSTS {
                limits.enter(&n.to_string(), 0).await;
            }
        });
        assert!(limits.hosts.lock().unwrap().len() <= MAX_HOSTS);
    }
}

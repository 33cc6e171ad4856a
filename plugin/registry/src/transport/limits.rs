//! How much is asked for at once: requests to one host and in all, and bytes on their way.
//!
//! A request gets its place at the host, its place in all and its bytes together or waits for them together: nobody
//! holds one and waits for another, so that no two requests can wait for each other. While it waits, its clock runs
//! whenever nothing moves ([`Limits::enter`]).
//!
//! **Shares.** The last two are common to all registries, and none may use them up: a registry that stalls keeps what
//! it has for long. It gets more only as long as it holds at most [`SHARE`] times what is still free. So one alone gets
//! four fifths, two get four ninths each, and whatever stalls, something is left for the next one (the dynamic
//! thresholds of shared-memory switches: Choudhury and Hahne, 1998).

mod queue;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::queue::{Queue, Want};

/// Bytes of one unit of the bytes on their way.
const UNIT: u64 = 1024;
/// How many times of what is free a registry may hold.
const SHARE: u64 = 4;

/// Counters of all requests. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    queue: Arc<Mutex<Queue>>,
}

/// What one request holds until its answer has been read or dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    limits: Limits,
    held: Want,
    /// Bytes that came and are not given back yet: less than a unit.
    odd: u64,
}

/// Nothing moved for so long while a request waited for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stuck(pub Duration);

impl Limits {
    /// At least one of each is allowed.
    pub(crate) fn new(per_host: usize, all: usize, bytes: u64) -> Self {
        let count = |n: usize| u64::try_from(n.max(1)).unwrap_or(u64::MAX);
        let queue = Queue::new(count(per_host), count(all), (bytes / UNIT).max(1));
        Self { queue: Arc::new(Mutex::new(queue)) }
    }

    /// Waits until a request for `bytes` bytes to `host` may be sent, on behalf of `registry`.
    ///
    /// # Errors
    ///
    /// [`Stuck`] when those that are in the way have neither ended nor received a byte for `patience`.
    pub(crate) async fn enter(
        &self,
        registry: &str,
        host: &str,
        bytes: u64,
        patience: Duration,
    ) -> Result<Permits, Stuck> {
        let (grant, mut granted) = oneshot::channel();
        let (number, want) = {
            let mut queue = self.queue.lock();
            // What is more than there is at all is asked for alone.
            let units = bytes.div_ceil(UNIT).min(queue.most_units());
            let want = Want { registry: registry.into(), host: host.into(), units };
            (queue.push(want.clone(), grant), want)
        };
        self.serve();
        // Leaves the queue however this ends. What was granted meanwhile gives itself back.
        let _waiting = Waiting { limits: self, number };
        loop {
            let before = self.queue.lock().moved(&want);
            match tokio::time::timeout(patience, &mut granted).await {
                // The sender is kept until it is used.
                Ok(permits) => return permits.map_err(|_| Stuck(patience)),
                Err(_) if self.queue.lock().moved(&want) == before => return Err(Stuck(patience)),
                Err(_) => {}
            }
        }
    }

    /// Requests that have a place, and requests that wait for one.
    pub(crate) fn lengths(&self) -> (u64, u64) {
        self.queue.lock().lengths()
    }

    /// Lets in whoever fits now.
    fn serve(&self) {
        let admitted = self.queue.lock().admit();
        for (grant, held) in admitted {
            // If it does not wait any more, this gives everything back.
            let _ = grant.send(Permits { limits: self.clone(), held, odd: 0 });
        }
    }
}

/// A place in the queue.
struct Waiting<'a> {
    limits: &'a Limits,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.limits.queue.lock().leave(self.number);
        if left {
            // Others may have waited behind it.
            self.limits.serve();
        }
    }
}

impl Permits {
    /// `bytes` have arrived: others may ask for as many.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        let come = self.odd.saturating_add(bytes as u64);
        self.odd = come % UNIT;
        let units = (come / UNIT).min(self.held.units);
        self.limits.queue.lock().move_on(&self.held, units);
        self.held.units -= units;
        if units > 0 {
            self.limits.serve();
        }
    }
}

impl Drop for Permits {
    fn drop(&mut self) {
        self.limits.queue.lock().end(&self.held);
        self.limits.serve();
    }
}

#[cfg(test)]
mod tests;

//! A bound on the decoded bytes a layer holds in memory.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// So many bytes that may be in flight at once.
#[derive(Debug)]
pub struct Budget {
    used: Mutex<u64>,
    freed: Condvar,
    limit: u64,
}

/// A share of a [`Budget`], given back when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { used: Mutex::new(0), freed: Condvar::new(), limit })
    }

    /// Waits until `bytes` are free. A request beyond the limit is granted alone.
    pub fn acquire(self: &Arc<Self>, bytes: u64) -> Permit {
        let mut used = self.used.lock();
        while *used > 0 && *used + bytes > self.limit {
            self.freed.wait(&mut used);
        }
        *used += bytes;
        Permit { budget: Arc::clone(self), bytes }
    }

    /// True when less than half is free: time to hand on what is held back.
    pub fn is_tight(&self) -> bool {
        *self.used.lock() * 2 > self.limit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *self.budget.used.lock() -= self.bytes;
        self.budget.freed.notify_all();
    }
}

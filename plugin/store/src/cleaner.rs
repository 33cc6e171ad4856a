//! Makes room when it is needed, without being asked: a thread that cleans when the oldest grace ends and when the
//! filesystem fills.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::error::{StoreError, at};
use crate::store::Store;

/// How often free space is looked at: one system call.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked at whether something has become too old: one query.
const AGE: Duration = Duration::from_secs(10);

/// The thread that makes room; ended when dropped.
#[derive(Debug)]
pub struct Cleaner {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits that long. True when the thread is to end.
    fn wait(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut asked = self.asked.lock();
        while !*asked && !self.changed.wait_until(&mut asked, until).timed_out() {}
        *asked
    }
}

impl Drop for Cleaner {
    fn drop(&mut self) {
        *self.stop.asked.lock() = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the cleaning thread ended abnormally");
        }
    }
}

impl Store {
    /// Starts the thread that cleans: within seconds when less is free than [`crate::Keep::free_percent`], and within
    /// half a minute when what is beyond the quota has been unused for [`crate::Keep::min_age`]. One for a store.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start_cleaner(&self) -> Result<Cleaner, StoreError> {
        let (store, stop) = (self.clone(), Arc::<Stop>::default());
        let of_thread = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("cleaner".to_owned())
            .spawn(move || run(&store, &of_thread))
            .map_err(at("start the cleaning thread for", self.root()))?;
        Ok(Cleaner { stop, thread: Some(thread) })
    }
}

fn run(store: &Store, stop: &Stop) {
    let mut aged = Instant::now();
    let mut failing = false;
    while !stop.wait(LOOK) {
        let short = match store.inner.short() {
            Ok(short) => short.is_any(),
            Err(_) => continue,
        };
        if !short && aged.elapsed() < AGE {
            continue;
        }
        aged = Instant::now();
        match store.cleanup() {
            Ok(_) => failing = false,
            Err(error) => {
                // A disk that is broken is so for long: said once.
                if !failing {
                    tracing::warn!(%error, "cannot make room, next try later");
                }
                failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chunked_core::Digest;

    use super::*;
    use crate::testing::{Temporary, adopt, layer};
    use crate::{Flavour, Keep};

    fn gone_within(store: &Store, name: &str, limit: Duration) -> bool {
        let started = Instant::now();
        while store.layer(&Digest::of(name.as_bytes()), Flavour::Base).unwrap().is_some() {
            if started.elapsed() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        true
    }

    fn remove(store: &Store, name: &str) {
        let snapshot = adopt(store, &layer(store, name, &[]), name, None);
        store.remove(&snapshot.name).unwrap();
    }

    #[test]
    fn what_is_too_old_goes_without_a_call() {
        let temp = Temporary::new();
        let min_age = Duration::from_secs(2);
        let store = temp.open_keeping(Keep { min_age, bytes: 0, inodes: 0, free_percent: 0 });
        let cleaner = store.start_cleaner().unwrap();
        remove(&store, "a");
        assert!(!gone_within(&store, "a", Duration::from_secs(1)));
        assert!(gone_within(&store, "a", AGE + min_age + Duration::from_secs(20)));
        drop(cleaner);
    }

    #[test]
    fn while_space_is_short_neither_grace_nor_quota_counts() {
        let temp = Temporary::new();
        let keep =
            Keep { min_age: Duration::from_secs(3600), bytes: u64::MAX, inodes: u64::MAX, free_percent: 100 };
        let store = temp.open_keeping(keep);
        remove(&store, "a");
        let pinned = layer(&store, "pinned", &[]);
        let fresh = layer(&store, "fresh", &[]).id();
        let cleaner = store.start_cleaner().unwrap();
        assert!(gone_within(&store, "a", Duration::from_secs(5)));
        drop(pinned);
        assert!(!gone_within(&store, "pinned", Duration::from_secs(2)), "its Prepare is on its way");
        assert_eq!(store.layers().unwrap().iter().filter(|layer| layer.id == fresh).count(), 1);
        drop(cleaner);
    }
}

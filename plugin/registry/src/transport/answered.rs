//! Which hosts have answered: a connection that one of them refuses is a matter of the moment.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long an answer proves that the address is right.
const BELIEVED: Duration = Duration::from_secs(600);
/// Hosts remembered.
const MAX_HOSTS: usize = 1000;

/// When hosts (with their ports) answered last.
#[derive(Debug, Default)]
pub(super) struct Answered(Mutex<HashMap<String, Instant>>);

impl Answered {
    /// It answers.
    pub(super) fn note(&self, host: &str) {
        let (mut hosts, now) = (self.0.lock(), Instant::now());
        if let Some(when) = hosts.get_mut(host) {
            *when = now;
            return;
        }
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, when| now.duration_since(*when) < BELIEVED);
            if hosts.len() >= MAX_HOSTS {
                hosts.clear();
            }
        }
        hosts.insert(host.to_owned(), now);
    }

    /// True when it answered lately.
    pub(super) fn lately(&self, host: &str) -> bool {
        self.0.lock().get(host).is_some_and(|when| when.elapsed() < BELIEVED)
    }
}

//! What we remember of hosts that did not serve: which to ask later, and what not to ask them for.
//!
//! A host that broke is asked last for a while, twice as long each time it breaks again; then it gets its place
//! back. Nothing is ever left out for being unwell: when all are, all are tried.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::error::Said;

/// How long a host is passed over after its first failure; doubles with each further one.
const FIRST_REST: Duration = Duration::from_secs(10);
/// Longest rest.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// How long a mirror is believed not to have something: peers get new content all the time.
const ABSENT_FOR: Duration = Duration::from_secs(60);
/// How long a mirror that served wrong bytes is not asked for them again.
const WRONG_FOR: Duration = Duration::from_secs(600);
/// Absences remembered.
const MAX_ABSENCES: usize = 10_000;
/// Hosts remembered.
const MAX_HOSTS: usize = 10_000;

/// Shared memory of all hosts, by the name of their endpoint.
#[derive(Debug, Default)]
pub(crate) struct Health {
    hosts: Mutex<HashMap<Arc<str>, Host>>,
    /// By endpoint and item: not asked before then, and why.
    absent: Mutex<HashMap<(Arc<str>, String), Absence>>,
}

#[derive(Debug, Clone)]
struct Absence {
    until: Instant,
    reason: Said,
}

#[derive(Debug, Clone, Copy)]
struct Host {
    failures: u32,
    rests_until: Instant,
    /// Until when nobody is told again that it refuses us.
    told_until: Instant,
}

impl Host {
    fn new(now: Instant) -> Self {
        Self { failures: 0, rests_until: now, told_until: now }
    }
}

impl Health {
    /// True when its refusal is worth a line in the log: it was not told for a while.
    pub(crate) fn is_news(&self, endpoint: &Arc<str>, now: Instant) -> bool {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let host = hosts.entry(Arc::clone(endpoint)).or_insert(Host::new(now));
        let news = host.told_until <= now;
        if news {
            host.told_until = now + ABSENT_FOR;
        }
        news
    }

    /// A connection, a time-out or the server itself failed. `rest`: what the server asked for. Gives how long
    /// it will be passed over, or `None` when it is already.
    pub(crate) fn failed(
        &self,
        endpoint: &Arc<str>,
        rest: Option<Duration>,
        now: Instant,
    ) -> Option<Duration> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, host| host.rests_until > now);
        }
        let host = hosts.entry(Arc::clone(endpoint)).or_insert(Host::new(now));
        if host.rests_until > now {
            // One of several requests that were on their way together.
            return None;
        }
        let pause = FIRST_REST.saturating_mul(1 << host.failures.min(10)).min(LONGEST_REST);
        let pause = pause.max(rest.unwrap_or_default());
        host.failures = host.failures.saturating_add(1);
        host.rests_until = now + pause;
        Some(pause)
    }

    /// It served: earlier failures are forgiven.
    pub(crate) fn served(&self, endpoint: &Arc<str>, now: Instant) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        // While it rests, an answer may be one that was on its way when the others broke.
        if let Some(host) = hosts.get_mut(endpoint).filter(|host| host.rests_until <= now) {
            host.failures = 0;
        }
    }

    /// True while it is passed over.
    pub(crate) fn rests(&self, endpoint: &Arc<str>, now: Instant) -> bool {
        let hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.get(endpoint).is_some_and(|host| host.rests_until > now)
    }

    /// It does not have `item`, or not for us: `reason`.
    pub(crate) fn lacks(&self, endpoint: &Arc<str>, item: &str, reason: Said, now: Instant) {
        self.avoid(endpoint, item, reason, now + ABSENT_FOR, now);
    }

    /// It served wrong bytes for `item`: `reason`.
    pub(crate) fn lied(&self, endpoint: &Arc<str>, item: &str, reason: Said, now: Instant) {
        self.avoid(endpoint, item, reason, now + WRONG_FOR, now);
    }

    fn avoid(&self, endpoint: &Arc<str>, item: &str, reason: Said, until: Instant, now: Instant) {
        let mut absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.len() >= MAX_ABSENCES {
            absent.retain(|_, absence| absence.until > now);
            if absent.len() >= MAX_ABSENCES {
                absent.clear();
            }
        }
        let key = (Arc::clone(endpoint), item.to_owned());
        let until = absent.get(&key).map_or(until, |known| known.until.max(until));
        absent.insert(key, Absence { until, reason });
    }

    /// Why it need not be asked for `item`; `None` when it may have it.
    pub(crate) fn absent(&self, endpoint: &Arc<str>, item: &str, now: Instant) -> Option<Said> {
        let absent = self.absent.lock().unwrap_or_else(PoisonError::into_inner);
        if absent.is_empty() {
            return None;
        }
        let absence = absent.get(&(Arc::clone(endpoint), item.to_owned()))?;
        (absence.until > now).then(|| absence.reason.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_rest_longer_each_time_and_recover() {
        let (health, name) = (Health::default(), Arc::<str>::from("m.example"));
        let mut now = Instant::now();
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(health.failed(&name, None, now), Some(pause));
            assert_eq!(health.failed(&name, None, now), None, "the others of the same burst do not count");
            assert!(health.rests(&name, now));
            now += pause;
            assert!(!health.rests(&name, now), "after its rest it is asked again");
        }
        health.served(&name, now);
        assert_eq!(health.failed(&name, None, now), Some(FIRST_REST));
        health.served(&name, now);
        assert!(health.rests(&name, now), "an answer that was on its way does not wake it");
        now += FIRST_REST;
        let asked = Duration::from_secs(45);
        assert_eq!(health.failed(&name, Some(asked), now), Some(asked));
    }

    #[test]
    fn absences_are_for_one_item_and_end() {
        let (health, name) = (Health::default(), Arc::<str>::from("m.example"));
        let now = Instant::now();
        let said = |reason: &str| Said { host: "m.example".into(), reason: reason.into() };
        let is_absent = |item: &str, now| health.absent(&name, item, now).is_some();
        health.lacks(&name, "app/sha256:1", said("HTTP 404"), now);
        assert_eq!(health.absent(&name, "app/sha256:1", now), Some(said("HTTP 404")));
        assert!(!is_absent("app/sha256:2", now));
        assert!(!is_absent("app/sha256:1", now + ABSENT_FOR));
        health.lied(&name, "app/sha256:1", said("wrong"), now);
        health.lacks(&name, "app/sha256:1", said("HTTP 404"), now);
        assert!(is_absent("app/sha256:1", now + ABSENT_FOR));
        for n in 0..2 * MAX_ABSENCES {
            health.lacks(&name, &n.to_string(), said("HTTP 404"), now);
        }
        assert!(health.absent.lock().unwrap().len() <= MAX_ABSENCES);
    }

    #[test]
    fn refusals_are_told_now_and_then() {
        let (health, name) = (Health::default(), Arc::<str>::from("m.example"));
        let now = Instant::now();
        assert!(health.is_news(&name, now));
        assert!(!health.is_news(&name, now));
        health.served(&name, now);
        assert!(!health.is_news(&name, now));
        assert!(health.is_news(&name, now + ABSENT_FOR));
    }
}

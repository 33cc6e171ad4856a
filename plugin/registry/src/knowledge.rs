//! What was learned about servers, kept across restarts.
//!
//! By *origin*: scheme, host and port of who really answered: the registry, a mirror, or the storage that they
//! redirected to. Nothing here is a secret, and nothing here is needed: a lost file costs a few requests.

mod file;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Origins remembered; the one not heard of for longest is forgotten first.
const MAX_ORIGINS: usize = 256;
/// Longest name of an origin, in bytes.
const MAX_NAME: usize = 600;
/// How long a server is believed to have no ranges.
const NO_RANGES_FOR: u64 = 600;
/// How long a probe for several ranges in one request is believed, whatever came out of it.
const PROBE_FOR: u64 = 7 * 86_400;
/// How long measurements are believed.
const MEASURED_FOR: u64 = 7 * 86_400;
/// Changed measurements are written at most this often.
const SAVE_EVERY: u64 = 30;

/// A network as measured while blobs were fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Bytes per second, all connections together; `None` when nothing long enough was fetched yet.
    pub bandwidth: Option<u64>,
    /// From a request, redirects included, to the first byte of its answer.
    pub round_trip: Option<Duration>,
}

/// A finding and when it was made, in seconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Dated<T> {
    is: T,
    at: u64,
}

impl<T: Copy> Dated<T> {
    fn within(finding: Option<Self>, seconds: u64) -> Option<T> {
        finding.filter(|finding| now().saturating_sub(finding.at) < seconds).map(|finding| finding.is)
    }
}

/// What is known of one origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Facts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ranges: Option<Dated<bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    multi_range: Option<Dated<bool>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bandwidth: Option<Dated<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    round_trip_us: Option<Dated<u64>>,
    /// When it was last heard of.
    #[serde(default)]
    seen: u64,
    /// A request was timed. The first one sets connections up and gets tokens, and says little.
    #[serde(skip)]
    timed: bool,
}

#[derive(Debug, Default)]
struct State {
    origins: HashMap<String, Facts>,
    /// By a reference's host: the origin that answered last.
    answered: HashMap<String, String>,
    saved: u64,
}

/// What is known of all origins.
#[derive(Debug)]
pub(crate) struct Knowledge {
    path: Option<PathBuf>,
    state: Mutex<State>,
}

impl Knowledge {
    /// Reads `path`, if there is one; whatever is wrong with it, it is begun anew.
    pub(crate) fn open(path: Option<PathBuf>) -> Self {
        let origins = path.as_deref().map(file::read).unwrap_or_default();
        Self { path, state: Mutex::new(State { origins, saved: now(), ..State::default() }) }
    }

    /// The origin that is likely to answer for `host`, a reference's.
    pub(crate) fn origin(&self, host: &str) -> String {
        self.state.lock().answered.get(host).cloned().unwrap_or_else(|| host.to_owned())
    }

    pub(crate) fn note_origin(&self, host: &str, origin: &str) {
        let mut state = self.state.lock();
        if state.answered.get(host).is_some_and(|known| known == origin) {
            return;
        }
        if state.answered.len() >= MAX_ORIGINS {
            state.answered.clear();
        }
        state.answered.insert(host.to_owned(), origin.to_owned());
    }

    fn facts(&self, origin: &str) -> Facts {
        self.state.lock().origins.get(origin).copied().unwrap_or_default()
    }

    /// Whether `origin` answers a range with that range; `None` when that is not known.
    pub(crate) fn ranges(&self, origin: &str) -> Option<bool> {
        let finding = self.facts(origin).ranges?;
        if finding.is { Some(true) } else { Dated::within(Some(finding), NO_RANGES_FOR) }
    }

    /// Whether `origin` answers several ranges rightly; `None` when it was not asked lately.
    pub(crate) fn multi_range(&self, origin: &str) -> Option<bool> {
        Dated::within(self.facts(origin).multi_range, PROBE_FOR)
    }

    /// The network to `origin`.
    pub(crate) fn network(&self, origin: &str) -> Network {
        let facts = self.facts(origin);
        Network {
            bandwidth: Dated::within(facts.bandwidth, MEASURED_FOR),
            round_trip: Dated::within(facts.round_trip_us, MEASURED_FOR).map(Duration::from_micros),
        }
    }

    pub(crate) fn note_ranges(&self, origin: &str, is: bool) {
        let finding = Some(Dated { is, at: now() });
        self.note(origin, |facts| {
            std::mem::replace(&mut facts.ranges, finding).is_none_or(|old| old.is != is)
        });
    }

    pub(crate) fn note_multi_range(&self, origin: &str, is: bool) {
        let finding = Some(Dated { is, at: now() });
        self.note(origin, |facts| {
            std::mem::replace(&mut facts.multi_range, finding).is_none_or(|old| old.is != is)
        });
    }

    /// A request took this long. Quickly believed when it is short: what makes it long (a connection to be set up,
    /// a busy disk) passes.
    pub(crate) fn note_round_trip(&self, origin: &str, took: Duration) {
        let new = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.note(origin, |facts| {
            if !std::mem::replace(&mut facts.timed, true) {
                return false;
            }
            let old = Dated::within(facts.round_trip_us, MEASURED_FOR);
            // What takes longer has waited behind other transfers.
            let is =
                old.map_or(new, |old| if new < old { old - (old - new) / 2 } else { old + (new - old) / 64 });
            facts.round_trip_us = Some(Dated { is, at: now() });
            false
        });
    }

    /// So many bytes came in each second.
    pub(crate) fn note_bandwidth(&self, origin: &str, new: u64) {
        self.note(origin, |facts| {
            let old = Dated::within(facts.bandwidth, MEASURED_FOR);
            let is = old.map_or(new, |old| old / 4 * 3 + new / 4);
            facts.bandwidth = Some(Dated { is, at: now() });
            false
        });
    }

    /// Changes what is known of `origin`; `change` says whether that is worth writing down at once.
    fn note(&self, origin: &str, change: impl FnOnce(&mut Facts) -> bool) {
        if origin.is_empty() || origin.len() > MAX_NAME {
            return;
        }
        let mut state = self.state.lock();
        if !state.origins.contains_key(origin) && state.origins.len() >= MAX_ORIGINS {
            let oldest =
                state.origins.iter().min_by_key(|(_, facts)| facts.seen).map(|(name, _)| name.clone());
            oldest.map(|name| state.origins.remove(&name));
        }
        let facts = state.origins.entry(origin.to_owned()).or_default();
        facts.seen = now();
        let important = change(facts);
        let Some(path) = &self.path else { return };
        if important || now().saturating_sub(state.saved) >= SAVE_EVERY {
            state.saved = now();
            // A few kilobytes, and rarely: not worth a thread. Under the lock, so that no older state comes later.
            file::write(path, &state.origins);
        }
    }
}

impl Drop for Knowledge {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            file::write(path, &self.state.lock().origins);
        }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registries.json");
        let known = Knowledge::open(Some(path.clone()));
        known.note_ranges("a:1", true);
        known.note_multi_range("a:1>b:2", true);
        known.note_multi_range("c", false);
        known.note_round_trip("a:1", Duration::from_millis(90));
        known.note_round_trip("a:1", Duration::from_millis(20));
        known.note_bandwidth("a:1", 12_000_000);
        drop(known);
        let known = Knowledge::open(Some(path.clone()));
        assert_eq!((known.ranges("a:1"), known.ranges("b:2")), (Some(true), None));
        assert_eq!(known.multi_range("a:1>b:2"), Some(true));
        assert_eq!((known.multi_range("c"), known.multi_range("a:1")), (Some(false), None));
        let network = known.network("a:1");
        assert_eq!(network.round_trip, Some(Duration::from_millis(20)));
        assert_eq!(network.bandwidth, Some(12_000_000));
        for text in
            ["", "{", "[]", r#"{"version":2,"origins":{"a":{}}}"#, r#"{"version":1,"origins":{"a":7}}"#]
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Knowledge::open(Some(path.clone())).ranges("a:1"), None, "{text}");
        }
    }

    #[test]
    fn measurements_are_smoothed() {
        let known = Knowledge::open(None);
        let round_trip = || known.network("a").round_trip.unwrap().as_millis();
        known.note_round_trip("a", Duration::from_millis(900));
        assert_eq!(known.network("a").round_trip, None);
        known.note_round_trip("a", Duration::from_millis(100));
        known.note_round_trip("a", Duration::from_millis(20));
        assert_eq!(round_trip(), 60);
        known.note_round_trip("a", Duration::from_millis(700));
        assert_eq!(round_trip(), 70);
        known.note_bandwidth("a", 1000);
        known.note_bandwidth("a", 2000);
        assert_eq!(known.network("a").bandwidth, Some(1250));
    }

    #[test]
    fn memory_is_bounded() {
        let known = Knowledge::open(None);
        for n in 0..1000 {
            known.note_ranges(&format!("host{n}"), true);
        }
        known.note_ranges(&"x".repeat(1000), true);
        assert_eq!(known.state.lock().origins.len(), MAX_ORIGINS);
    }
}

//! Files that are being fetched now, by any job of this engine: whoever plans next takes them from there.
//!
//! While it plans, a job claims what it is going to fetch, under one lock together with its look-up in the store.
//! So of two jobs that want the same file one fetches it, whatever their timing, and the other waits for it. A job
//! waits only for jobs that planned before it; so jobs can never wait for one another in a circle. Only jobs of the
//! same registry share, so that no registry learns what another is asked for. A claim that
//! comes to nothing tells everyone who waits (see [`chunked_assemble::Promise`]), and they fetch for themselves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chunked_assemble::{Promise, Promised, promise};
use chunked_core::Digest;
use chunked_plan::{FileSource, Plan};
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::Inner;
use crate::reuse::NodeDonor;

/// Content: digest and length in bytes.
pub(crate) type Key = (Digest, u64);

/// Less than this share of what a job lacks, in per cent, is not worth waiting for: the job would be held up by
/// another's pace for the sake of a few files.
const WORTH_WAITING_PERCENT: u64 = 1;

#[derive(Debug)]
struct Claim {
    owner: u64,
    promised: Promised,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// By registry and content.
    claims: Mutex<HashMap<(Arc<str>, Key), Claim>>,
    last: AtomicU64,
}

/// What one attempt at a layer has claimed. Dropping it takes the claims back.
#[derive(Debug)]
pub(crate) struct Claims {
    in_flight: Arc<InFlight>,
    registry: Arc<str>,
    owner: u64,
    keys: Vec<Key>,
    promises: Mutex<HashMap<Key, Promise>>,
}

impl InFlight {
    /// The place of a new job among all: later than those that have one.
    pub(crate) fn place(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }

    /// No claims.
    pub(crate) fn none(self: &Arc<Self>) -> Claims {
        let (in_flight, registry) = (Arc::clone(self), "".into());
        Claims { in_flight, registry, owner: 0, keys: Vec::new(), promises: Mutex::default() }
    }

    /// Completes `look_up`, which says what of `wanted` the node has, with what earlier jobs are fetching; claims
    /// the rest for the job at `place`, which pulls from `registry` (host or host:port).
    pub(crate) fn claim<D: From<Promised>>(
        self: &Arc<Self>,
        registry: &Arc<str>,
        place: u64,
        wanted: &[Key],
        look_up: impl FnOnce() -> Vec<Option<D>>,
    ) -> (Vec<Option<D>>, Claims) {
        let mut claims = self.claims.lock();
        // Under the lock: a job gives its claims back after its layer can be found, so one of the two has a file.
        let mut found = look_up();
        found.resize_with(wanted.len(), || None);
        let missing = || wanted.iter().zip(&found).filter(|(_, donor)| donor.is_none()).map(|(key, _)| key);
        let bytes =
            |keys: &mut dyn Iterator<Item = &Key>| keys.fold(0u64, |sum, key| sum.saturating_add(key.1));
        let earlier = |claims: &HashMap<(Arc<str>, Key), Claim>, key: &Key| {
            let claim = claims
                .get(&(Arc::clone(registry), *key))
                .filter(|claim| claim.owner < place && !claim.promised.is_broken());
            claim.map(|claim| claim.promised.clone())
        };
        let waiting = bytes(&mut missing().filter(|key| earlier(&claims, key).is_some()));
        let worth_it =
            waiting.saturating_mul(100) >= bytes(&mut missing()).saturating_mul(WORTH_WAITING_PERCENT);
        let (mut keys, mut promises) = (Vec::new(), HashMap::new());
        for (key, donor) in wanted.iter().zip(&mut found) {
            if donor.is_some() {
                continue;
            }
            if let Some(promised) = earlier(&claims, key) {
                *donor = worth_it.then(|| promised.into());
                continue;
            }
            let new = || {
                let (promise, promised) = promise();
                (promise, Claim { owner: place, promised })
            };
            match claims.entry((Arc::clone(registry), *key)) {
                Entry::Vacant(entry) => {
                    let (promise, claim) = new();
                    entry.insert(claim);
                    promises.insert(*key, promise);
                    keys.push(*key);
                }
                Entry::Occupied(mut entry) if entry.get().promised.is_broken() => {
                    let (promise, claim) = new();
                    entry.insert(claim);
                    promises.insert(*key, promise);
                    keys.push(*key);
                }
                // A later job fetches it too, or it is a repeat within this layer.
                Entry::Occupied(_) => {}
            }
        }
        drop(claims);
        let (in_flight, registry) = (Arc::clone(self), Arc::clone(registry));
        (found, Claims { in_flight, registry, owner: place, keys, promises: Mutex::new(promises) })
    }
}

/// Sees to it that nobody waits for ever: when no job has received anything for [`LIMIT`], the files waited for
/// are given up, and whoever waits fetches for itself. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Patience(#[expect(dead_code, reason = "kept for its drop")] Option<AbortOnDropHandle<()>>);

/// Longer than the time after which a transfer that brings nothing is ended, which is the ordinary way.
const LIMIT: Duration = Duration::from_secs(120);

impl Patience {
    pub(crate) fn watch(inner: &Arc<Inner>, plan: &Plan<NodeDonor>) -> Self {
        let promised = |source: &FileSource<NodeDonor>| match source {
            FileSource::Donor(NodeDonor::InFlight(promised)) => Some(promised.clone()),
            _ => None,
        };
        let waiting: Vec<_> = plan.sources.iter().filter_map(promised).collect();
        if waiting.is_empty() {
            return Self(None);
        }
        let inner = Arc::clone(inner);
        Self(Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let (mut fetched, mut since) = (inner.fetched(), Instant::now());
            while since.elapsed() < LIMIT {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let now = inner.fetched();
                if now != fetched {
                    (fetched, since) = (now, Instant::now());
                }
            }
            tracing::warn!(
                files = waiting.len(),
                "no longer waiting for files that other layers were to bring"
            );
            waiting.iter().for_each(Promised::give_up);
        }))))
    }
}

impl Claims {
    /// The promise to keep when the file is complete; once.
    pub(crate) fn promise(&self, key: &Key) -> Option<Promise> {
        self.promises.lock().remove(key)
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let mut claims = self.in_flight.claims.lock();
        for key in &self.keys {
            if let Entry::Occupied(entry) = claims.entry((Arc::clone(&self.registry), *key))
                && entry.get().owner == self.owner
            {
                entry.remove();
            }
        }
        drop(claims);
        // The promises that are left break now, outside the lock: that calls those who wait.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone)]
    enum Donor {
        Store,
        Flight(Promised),
    }

    impl From<Promised> for Donor {
        fn from(promised: Promised) -> Self {
            Self::Flight(promised)
        }
    }

    fn key(n: u8) -> Key {
        (Digest::of(&[n]), 100)
    }

    fn registry() -> Arc<str> {
        "registry.example".into()
    }

    fn nothing() -> Vec<Option<Donor>> {
        Vec::new()
    }

    #[test]
    fn one_fetches_and_later_ones_wait() {
        let all = Arc::<InFlight>::default();
        let (first, second) = (all.place(), all.place());
        let (found, claims) =
            all.claim(&registry(), first, &[key(1), key(2), key(1)], || vec![None, Some(Donor::Store)]);
        assert!(matches!(found[..], [None, Some(Donor::Store), None]), "a repeat is the plan's affair");
        let (found, later) = all.claim(&registry(), second, &[key(1), key(3)], nothing);
        let Some(Donor::Flight(promised)) = &found[0] else { panic!("it is in flight") };
        let (other, _) = all.claim(&"other.example".into(), all.place(), &[key(1)], nothing);
        assert!(other[0].is_none(), "another registry");
        assert!(found[1].is_none() && later.promise(&key(3)).is_some() && later.promise(&key(1)).is_none());
        // The earlier one never waits for the later one.
        let (found, _) = all.claim(&registry(), first, &[key(3)], nothing);
        assert!(found[0].is_none());
        let promise = claims.promise(&key(1));
        assert!(promise.is_some() && claims.promise(&key(1)).is_none());
        drop(promise);
        assert!(promised.wait().is_none());
        // Broken: the next one claims it for itself.
        let (found, again) = all.claim(&registry(), all.place(), &[key(1)], nothing);
        assert!(found[0].is_none() && again.promise(&key(1)).is_some());
    }

    #[test]
    fn claims_end_with_their_job() {
        let all = Arc::<InFlight>::default();
        let (_, claims) = all.claim(&registry(), all.place(), &[key(1)], nothing);
        let (found, _later) = all.claim(&registry(), all.place(), &[key(1)], nothing);
        drop(claims);
        let Some(Donor::Flight(promised)) = &found[0] else { panic!("it was in flight") };
        assert!(promised.wait().is_none());
        assert!(all.claims.lock().is_empty());
    }

    #[test]
    fn a_little_is_not_waited_for() {
        let all = Arc::<InFlight>::default();
        let (_, _claims) = all.claim(&registry(), all.place(), &[key(1)], nothing);
        let (found, _) =
            all.claim(&registry(), all.place(), &[key(1), (Digest::of(b"large"), 10_000)], nothing);
        assert!(found[0].is_none());
    }
}

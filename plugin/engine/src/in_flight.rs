//! Files that are being fetched now, by any job of this engine: whoever plans next takes them from there.
//!
//! A job first looks up what the node has, without a lock, since that may read the disk. Then it claims what it is
//! going to fetch, under one lock. A layer that came into the store in between is seen by the claims that were given
//! back, and the index is asked once more for what is missing. So of two jobs that want the same file one fetches it,
//! whatever their timing, and the other waits for it. A job waits only for jobs that planned before it; so jobs can
//! never wait for one another in a circle. Only jobs of the same registry share, so that no registry learns what
//! another is asked for, and nobody waits for another's. A claim that comes to nothing tells everyone who waits (see
//! [`chunked_assemble::Promise`]), and they fetch for themselves.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chunked_assemble::{Promise, Promised, promise};
use chunked_core::Digest;
use chunked_plan::FileSource;
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::blocking::off_the_runtime;
use crate::report::Counters;
use crate::reuse::NodeDonor;

/// Content: digest and length in bytes.
pub(crate) type Key = (Digest, u64);

/// Less than this share of what a job lacks, in per cent, is not worth waiting for: the job would be held up by
/// another's pace for the sake of a few files.
const WORTH_WAITING_PERCENT: u64 = 1;

/// A file that another job is fetching.
#[derive(Debug, Clone)]
pub(crate) struct Flying {
    pub(crate) promised: Promised,
    /// How far that job is.
    maker: Arc<Counters>,
}

/// Who plans.
#[derive(Debug, Clone)]
pub(crate) struct Claimant {
    /// Host, or host:port, of the registry that it pulls from.
    pub(crate) registry: Arc<str>,
    /// Its place among all jobs.
    pub(crate) place: u64,
    pub(crate) counters: Arc<Counters>,
}

#[derive(Debug)]
struct Claim {
    owner: u64,
    flying: Flying,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    /// By registry and content.
    claims: Mutex<HashMap<(Arc<str>, Key), Claim>>,
    /// How often claims were given back; changes under the lock of `claims`.
    given_back: AtomicU64,
    last: AtomicU64,
}

/// What one attempt at a layer has claimed. Dropping it takes the claims back.
#[derive(Debug)]
pub(crate) struct Claims {
    in_flight: Arc<InFlight>,
    registry: Arc<str>,
    owner: u64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    keys: Vec<Key>,
    /// Those that are not kept yet.
    promises: HashMap<Key, Promise>,
}

impl InFlight {
    /// The place of a new job among all: later than those that have one.
    pub(crate) fn place(&self) -> u64 {
        self.last.fetch_add(1, Ordering::Relaxed)
    }

    /// No claims.
    pub(crate) fn none(self: &Arc<Self>) -> Claims {
        let (in_flight, registry) = (Arc::clone(self), "".into());
        Claims { in_flight, registry, owner: 0, held: Mutex::default() }
    }

    /// Ends the claims of `owner` to `keys`.
    fn take_back(&self, registry: &Arc<str>, owner: u64, keys: &[Key]) {
        if keys.is_empty() {
            return;
        }
        let mut claims = self.claims.lock();
        for key in keys {
            if let Entry::Occupied(entry) = claims.entry((Arc::clone(registry), *key))
                && entry.get().owner == owner
            {
                entry.remove();
            }
        }
        self.given_back.fetch_add(1, Ordering::Release);
    }

    /// Completes `look_up`, which says what of `wanted` the node has, with what earlier jobs are fetching; claims
    /// the rest for `who`. `again` is asked for what is missing, under the lock, if a layer may have come into
    /// the store since `look_up`: it must be quick, and read no contents.
    pub(crate) fn claim<D: From<Flying>>(
        self: &Arc<Self>,
        who: &Claimant,
        wanted: &[Key],
        look_up: impl FnOnce() -> Vec<Option<D>>,
        again: impl FnOnce(&[Key]) -> Vec<Option<D>>,
    ) -> (Vec<Option<D>>, Claims) {
        let (registry, place) = (&who.registry, who.place);
        let before = self.given_back.load(Ordering::Acquire);
        let mut found = look_up();
        found.resize_with(wanted.len(), || None);
        let mut claims = self.claims.lock();
        // A job gives its claims back after its layer can be found: so the index or the claims have each file.
        if self.given_back.load(Ordering::Acquire) != before {
            let (lacking, keys): (Vec<_>, Vec<_>) =
                found.iter_mut().zip(wanted).filter(|(donor, _)| donor.is_none()).unzip();
            for (place, donor) in lacking.into_iter().zip(again(&keys)) {
                *place = donor;
            }
        }
        let missing = || wanted.iter().zip(&found).filter(|(_, donor)| donor.is_none()).map(|(key, _)| key);
        let bytes =
            |keys: &mut dyn Iterator<Item = &Key>| keys.fold(0u64, |sum, key| sum.saturating_add(key.1));
        let earlier = |claims: &HashMap<(Arc<str>, Key), Claim>, key: &Key| {
            let claim = claims
                .get(&(Arc::clone(registry), *key))
                .filter(|claim| claim.owner < place && !claim.flying.promised.is_broken());
            claim.map(|claim| claim.flying.clone())
        };
        let waiting = bytes(&mut missing().filter(|key| earlier(&claims, key).is_some()));
        let worth_it =
            waiting.saturating_mul(100) >= bytes(&mut missing()).saturating_mul(WORTH_WAITING_PERCENT);
        let (mut keys, mut promises) = (Vec::new(), HashMap::new());
        for (key, donor) in wanted.iter().zip(&mut found) {
            if donor.is_some() {
                continue;
            }
            if let Some(flying) = earlier(&claims, key) {
                *donor = worth_it.then(|| flying.into());
                continue;
            }
            let new = || {
                let (promise, promised) = promise();
                let flying = Flying { promised, maker: Arc::clone(&who.counters) };
                (promise, Claim { owner: place, flying })
            };
            match claims.entry((Arc::clone(registry), *key)) {
                Entry::Vacant(entry) => {
                    let (promise, claim) = new();
                    entry.insert(claim);
                    promises.insert(*key, promise);
                    keys.push(*key);
                }
                Entry::Occupied(mut entry) if entry.get().flying.promised.is_broken() => {
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
        (found, Claims { in_flight, registry, owner: place, held: Mutex::new(Held { keys, promises }) })
    }
}

/// Sees to it that nobody waits long for a job that stands still: when one has received next to nothing for
/// [`WINDOW`], what is waited for from that job is given up, and whoever waits fetches for itself. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Patience(#[expect(dead_code, reason = "kept for its drop")] Option<AbortOnDropHandle<()>>);

/// Shorter than the time after which a transfer that brings nothing is ended: that may be tried again several times.
const WINDOW: Duration = Duration::from_secs(10);
/// Bytes that are next to nothing in that time.
const LITTLE: u64 = 16 << 10;

impl Patience {
    /// Watches the jobs that a plan with these `sources` waits for.
    pub(crate) fn watch(sources: &[FileSource<NodeDonor>]) -> Self {
        Self::look_every(WINDOW, sources)
    }

    fn look_every(window: Duration, sources: &[FileSource<NodeDonor>]) -> Self {
        let mut makers: HashMap<*const Counters, (Arc<Counters>, Vec<Promised>)> = HashMap::new();
        for source in sources {
            if let FileSource::Donor(NodeDonor::InFlight(Flying { promised, maker })) = source {
                let waiting =
                    makers.entry(Arc::as_ptr(maker)).or_insert_with(|| (Arc::clone(maker), Vec::new()));
                waiting.1.push(promised.clone());
            }
        }
        if makers.is_empty() {
            return Self(None);
        }
        let mut makers: Vec<_> = makers.into_values().collect();
        Self(Some(AbortOnDropHandle::new(tokio::spawn(async move {
            while !makers.is_empty() {
                let fetched = |maker: &Counters| maker.fetched.load(Ordering::Relaxed);
                let before: Vec<_> = makers.iter().map(|(maker, _)| fetched(maker)).collect();
                tokio::time::sleep(window).await;
                let mut before = before.into_iter();
                makers.retain(|(maker, waiting)| {
                    let goes_on = fetched(maker).saturating_sub(before.next().unwrap_or(0)) >= LITTLE;
                    if !goes_on {
                        waiting.iter().for_each(Promised::give_up);
                        let files = waiting.len();
                        tracing::info!(files, "no longer waiting for files of a layer that stands still");
                    }
                    goes_on
                });
            }
        }))))
    }
}

impl Claims {
    /// The promise to keep when the file is complete; once.
    pub(crate) fn promise(&self, key: &Key) -> Option<Promise> {
        self.held.lock().promises.remove(key)
    }

    /// Takes the claims back, here and now; those who wait are told.
    pub(crate) fn end(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        self.in_flight.take_back(&self.registry, self.owner, &held.keys);
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        let (in_flight, registry, owner) =
            (Arc::clone(&self.in_flight), Arc::clone(&self.registry), self.owner);
        let held = std::mem::take(self.held.get_mut());
        if !held.keys.is_empty() {
            // There may be many.
            off_the_runtime(move || {
                in_flight.take_back(&registry, owner, &held.keys);
                drop(held);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone)]
    enum Donor {
        Store,
        Flight(Flying),
    }

    impl From<Flying> for Donor {
        fn from(flying: Flying) -> Self {
            Self::Flight(flying)
        }
    }

    fn key(n: u8) -> Key {
        (Digest::of(&[n]), 100)
    }

    fn job(all: &InFlight, registry: &str) -> Claimant {
        Claimant { registry: registry.into(), place: all.place(), counters: Arc::default() }
    }

    type Found = Vec<Option<Donor>>;

    fn claim(all: &Arc<InFlight>, who: &Claimant, keys: &[Key], has: Found) -> (Found, Claims) {
        all.claim(who, keys, || has, |_| panic!("nothing was given back"))
    }

    #[test]
    fn one_fetches_and_later_ones_wait() {
        let all = Arc::<InFlight>::default();
        let (first, second) = (job(&all, "a"), job(&all, "a"));
        let has = vec![None, Some(Donor::Store)];
        let (found, claims) = claim(&all, &first, &[key(1), key(2), key(1)], has);
        assert!(matches!(found[..], [None, Some(Donor::Store), None]), "a repeat is the plan's affair");
        let (found, later) = claim(&all, &second, &[key(1), key(3)], vec![]);
        let Some(Donor::Flight(flying)) = &found[0] else { panic!("it is in flight") };
        assert!(Arc::ptr_eq(&flying.maker, &first.counters));
        let (other, _other) = claim(&all, &job(&all, "b"), &[key(1)], vec![]);
        assert!(other[0].is_none(), "another registry");
        assert!(found[1].is_none() && later.promise(&key(3)).is_some() && later.promise(&key(1)).is_none());
        // The earlier one never waits for the later one.
        let (found, _) = claim(&all, &first, &[key(3)], vec![]);
        assert!(found[0].is_none());
        let promise = claims.promise(&key(1));
        assert!(promise.is_some() && claims.promise(&key(1)).is_none());
        drop(promise);
        assert!(flying.promised.wait().is_none());
        // Broken: the next one claims it for itself.
        let (found, again) = claim(&all, &job(&all, "a"), &[key(1)], vec![]);
        assert!(found[0].is_none() && again.promise(&key(1)).is_some());
    }

    #[test]
    fn claims_end_with_their_job() {
        let all = Arc::<InFlight>::default();
        let (_, claims) = claim(&all, &job(&all, "a"), &[key(1)], vec![]);
        let (found, later) = claim(&all, &job(&all, "a"), &[key(1)], vec![]);
        drop((claims, later));
        let Some(Donor::Flight(flying)) = &found[0] else { panic!("it was in flight") };
        assert!(flying.promised.wait().is_none());
        assert!(all.claims.lock().is_empty());
    }

    #[test]
    fn a_little_is_not_waited_for() {
        let all = Arc::<InFlight>::default();
        let (_, _claims) = claim(&all, &job(&all, "a"), &[key(1)], vec![]);
        let (found, _) = claim(&all, &job(&all, "a"), &[key(1), (Digest::of(b"large"), 10_000)], vec![]);
        assert!(found[0].is_none());
    }

    /// The look-up holds no lock, so that it may read; what was committed meanwhile is looked up once more.
    #[test]
    fn a_layer_that_comes_during_the_look_up_is_found() {
        let all = Arc::<InFlight>::default();
        let (_, first) = claim(&all, &job(&all, "a"), &[key(1)], vec![]);
        let look_up = || {
            drop(first);
            vec![Some(Donor::Store), None, None]
        };
        let (found, claims) = all.claim(&job(&all, "a"), &[key(2), key(1), key(3)], look_up, |keys| {
            assert_eq!(keys, [key(1), key(3)]);
            vec![Some(Donor::Store), None]
        });
        assert!(matches!(found[..], [Some(Donor::Store), Some(Donor::Store), None]));
        assert!(claims.promise(&key(3)).is_some());
    }

    #[tokio::test]
    async fn who_stands_still_is_not_waited_for_and_others_are() {
        let all = Arc::<InFlight>::default();
        let (slow, good) = (job(&all, "a"), job(&all, "a"));
        let (_, _first) = claim(&all, &slow, &[key(1)], vec![]);
        let (_, _second) = claim(&all, &good, &[key(2)], vec![]);
        let (found, _) = claim(&all, &job(&all, "a"), &[key(1), key(2)], vec![]);
        let flying = found.into_iter().map(|donor| match donor {
            Some(Donor::Flight(flying)) => flying,
            other => panic!("{other:?}"),
        });
        let waited_for: Vec<_> = flying.collect();
        let donor = |flying: &Flying| FileSource::Donor(NodeDonor::InFlight(flying.clone()));
        let sources: Vec<_> = waited_for.iter().map(donor).collect();
        let _patience = Patience::look_every(Duration::from_millis(200), &sources);
        for _ in 0..60 {
            slow.counters.add_fetched(1);
            good.counters.add_fetched(100_000);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(waited_for[0].promised.is_broken() && !waited_for[1].promised.is_broken());
    }
}

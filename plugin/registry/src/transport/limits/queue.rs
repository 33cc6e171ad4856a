//! Who holds what, and who is next. Pure: nothing here waits.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Permits, SHARE};

/// What a request needs: one place at `host`, one in all, and `units` of the bytes on their way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Want {
    /// Registry of the reference, on whose behalf it is.
    pub registry: Arc<str>,
    /// Who is asked.
    pub host: Arc<str>,
    /// Bytes, in units.
    pub units: u64,
}

type Grant = oneshot::Sender<Permits>;

/// What is held at a host.
#[derive(Debug, Default)]
struct Host {
    places: u64,
    /// When something moved there last, on the clock of [`Queue::moved`].
    moved: u64,
}

/// What a registry holds.
#[derive(Debug, Default)]
struct Held {
    places: u64,
    units: u64,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    want: Want,
    grant: Grant,
}

/// Counters, and who waits, first come first.
#[derive(Debug)]
pub(super) struct Queue {
    per_host: u64,
    places: u64,
    units: u64,
    free_places: u64,
    free_units: u64,
    hosts: HashMap<Arc<str>, Host>,
    registries: HashMap<Arc<str>, Held>,
    waiting: VecDeque<Waiter>,
    next: u64,
    moved: u64,
}

impl Queue {
    pub(super) fn new(per_host: u64, places: u64, units: u64) -> Self {
        Self {
            per_host,
            places,
            units,
            free_places: places,
            free_units: units,
            hosts: HashMap::new(),
            registries: HashMap::new(),
            waiting: VecDeque::new(),
            next: 0,
            moved: 0,
        }
    }

    /// Most units that anybody can have.
    pub(super) fn most_units(&self) -> u64 {
        self.units
    }

    /// When something moved last that `want` waits for, on a clock that ticks whenever a byte arrives or a request
    /// ends.
    pub(super) fn moved(&self, want: &Want) -> u64 {
        let host = self.hosts.get(&want.host).filter(|host| host.places >= self.per_host);
        host.map_or(self.moved, |host| host.moved)
    }

    /// Places that are taken, and how many wait for one.
    pub(super) fn lengths(&self) -> (u64, u64) {
        (self.places.saturating_sub(self.free_places), self.waiting.len() as u64)
    }

    /// Adds somebody at the end; gives the number to [leave](Self::leave) by.
    pub(super) fn push(&mut self, want: Want, grant: Grant) -> u64 {
        self.next += 1;
        self.waiting.push_back(Waiter { number: self.next, want, grant });
        self.next
    }

    /// Takes somebody out who does not want to wait any more. False when it was served already.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiter| waiter.number != number);
        self.waiting.len() < before
    }

    /// Takes out whoever fits now, and counts what they get. Nobody is overtaken by a later request of the same
    /// registry to the same host, nor by one of the same registry that wants fewer bytes.
    pub(super) fn admit(&mut self) -> Vec<(Grant, Want)> {
        let mut admitted = Vec::new();
        let mut full_hosts: HashSet<Arc<str>> = HashSet::new();
        let mut full_registries: HashSet<Arc<str>> = HashSet::new();
        for waiter in std::mem::take(&mut self.waiting) {
            let want = &waiter.want;
            let host_is_full = full_hosts.contains(&want.host)
                || self.hosts.get(&want.host).is_some_and(|held| held.places >= self.per_host);
            if host_is_full {
                full_hosts.insert(Arc::clone(&want.host));
            } else if full_registries.contains(&want.registry) || !self.has_share(want) {
                full_registries.insert(Arc::clone(&want.registry));
            } else {
                self.take(want);
                admitted.push((waiter.grant, waiter.want));
                continue;
            }
            self.waiting.push_back(waiter);
        }
        admitted
    }

    /// Whether its registry's share of what is common is large enough.
    fn has_share(&self, want: &Want) -> bool {
        let (places, units) =
            self.registries.get(&want.registry).map_or((0, 0), |held| (held.places, held.units));
        // One place is for the next registry, unless this is it.
        let left = self.free_places.saturating_sub(1);
        let more_places = self.free_places > 0 && (places == 0 || places < SHARE.saturating_mul(left));
        // Whoever holds nothing gets what there is, or a long request would never fit beside others.
        let more_units = want.units <= self.free_units
            && (units == 0
                || units.saturating_add(want.units) <= SHARE.saturating_mul(self.free_units - want.units));
        more_places && (want.units == 0 || more_units)
    }

    fn take(&mut self, want: &Want) {
        self.free_places -= 1;
        self.free_units -= want.units;
        self.hosts.entry(Arc::clone(&want.host)).or_default().places += 1;
        let held = self.registries.entry(Arc::clone(&want.registry)).or_default();
        held.places += 1;
        held.units += want.units;
    }

    /// `units` of what `held` asked for have arrived, maybe none.
    pub(super) fn move_on(&mut self, held: &Want, units: u64) {
        self.moved += 1;
        if let Some(host) = self.hosts.get_mut(&held.host) {
            host.moved = self.moved;
        }
        self.free_units = self.free_units.saturating_add(units).min(self.units);
        if let Some(registry) = self.registries.get_mut(&held.registry) {
            registry.units = registry.units.saturating_sub(units);
        }
    }

    /// A request has ended.
    pub(super) fn end(&mut self, held: &Want) {
        self.move_on(held, held.units);
        self.free_places = self.free_places.saturating_add(1).min(self.places);
        if let Some(host) = self.hosts.get_mut(&held.host) {
            host.places -= 1;
            if host.places == 0 {
                self.hosts.remove(&held.host);
            }
        }
        if let Some(registry) = self.registries.get_mut(&held.registry) {
            registry.places -= 1;
            if registry.places == 0 {
                self.registries.remove(&held.registry);
            }
        }
    }
}

//! Bounded memory: what manifests were found to be, and the answers given a moment ago.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

use chunked_core::{Digest, ObjectDigest};

use crate::found::Found;

/// Manifests remembered: with 20 layers each about 3 MB.
const MAX_MANIFESTS: usize = 4096;
/// Answers remembered; they share the images they hold.
const MAX_ANSWERS: usize = 1024;

/// What a blob turned out to be.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// A manifest whose config gives these chainIDs, lowest first.
    Image(Box<[Digest]>),
    /// Hashed correctly, and is not the manifest of an image.
    Other,
}

/// Blobs that were read once. Content is addressed by digest, so this never gets stale.
#[derive(Debug)]
pub(crate) struct Manifests(Recent<ObjectDigest, Known>);

/// A namespace and a chainID.
type Question = (String, Digest);

/// Answers with the time they were found.
#[derive(Debug)]
pub(crate) struct Answers(Recent<Question, (Instant, Found)>);

impl Default for Manifests {
    fn default() -> Self {
        Self(Recent::new(MAX_MANIFESTS))
    }
}

impl Manifests {
    pub(crate) fn get(&mut self, digest: &ObjectDigest) -> Option<Known> {
        self.0.get(digest).cloned()
    }

    pub(crate) fn insert(&mut self, digest: ObjectDigest, known: Known) {
        self.0.insert(digest, known);
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self(Recent::new(MAX_ANSWERS))
    }
}

impl Answers {
    /// The answer to a question, if it was found after `since`.
    pub(crate) fn get(&mut self, namespace: &str, target: &Digest, since: Instant) -> Option<Found> {
        let (found_at, found) = self.0.get(&(namespace.to_owned(), *target))?;
        (*found_at >= since).then(|| found.clone())
    }

    /// Remembers answers, and forgets those found before `since`.
    pub(crate) fn insert(&mut self, namespace: &str, answers: Vec<(Digest, Found)>, since: Instant) {
        self.0.retain(|(found_at, _)| *found_at >= since);
        let now = Instant::now();
        for (target, found) in answers {
            self.0.insert((namespace.to_owned(), target), (now, found));
        }
    }
}

/// A map that drops what was not used for longest once it is full.
#[derive(Debug)]
struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    capacity: usize,
    clock: u64,
}

impl<K: Hash + Eq + Clone, V> Recent<K, V> {
    fn new(capacity: usize) -> Self {
        Self { entries: HashMap::new(), capacity, clock: 0 }
    }

    fn get(&mut self, key: &K) -> Option<&V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            self.drop_oldest_half();
        }
        self.entries.insert(key, (self.clock, value));
    }

    fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.entries.retain(|_, (_, value)| keep(value));
    }

    /// Half at once, so that a full map costs a pass over it only now and then.
    fn drop_oldest_half(&mut self) {
        let mut used: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
        let middle = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(middle);
        let median = *median;
        self.entries.retain(|_, (used, _)| *used > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_map_keeps_what_was_used_last() {
        let mut map = Recent::new(8);
        for key in 0..8 {
            map.insert(key, key * 10);
        }
        assert_eq!(map.get(&0), Some(&0));
        map.insert(8, 80);
        assert!(map.entries.len() <= 8);
        assert_eq!(map.get(&0), Some(&0), "used a moment ago");
        assert_eq!(map.get(&8), Some(&80));
        assert_eq!(map.get(&1), None, "not used for longest");
    }

    #[test]
    fn a_map_of_one_works() {
        let mut map = Recent::new(1);
        map.insert('a', 1);
        map.insert('a', 2);
        assert_eq!(map.get(&'a'), Some(&2));
        map.insert('b', 3);
        assert_eq!(map.get(&'a'), None);
        assert_eq!(map.get(&'b'), Some(&3));
    }
}

//! What waits to be done, in an order that is fair to those it is done for.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

/// Items that wait to be taken by workers. Each has an owner.
///
/// **The rule.** Owners take turns, one item each, however many items each of them has waiting; the items of one owner are
/// taken in the order in which they came. Of one owner at most `most` items are being worked on at a time: with more
/// workers than that, one owner's long items never keep all of them from the others.
pub struct Turns<T> {
    most: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    owners: HashMap<Arc<str>, Owner<T>>,
    /// Owners of which an item may be taken now, the next one first. Each is in it at most once.
    ring: VecDeque<Arc<str>>,
}

struct Owner<T> {
    waiting: VecDeque<T>,
    /// Items that are being worked on.
    taken: usize,
    /// It is in the ring.
    has_turn: bool,
}

/// An item of [`Turns`] is being worked on, until this is dropped.
#[derive(Debug)]
pub struct Turn<'a, T> {
    turns: &'a Turns<T>,
    owner: Arc<str>,
}

impl<T> Turns<T> {
    /// Nothing waits. Of one owner at most `most` items, at least 1, are worked on at a time.
    pub fn new(most: usize) -> Self {
        let state = State { owners: HashMap::new(), ring: VecDeque::new() };
        Self { most: most.max(1), state: Mutex::new(state) }
    }

    /// Adds `item`, which comes after all that `owner` has waiting.
    pub fn push(&self, owner: &Arc<str>, item: T) {
        let mut state = self.state.lock();
        let none = || Owner { waiting: VecDeque::new(), taken: 0, has_turn: false };
        state.owners.entry(Arc::clone(owner)).or_insert_with(none).waiting.push_back(item);
        self.give_turn(&mut state, owner);
    }

    /// The item whose turn it is. `None`: nothing waits, or only items of owners of which enough are being worked on. Whoever
    /// works on those must ask again when he is done.
    pub fn take(&self) -> Option<(T, Turn<'_, T>)> {
        let mut state = self.state.lock();
        let owner = state.ring.pop_front()?;
        let entry = state.owners.get_mut(&owner)?;
        entry.has_turn = false;
        let item = entry.waiting.pop_front()?;
        entry.taken += 1;
        self.give_turn(&mut state, &owner);
        Some((item, Turn { turns: self, owner }))
    }

    /// Puts `owner` at the end of the ring, if an item of its may be taken and it is not in it.
    fn give_turn(&self, state: &mut State<T>, owner: &Arc<str>) {
        let Some(entry) = state.owners.get_mut(owner) else { return };
        if !entry.has_turn && !entry.waiting.is_empty() && entry.taken < self.most {
            entry.has_turn = true;
            state.ring.push_back(Arc::clone(owner));
        } else if entry.waiting.is_empty() && entry.taken == 0 {
            state.owners.remove(owner);
        }
    }

    fn end(&self, owner: &Arc<str>) {
        let mut state = self.state.lock();
        if let Some(entry) = state.owners.get_mut(owner) {
            entry.taken -= 1;
        }
        self.give_turn(&mut state, owner);
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.turns.end(&self.owner);
    }
}

impl<T> fmt::Debug for Turns<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        let waiting = state.owners.iter().map(|(owner, entry)| (owner, entry.waiting.len(), entry.taken));
        f.debug_struct("Turns")
            .field("most", &self.most)
            .field("waiting", &waiting.collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn nobody_waits_behind_all_that_another_has() {
        let turns = Turns::new(8);
        (0..5000).for_each(|n| turns.push(&owner("many"), ("many", n)));
        (0..2).for_each(|n| turns.push(&owner("few"), ("few", n)));
        turns.push(&owner("one"), ("one", 0));
        let order: Vec<_> = std::iter::from_fn(|| turns.take().map(|(item, _)| item)).collect();
        let first = [("many", 0), ("few", 0), ("one", 0), ("many", 1), ("few", 1), ("many", 2), ("many", 3)];
        assert_eq!(order[..7], first);
        assert!(order[6..].is_sorted() && order.len() == 5003);
        assert!(turns.state.lock().owners.is_empty());
    }

    #[test]
    fn one_owner_never_has_all_workers() {
        let turns = Turns::new(2);
        (0..4).for_each(|n| turns.push(&owner("slow"), n));
        let (first, second) = (turns.take().unwrap(), turns.take().unwrap());
        assert!(turns.take().is_none(), "the third worker is for others");
        turns.push(&owner("other"), 10);
        assert_eq!(turns.take().map(|(item, _)| item), Some(10));
        assert!(turns.take().is_none());
        drop(first);
        assert_eq!(turns.take().map(|(item, _)| item), Some(2));
        drop(second);
        assert_eq!(turns.take().map(|(item, _)| item), Some(3));
        assert!(turns.state.lock().owners.is_empty());
    }

    proptest! {
        /// Everything is taken once, in each owner's order; an owner that waits is passed by at most once by each other.
        #[test]
        fn owners_take_turns(steps in prop::collection::vec((0..4_u8, 0..3_u8), 1..200), most in 1..4_usize) {
            let turns = Turns::new(most);
            let (mut pushed, mut taken) = ([0; 4], [0; 4]);
            let mut working = Vec::new();
            // Items of others since an owner that may have its turn waits.
            let mut passed = [[0; 4]; 4];
            for (who, what) in steps {
                let at = usize::from(who);
                match what {
                    0 => {
                        turns.push(&owner(&who.to_string()), (at, pushed[at]));
                        pushed[at] += 1;
                    }
                    1 => if let Some(((who, number), turn)) = turns.take() {
                        prop_assert_eq!(number, taken[who]);
                        taken[who] += 1;
                        passed[who] = [0; 4];
                        working.push((who, turn));
                        prop_assert!(working.iter().filter(|(other, _)| *other == who).count() <= most);
                        for waiting in (0..4).filter(|other| *other != who) {
                            let busy = working.iter().filter(|(other, _)| *other == waiting).count() == most;
                            let waits = pushed[waiting] > taken[waiting] && !busy;
                            passed[waiting][who] = if waits { passed[waiting][who] + 1 } else { 0 };
                            prop_assert!(passed[waiting][who] <= 2);
                        }
                    } else {
                        for who in 0..4 {
                            let busy = working.iter().filter(|(other, _)| *other == who).count() == most;
                            prop_assert!(pushed[who] == taken[who] || busy);
                        }
                    },
                    _ => if !working.is_empty() {
                        working.remove(at % working.len());
                    },
                }
            }
            working.clear();
            while turns.take().is_some() {}
            prop_assert!(turns.state.lock().owners.is_empty() && turns.state.lock().ring.is_empty());
        }
    }
}

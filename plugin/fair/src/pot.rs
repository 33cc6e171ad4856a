//! A number of equal things, of which owners take some and give them back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Something that the node has `total` of.
///
/// **The rule.** An owner that has none may take all that is free. One that has some may take more as long as it
/// has no more than is left free afterwards for others. So one owner alone gets half, and a second one always finds
/// something, however long the first one keeps what it has. Within an owner, who waits longest comes first, so that
/// a large request is not overtaken for ever by small ones; owners do not wait for one another's requests.
#[derive(Debug)]
pub struct Pot {
    pub(crate) total: u64,
    /// Most that one owner may have.
    most: u64,
    pub(crate) state: Mutex<State>,
    /// Wakes threads that wait.
    pub(crate) freed: Condvar,
    /// Wakes tasks that wait.
    pub(crate) freed_async: Notify,
}

/// See [`Pot`].
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) used: u64,
    /// Kept free of owners' requests, for [`Memory`](crate::Memory)'s guarantees.
    pub(crate) floor: u64,
    owners: HashMap<Arc<str>, Owner>,
    last: u64,
}

#[derive(Debug, Default)]
struct Owner {
    used: u64,
    /// Tickets of those who wait, longest first.
    queue: VecDeque<u64>,
}

/// A place in an owner's queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

impl State {
    /// Takes `amount` for `owner` if the rule allows it and nobody of the same owner waits longer.
    pub(crate) fn take(&mut self, pot: &Pot, owner: &Arc<str>, amount: u64, ticket: Option<Ticket>) -> bool {
        let free = pot.total.saturating_sub(self.used).saturating_sub(self.floor);
        let entry = self.owners.entry(Arc::clone(owner)).or_default();
        let first = entry.queue.front().is_none_or(|first| ticket == Some(Ticket(*first)));
        let wanted = entry.used.saturating_add(amount);
        let fits = amount <= free && wanted <= pot.most.max(amount) && (entry.used == 0 || wanted <= free);
        if first && fits {
            entry.used = wanted;
            self.used += amount;
        } else if entry.used == 0 && entry.queue.is_empty() {
            self.owners.remove(owner);
        }
        first && fits
    }

    pub(crate) fn queue(&mut self, owner: &Arc<str>) -> Ticket {
        self.last += 1;
        self.owners.entry(Arc::clone(owner)).or_default().queue.push_back(self.last);
        Ticket(self.last)
    }

    pub(crate) fn unqueue(&mut self, owner: &Arc<str>, ticket: Ticket) {
        if let Some(entry) = self.owners.get_mut(owner) {
            entry.queue.retain(|waiting| *waiting != ticket.0);
        }
        self.give_back(owner, 0);
    }

    pub(crate) fn give_back(&mut self, owner: &Arc<str>, amount: u64) {
        self.used = self.used.saturating_sub(amount);
        if let Some(entry) = self.owners.get_mut(owner) {
            entry.used = entry.used.saturating_sub(amount);
            if entry.used == 0 && entry.queue.is_empty() {
                self.owners.remove(owner);
            }
        }
    }
}

/// What an owner has of a [`Pot`], given back when dropped.
#[derive(Debug)]
pub struct Part {
    pot: Arc<Pot>,
    owner: Arc<str>,
    amount: u64,
}

/// A ticket that leaves its queue when its owner stops waiting, cancelled or not.
struct Queued<'a> {
    pot: &'a Pot,
    owner: &'a Arc<str>,
    ticket: Option<Ticket>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.pot.state.lock().unqueue(self.owner, ticket);
            // Whoever waits behind it may be next.
            self.pot.wake();
        }
    }
}

impl Pot {
    /// A pot of `total`, at least 1, of which one owner may have `most`, at least 1.
    pub fn new(total: u64, most: u64) -> Arc<Self> {
        Arc::new(Self {
            total: total.max(1),
            most: most.max(1),
            state: Mutex::default(),
            freed: Condvar::new(),
            freed_async: Notify::new(),
        })
    }

    /// Waits until `owner` may have `amount`. More than there is at all counts as all there is. Dropping the call
    /// ends the wait.
    pub async fn take(self: &Arc<Self>, owner: &Arc<str>, amount: u64) -> Part {
        let amount = amount.min(self.total);
        let mut queued = Queued { pot: self, owner, ticket: None };
        self.until(|state| {
            let taken = state.take(self, owner, amount, queued.ticket);
            if !taken && queued.ticket.is_none() {
                queued.ticket = Some(state.queue(owner));
            }
            taken.then_some(())
        })
        .await;
        drop(queued);
        Part { pot: Arc::clone(self), owner: Arc::clone(owner), amount }
    }

    /// Waits until `ready` gives something. It is asked now, and whenever something was given back.
    pub(crate) async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Listening before the look, so that nothing is missed in between.
            let mut freed = std::pin::pin!(self.freed_async.notified());
            freed.as_mut().enable();
            if let Some(ready) = ready(&mut self.state.lock()) {
                return ready;
            }
            freed.await;
        }
    }

    /// The same for threads. Looks once a second as well, so that `ready` may depend on other things, too.
    pub(crate) fn until_blocking<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        let mut state = self.state.lock();
        loop {
            if let Some(ready) = ready(&mut state) {
                return ready;
            }
            self.freed.wait_for(&mut state, Duration::from_secs(1));
        }
    }

    /// Wakes everybody who waits: something was given back.
    pub(crate) fn wake(&self) {
        self.freed.notify_all();
        self.freed_async.notify_waiters();
    }

    /// What nobody has.
    pub fn free(&self) -> u64 {
        self.total.saturating_sub(self.state.lock().used)
    }
}

impl Part {
    /// Gives back `amount` of it.
    pub fn give_back(&mut self, amount: u64) {
        let amount = amount.min(self.amount);
        if amount > 0 {
            self.amount -= amount;
            self.pot.state.lock().give_back(&self.owner, amount);
            self.pot.wake();
        }
    }

    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(name: &str) -> Arc<str> {
        name.into()
    }

    fn now<T>(wanted: impl Future<Output = T>) -> Option<T> {
        let mut wanted = std::pin::pin!(wanted);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match wanted.as_mut().poll(&mut context) {
            std::task::Poll::Ready(part) => Some(part),
            std::task::Poll::Pending => None,
        }
    }

    fn all(pot: &Arc<Pot>, owner: &Arc<str>) -> Vec<Part> {
        std::iter::from_fn(|| now(pot.take(owner, 1))).collect()
    }

    #[test]
    fn something_is_left_for_the_next() {
        let pot = Pot::new(32, 6);
        let kept: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| all(&pot, &owner(name))).into();
        assert_eq!(kept.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6, 6, 6, 4]);
        drop(kept);
        assert_eq!(pot.free(), 32);
        assert_eq!(all(&Pot::new(10, 100), &owner("a")).len(), 5, "half, if there is no other bound");
        assert_eq!(all(&Pot::new(1, 100), &owner("a")).len(), 1);
    }

    #[test]
    fn one_large_request_gets_what_is_free() {
        let pot = Pot::new(10, 100);
        assert_eq!(now(pot.take(&owner("a"), 8)).map(|part| part.amount()), Some(8));
        let _small = now(pot.take(&owner("b"), 1)).unwrap();
        assert!(now(pot.take(&owner("a"), 10)).is_none());
        assert_eq!(now(pot.take(&owner("a"), 9)).map(|part| part.amount()), Some(9));
        assert_eq!(now(Pot::new(10, 2).take(&owner("a"), 1000)).map(|part| part.amount()), Some(10));
    }

    #[tokio::test]
    async fn who_waits_longest_is_first_within_an_owner_only() {
        let pot = Pot::new(10, 100);
        let (a, b) = (owner("a"), owner("b"));
        let mut held = pot.take(&a, 6).await;
        let mut large = Box::pin(pot.take(&a, 10));
        assert!(now(large.as_mut()).is_none());
        assert!(now(pot.take(&a, 1)).is_none(), "behind the large one");
        assert!(now(pot.take(&b, 1)).is_some(), "another owner's queue");
        held.give_back(6);
        assert_eq!(now(large.as_mut()).map(|part| part.amount()), Some(10));
        // One who gave up does not hold up those behind it.
        let held = pot.take(&a, 6).await;
        let mut large = Box::pin(pot.take(&a, 10));
        assert!(now(large.as_mut()).is_none());
        drop(large);
        assert!(now(pot.take(&b, 2)).is_some());
        drop(held);
        assert!(now(pot.take(&a, 1)).is_some());
    }

    #[tokio::test]
    async fn those_who_wait_are_woken() {
        let pot = Pot::new(4, 4);
        let held = pot.take(&owner("a"), 4).await;
        let waiting = tokio::spawn({
            let pot = Arc::clone(&pot);
            async move { pot.take(&owner("b"), 3).await.amount() }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert_eq!(waiting.await.unwrap(), 3);
        assert_eq!(pot.free(), 4);
    }

    proptest! {
        #[test]
        fn never_more_than_there_is(steps in prop::collection::vec((0..4_u8, 1..20_u64, any::<bool>()), 1..60)) {
            let pot = Pot::new(50, 30);
            let mut held: Vec<Part> = Vec::new();
            for (who, amount, give) in steps {
                if give && !held.is_empty() {
                    drop(held.remove(0));
                } else if let Some(part) = now(pot.take(&owner(&who.to_string()), amount)) {
                    held.push(part);
                }
                let sum: u64 = held.iter().map(Part::amount).sum();
                prop_assert!(sum <= 50 && pot.free() == 50 - sum);
                for who in 0..4_u8 {
                    let own = held.iter().filter(|part| *part.owner == who.to_string());
                    prop_assert!(own.map(Part::amount).sum::<u64>() <= 30);
                }
            }
            drop(held);
            prop_assert!(pot.state.lock().owners.is_empty());
        }
    }
}

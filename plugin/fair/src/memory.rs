//! The node's memory budget: one for all layers, with a part guaranteed to each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::pot::{Pot, State, Ticket};

/// Bytes that all layers together may hold in memory.
///
/// A layer holds [`Share`]s. Of each it may always take what is guaranteed; so a layer that asks for no more than
/// that at a time, and gives back what it has without waiting for other layers, can always go on, and layers cannot
/// wait for one another in a circle. What is not guaranteed to anybody is divided by the rule of [`Pot`].
#[derive(Debug)]
pub struct Memory {
    pot: Arc<Pot>,
}

/// A layer's access to the [`Memory`], for one of the things it needs memory for.
#[derive(Debug)]
pub struct Share {
    pot: Arc<Pot>,
    owner: Arc<str>,
    guaranteed: u64,
    /// Bytes that are guaranteed to its layer, in this share and the others.
    layer: u64,
    /// Of what is guaranteed, what is taken. Changes under the pot's lock only.
    taken: AtomicU64,
    closed: AtomicBool,
}

/// Bytes of a [`Share`], given back when dropped.
#[derive(Debug)]
pub struct Permit {
    share: Arc<Share>,
    bytes: u64,
    /// Of what is guaranteed.
    guaranteed: bool,
    /// Others, given back with it.
    joined: Vec<Permit>,
}

/// Why a [`Share`] gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// More than a layer can ever have.
    #[error("it needs {wanted} bytes of memory at once, of at most {most} that a layer may have")]
    TooMuch {
        /// Bytes asked for.
        wanted: u64,
        /// Most bytes that can be had at once.
        most: u64,
    },
    /// The layer was given up.
    #[error("the layer was given up")]
    Closed,
}

impl Memory {
    /// A budget of `total` bytes. An eighth of it is kept for what is guaranteed to layers that are yet to come.
    pub fn new(total: u64) -> Self {
        let pot = Pot::new(total, u64::MAX);
        pot.state.lock().floor = total / 8;
        Self { pot }
    }

    /// Waits until so many bytes can be guaranteed to a layer of `owner`, a share for each number.
    pub async fn shares<const N: usize>(&self, owner: &Arc<str>, guaranteed: [u64; N]) -> [Arc<Share>; N] {
        let sum = guaranteed.iter().sum::<u64>().min(self.pot.total);
        let enough = |state: &mut State| {
            let free = self.pot.total.saturating_sub(state.used);
            (sum <= free).then(|| state.used += sum)
        };
        self.pot.until(enough).await;
        guaranteed.map(|guaranteed| {
            let (pot, owner) = (Arc::clone(&self.pot), Arc::clone(owner));
            let (taken, closed) = (AtomicU64::new(0), AtomicBool::new(false));
            Arc::new(Share { pot, owner, guaranteed, layer: sum, taken, closed })
        })
    }

    /// Bytes that are neither held by anybody nor guaranteed.
    pub fn free(&self) -> u64 {
        self.pot.free()
    }
}

impl Share {
    /// A share of `bytes` that nobody else has any of.
    pub fn alone(bytes: u64) -> Arc<Self> {
        let pot = Pot::new(bytes, u64::MAX);
        pot.state.lock().used = bytes;
        let (taken, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Self { pot, owner: "".into(), guaranteed: bytes, layer: bytes, taken, closed })
    }

    /// Bytes that can always be had, once those taken before are given back.
    pub fn guaranteed(&self) -> u64 {
        self.guaranteed
    }

    /// Most bytes that can be had at once: when no other layer is made.
    pub fn most(&self) -> u64 {
        let floor = self.pot.state.lock().floor;
        // What is guaranteed to its layer is in use already.
        self.pot.total.saturating_sub(floor).saturating_sub(self.layer).max(self.guaranteed)
    }

    /// `bytes`, if they can be had now.
    pub fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Permit> {
        self.look(&mut self.pot.state.lock(), bytes, None)
    }

    /// Waits for `bytes`. Dropping the call ends the wait.
    ///
    /// # Errors
    /// [`Denied`] when they can never be had, or once the share is [closed](Self::close).
    pub async fn take(self: &Arc<Self>, bytes: u64) -> Result<Permit, Denied> {
        self.possible(bytes)?;
        let mut queued = Queued { share: self, ticket: None };
        self.pot.until(|state| self.queue(state, bytes, &mut queued.ticket)).await
    }

    /// The same for threads.
    ///
    /// # Errors
    /// As [`Share::take`].
    pub fn take_blocking(self: &Arc<Self>, bytes: u64) -> Result<Permit, Denied> {
        self.possible(bytes)?;
        let mut queued = Queued { share: self, ticket: None };
        self.pot.until_blocking(|state| self.queue(state, bytes, &mut queued.ticket))
    }

    /// Ends every wait, now and from now on: the layer was given up.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.pot.wake();
    }

    fn possible(&self, bytes: u64) -> Result<(), Denied> {
        let most = self.most();
        if bytes > most { Err(Denied::TooMuch { wanted: bytes, most }) } else { Ok(()) }
    }

    fn queue(
        self: &Arc<Self>,
        state: &mut State,
        bytes: u64,
        ticket: &mut Option<Ticket>,
    ) -> Option<Result<Permit, Denied>> {
        if self.closed.load(Ordering::Acquire) {
            return Some(Err(Denied::Closed));
        }
        let permit = self.look(state, bytes, *ticket);
        if permit.is_none() && ticket.is_none() {
            *ticket = Some(state.queue(&self.owner));
        }
        permit.map(Ok)
    }

    fn look(self: &Arc<Self>, state: &mut State, bytes: u64, ticket: Option<Ticket>) -> Option<Permit> {
        let taken = self.taken.load(Ordering::Relaxed).saturating_add(bytes);
        let guaranteed = taken <= self.guaranteed;
        if guaranteed {
            self.taken.store(taken, Ordering::Relaxed);
        } else if !state.take(&self.pot, &self.owner, bytes, ticket) {
            return None;
        }
        Some(Permit { share: Arc::clone(self), bytes, guaranteed, joined: Vec::new() })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.pot.state.lock();
        state.used = state.used.saturating_sub(self.guaranteed);
        drop(state);
        self.pot.wake();
    }
}

/// A ticket that leaves its queue when its owner stops waiting.
struct Queued<'a> {
    share: &'a Share,
    ticket: Option<Ticket>,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.share.pot.state.lock().unqueue(&self.share.owner, ticket);
            self.share.pot.wake();
        }
    }
}

impl Permit {
    /// Bytes that it stands for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Keeps `other` for as long as this one.
    pub fn join(&mut self, other: Self) {
        self.joined.push(other);
    }

    /// Parts `bytes` from it, or as many as there are.
    #[must_use]
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { share: Arc::clone(&self.share), bytes, guaranteed: self.guaranteed, joined: Vec::new() }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let share = &self.share;
        let mut state = share.pot.state.lock();
        if self.guaranteed {
            share.taken.fetch_sub(self.bytes, Ordering::Relaxed);
        } else {
            state.give_back(&share.owner, self.bytes);
        }
        drop(state);
        share.pot.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: u64 = 1 << 20;

    async fn one(memory: &Memory, owner: &str) -> Arc<Share> {
        let [share] = memory.shares(&owner.into(), [4 * MIB]).await;
        share
    }

    #[tokio::test]
    async fn what_is_guaranteed_can_always_be_had() {
        let memory = Memory::new(64 * MIB);
        let (bad, good) = (one(&memory, "bad").await, one(&memory, "good").await);
        let held: Vec<_> = std::iter::from_fn(|| bad.try_take(MIB)).collect();
        let other: Vec<_> = std::iter::from_fn(|| good.try_take(MIB)).collect();
        let (bad_has, good_has) = (held.len(), other.len());
        assert!(bad_has > 20 && good_has > 10 && bad_has + good_has < 60, "{bad_has} and {good_has}");
        // Newcomers get theirs, whatever the others hold.
        let late = one(&memory, "late").await;
        assert!(late.try_take(4 * MIB).is_some());
        drop((held, other, bad, good, late));
        assert_eq!(memory.free(), 64 * MIB);
    }

    #[tokio::test]
    async fn what_can_never_be_had_is_denied_at_once() {
        let memory = Memory::new(64 * MIB);
        let share = one(&memory, "a").await;
        let most = share.most();
        assert_eq!(share.take(most + 1).await.unwrap_err(), Denied::TooMuch { wanted: most + 1, most });
        assert_eq!(share.take(most).await.map(|permit| permit.bytes()), Ok(most));
        assert_eq!(share.take_blocking(u64::MAX).map(drop), Err(Denied::TooMuch { wanted: u64::MAX, most }));
    }

    #[tokio::test]
    async fn the_most_can_be_had_also_where_nothing_of_it_is_guaranteed() {
        let memory = Memory::new(64 * MIB);
        let [large, _work, _fetch] = memory.shares(&"a".into(), [0, 3 * MIB, MIB]).await;
        let most = large.most();
        let taken = tokio::time::timeout(Duration::from_secs(5), large.take(most)).await;
        assert_eq!(taken.unwrap().unwrap().bytes(), most, "nobody waits for what can never come");
        assert_eq!(large.take(most + 1).await.map(drop), Err(Denied::TooMuch { wanted: most + 1, most }));
    }

    #[tokio::test]
    async fn a_layer_given_up_does_not_wait() {
        let memory = Memory::new(64 * MIB);
        let share = one(&memory, "a").await;
        let _held: Vec<_> = std::iter::from_fn(|| share.try_take(MIB)).collect();
        let waiting = tokio::task::spawn_blocking({
            let share = Arc::clone(&share);
            move || share.take_blocking(MIB).map(drop)
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        share.close();
        assert_eq!(waiting.await.unwrap(), Err(Denied::Closed));
        assert_eq!(share.take(8 * MIB).await.map(drop), Err(Denied::Closed));
    }

    #[tokio::test]
    async fn permits_are_split_and_given_back() {
        let memory = Memory::new(64 * MIB);
        let share = one(&memory, "a").await;
        for size in [2 * MIB, 20 * MIB] {
            let mut permit = share.take(size).await.unwrap();
            let part = permit.split(MIB);
            assert_eq!((permit.bytes(), part.bytes()), (size - MIB, MIB));
            drop(permit);
            assert_eq!(part.split_all().bytes(), MIB);
        }
        assert_eq!(memory.free(), 60 * MIB);
        assert!(share.try_take(4 * MIB).is_some(), "all of it is there again");
    }

    impl Permit {
        fn split_all(mut self) -> Self {
            self.split(u64::MAX)
        }
    }
}

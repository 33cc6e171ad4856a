//! Content that is not there yet: whoever makes it promises it, whoever wants it too waits for that.
//!
//! A promise is always resolved: kept, or broken when its owner is dropped without keeping it. So nobody waits
//! for work that was given up.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use chunked_linux::Dir;
use parking_lot::{Condvar, Mutex};

/// Where promised content is found.
#[derive(Debug, Clone)]
pub struct Made {
    /// Root of the tree that it is in, open: the tree may be renamed meanwhile.
    pub root: Arc<Dir>,
    /// Path of the file beneath it.
    pub path: Arc<[u8]>,
    /// Where the content begins in the file, in bytes.
    pub offset: u64,
    /// Keeps the tree on the disk.
    pub lease: Option<Arc<dyn Any + Send + Sync>>,
}

type Waiter = Box<dyn FnOnce(Option<Made>) + Send>;

enum State {
    Open(Vec<Waiter>),
    Kept(Made),
    Broken,
}

struct Shared {
    state: Mutex<State>,
    resolved: Condvar,
}

impl Shared {
    fn resolve(&self, made: Option<&Made>) {
        let mut state = self.state.lock();
        if let State::Open(waiters) = &mut *state {
            let waiters = std::mem::take(waiters);
            *state = made.cloned().map_or(State::Broken, State::Kept);
            drop(state);
            self.resolved.notify_all();
            waiters.into_iter().for_each(|waiter| waiter(made.cloned()));
        }
    }
}

/// The side that makes the content. Dropping it breaks the promise.
pub struct Promise(Arc<Shared>);

/// The side that waits for the content.
#[derive(Clone)]
pub struct Promised(Arc<Shared>);

/// A new promise.
pub fn promise() -> (Promise, Promised) {
    let shared = Arc::new(Shared { state: Mutex::new(State::Open(Vec::new())), resolved: Condvar::new() });
    (Promise(Arc::clone(&shared)), Promised(shared))
}

impl Promise {
    /// The content is complete and proven.
    pub fn keep(self, made: &Made) {
        self.0.resolve(Some(made));
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.resolve(None);
    }
}

impl Promised {
    /// Waits; `None` when the promise was broken.
    pub fn wait(&self) -> Option<Made> {
        let mut state = self.0.state.lock();
        loop {
            match &*state {
                State::Kept(made) => return Some(made.clone()),
                State::Broken => return None,
                State::Open(_) => self.0.resolved.wait(&mut state),
            }
        }
    }

    /// The outcome, if there is one yet: what was made, or `None` when the promise was broken.
    pub(crate) fn outcome(&self) -> Option<Option<Made>> {
        match &*self.0.state.lock() {
            State::Kept(made) => Some(Some(made.clone())),
            State::Broken => Some(None),
            State::Open(_) => None,
        }
    }

    /// Calls `work` with the outcome: now, if there is one, else on the thread that brings it, which must not
    /// be held up.
    pub fn then(&self, work: impl FnOnce(Option<Made>) + Send + 'static) {
        let mut state = self.0.state.lock();
        let made = match &mut *state {
            State::Open(waiters) => return waiters.push(Box::new(work)),
            State::Kept(made) => Some(made.clone()),
            State::Broken => None,
        };
        drop(state);
        work(made);
    }

    /// A promise that nobody made.
    pub fn broken() -> Self {
        promise().1
    }

    /// True when nothing will come of it.
    pub fn is_broken(&self) -> bool {
        matches!(*self.0.state.lock(), State::Broken)
    }

    /// Stops waiting: everyone who waits is told that the promise was broken. For owners that make no progress.
    pub fn give_up(&self) {
        self.0.resolve(None);
    }
}

impl fmt::Debug for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Promise")
    }
}

impl fmt::Debug for Promised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*self.0.state.lock() {
            State::Open(_) => "Promised(open)",
            State::Kept(_) => "Promised(kept)",
            State::Broken => "Promised(broken)",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn made() -> Made {
        Made {
            root: Arc::new(Dir::open("/".as_ref()).unwrap()),
            path: b"a"[..].into(),
            offset: 7,
            lease: None,
        }
    }

    #[test]
    fn kept_and_broken_reach_everyone() {
        for keep in [true, false] {
            let (promise, promised) = promise();
            let (sender, told) = mpsc::channel();
            for late in [false, true, true] {
                let (promised, sender) = (promised.clone(), sender.clone());
                let tell = move |made: Option<Made>| sender.send(made.map(|made| made.offset)).unwrap();
                if late {
                    std::thread::spawn(move || tell(promised.wait()));
                } else {
                    promised.then(tell);
                }
            }
            if keep {
                promise.keep(&made());
            } else {
                drop(promise);
            }
            let expected = keep.then_some(7);
            let all: Vec<_> = (0..3).map(|_| told.recv().unwrap()).collect();
            assert_eq!(all, [expected; 3]);
            promised.then(move |made| assert_eq!(made.map(|made| made.offset), expected));
        }
    }

    #[test]
    fn given_up_is_broken_for_good() {
        let (promise, promised) = promise();
        promised.give_up();
        promise.keep(&made());
        assert!(promised.wait().is_none());
    }
}

//! One pull, as those see it who wait for it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chunked_engine::Places;
use chunked_registry::{Image, Platform, Reference};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often it is asked whether anybody still waits.
const LOOK: Duration = Duration::from_millis(500);

/// How far a pull is.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Others are before it.
    Waiting,
    /// Manifest and config are read.
    Resolving,
    /// The layers of this image are made.
    Layers(Arc<Image>, Places),
    /// The report as JSON, or what went wrong.
    Ended(Result<Arc<str>, Arc<str>>),
}

/// A pull.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) number: u64,
    pub(crate) reference: Reference,
    pub(crate) platform: Platform,
    pub(crate) by: String,
    /// It has some of its own.
    pub(crate) credentials: bool,
    pub(crate) began: SystemTime,
    pub(crate) since: Instant,
    pub(crate) cancelled: CancellationToken,
    state: watch::Sender<State>,
    waiters: Mutex<Waiters>,
}

#[derive(Debug)]
struct Waiters {
    count: usize,
    /// When the last one left.
    alone_since: Instant,
}

impl Running {
    pub(super) fn new(
        number: u64,
        reference: Reference,
        platform: Platform,
        (by, credentials): (String, bool),
    ) -> Self {
        let since = Instant::now();
        Self {
            number,
            reference,
            platform,
            by,
            credentials,
            began: SystemTime::now(),
            since,
            cancelled: CancellationToken::new(),
            state: watch::Sender::new(State::Waiting),
            waiters: Mutex::new(Waiters { count: 0, alone_since: since }),
        }
    }

    /// A place among those who wait.
    pub(super) fn ticket(self: &Arc<Self>, joined: bool) -> Ticket {
        self.waiters.lock().count += 1;
        Ticket { pull: Arc::clone(self), state: self.state.subscribe(), joined }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiters.lock().count
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(super) fn enter(&self, state: State) {
        self.state.send_replace(state);
    }

    /// Ends when it was cancelled, or when nobody waited for it for `alone`; says which.
    pub(super) async fn unwanted(&self, alone: Duration) -> String {
        let left = async {
            loop {
                tokio::time::sleep(LOOK).await;
                let waiters = self.waiters.lock();
                if waiters.count == 0 && waiters.alone_since.elapsed() >= alone {
                    break;
                }
            }
        };
        tokio::select! {
            () = left => "nobody waited for it any more".to_owned(),
            () = self.cancelled.cancelled() => "the pull was cancelled; what is complete stays in the store".to_owned(),
        }
    }
}

/// A place among those who wait for a pull, until it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) pull: Arc<Running>,
    /// Where the pull is.
    pub(crate) state: watch::Receiver<State>,
    /// Somebody else began it.
    pub(crate) joined: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut waiters = self.pull.waiters.lock();
        waiters.count -= 1;
        waiters.alone_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pull() -> Arc<Running> {
        let reference = "r.example/app".parse().unwrap();
        Arc::new(Running::new(1, reference, Platform::default(), (String::new(), false)))
    }

    #[tokio::test]
    async fn a_pull_is_wanted_as_long_as_somebody_waits() {
        let pull = pull();
        let (first, second) = (pull.ticket(false), pull.ticket(true));
        drop(first);
        let soon = Duration::from_millis(1200);
        assert!(tokio::time::timeout(soon, pull.unwanted(Duration::ZERO)).await.is_err());
        drop(second);
        assert!(tokio::time::timeout(soon, pull.unwanted(Duration::from_secs(60))).await.is_err());
        let reason = tokio::time::timeout(soon, pull.unwanted(Duration::ZERO)).await.unwrap();
        assert!(reason.contains("nobody waited"), "{reason}");
    }

    #[tokio::test]
    async fn cancelling_ends_it_at_once_whoever_waits() {
        let pull = pull();
        let _ticket = pull.ticket(false);
        pull.cancelled.cancel();
        let reason = tokio::time::timeout(LOOK, pull.unwanted(Duration::MAX)).await.unwrap();
        assert!(reason.contains("cancelled"), "{reason}");
    }
}

//! What wakes the indexing thread, ends it, and makes it rest.

use std::io;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Work between two pauses, and the pause for each unit of it.
const STRETCH: Duration = Duration::from_millis(20);
const PAUSE: u32 = 3;
/// The thread looks for work this often without being told to.
const LOOK: Duration = Duration::from_secs(300);

/// What wakes the thread, and what ends it.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    work: bool,
    stop: bool,
}

impl Signal {
    pub(crate) fn work(&self) {
        self.state.lock().work = true;
        self.changed.notify_one();
    }

    pub(super) fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    fn stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// Sleeps for that long, or until stopped.
    pub(super) fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut state = self.state.lock();
        while !state.stop && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    /// Waits for work. False when stopped.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        while !state.work && !state.stop {
            if self.changed.wait_for(&mut state, LOOK).timed_out() {
                break;
            }
        }
        state.work = false;
        !state.stop
    }
}

/// Rests between stretches of work; without a signal never.
pub(crate) struct Pace<'a> {
    signal: Option<&'a Signal>,
    since: Instant,
}

impl<'a> Pace<'a> {
    pub(super) fn of(signal: &'a Signal) -> Self {
        Self { signal: Some(signal), since: Instant::now() }
    }

    /// Never rests.
    pub(crate) fn full() -> Self {
        Self { signal: None, since: Instant::now() }
    }

    /// Rests if it is time to; an error when the thread is to end.
    pub(super) fn rest(&mut self) -> io::Result<()> {
        let Some(signal) = self.signal else { return Ok(()) };
        let worked = self.since.elapsed();
        if worked >= STRETCH {
            signal.sleep(worked * PAUSE);
            self.since = Instant::now();
        }
        if signal.stopped() { Err(io::Error::new(io::ErrorKind::Interrupted, "stopped")) } else { Ok(()) }
    }

    pub(super) fn stopped(&self) -> bool {
        self.signal.is_some_and(Signal::stopped)
    }
}

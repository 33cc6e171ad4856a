//! How far the work on a layer is: what runs, what waits, what failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::error::AssembleError;

/// State that a layer's workers share.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    error: Mutex<Option<AssembleError>>,
    failed: AtomicBool,
    work: Mutex<Work>,
    idle: Condvar,
}

/// Units of work of one layer that are not done.
#[derive(Debug, Default)]
struct Work {
    running: usize,
    held: usize,
}

/// A unit of work that a worker has, or is about to get. It ends when this is dropped, by whatever way.
#[derive(Debug)]
pub(crate) struct Running(Arc<Progress>);

/// A unit of work that waits: for content that others make, or for the network.
#[derive(Debug)]
pub(crate) struct Held {
    progress: Arc<Progress>,
    resumed: bool,
}

impl Progress {
    /// Work is given to a worker.
    pub(crate) fn begin(self: &Arc<Self>) -> Running {
        self.work.lock().running += 1;
        Running(Arc::clone(self))
    }

    /// Keeps the first error. What still waits is not waited for any more.
    pub(crate) fn fail(&self, error: AssembleError) {
        self.error.lock().get_or_insert(error);
        self.failed.store(true, Ordering::Release);
        drop(self.work.lock());
        self.idle.notify_all();
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn take_error(&self) -> Option<AssembleError> {
        self.error.lock().take()
    }

    /// Waits until no work is running, and none is waiting for anything unless the layer failed.
    pub(crate) fn wait(&self) {
        let mut work = self.work.lock();
        while work.running > 0 || (work.held > 0 && !self.has_failed()) {
            self.idle.wait(&mut work);
        }
    }

    /// Waits until no work is running.
    pub(crate) fn settle(&self) {
        let mut work = self.work.lock();
        while work.running > 0 {
            self.idle.wait(&mut work);
        }
    }
}

impl Running {
    /// The work has to wait.
    pub(crate) fn hold(self) -> Held {
        self.0.work.lock().held += 1;
        Held { progress: Arc::clone(&self.0), resumed: false }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut work = self.0.work.lock();
        work.running -= 1;
        if work.running == 0 {
            self.0.idle.notify_all();
        }
    }
}

impl Held {
    /// The work goes on.
    pub(crate) fn resume(mut self) -> Running {
        self.resumed = true;
        self.progress.begin()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.resumed {
            self.progress.fail(AssembleError::Cancelled);
        }
        let mut work = self.progress.work.lock();
        work.held -= 1;
        if work.held == 0 {
            self.progress.idle.notify_all();
        }
    }
}

/// Gives the layer up when it is dropped, unless it is complete by then: for whoever waits for the thread that
/// unpacks it.
#[derive(Debug)]
pub struct CancelOnDrop(Arc<Progress>);

impl CancelOnDrop {
    pub(crate) fn new(progress: &Arc<Progress>) -> Self {
        Self(Arc::clone(progress))
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.fail(AssembleError::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_waited_for_until_the_layer_fails() {
        let progress = Arc::<Progress>::default();
        let held = progress.begin().hold();
        progress.settle();
        let waiter = std::thread::spawn({
            let progress = Arc::clone(&progress);
            move || progress.wait()
        });
        let running = held.resume();
        assert!(!progress.has_failed());
        drop(running);
        waiter.join().unwrap();
        let held = progress.begin().hold();
        let cancel = CancelOnDrop::new(&progress);
        drop(cancel);
        progress.wait();
        assert!(progress.has_failed());
        drop(held);
    }

    #[test]
    fn work_that_is_lost_fails_its_layer() {
        let progress = Arc::<Progress>::default();
        drop(progress.begin().hold());
        progress.wait();
        assert!(matches!(progress.take_error(), Some(AssembleError::Cancelled)));
    }
}

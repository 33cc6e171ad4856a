//! Threads of one layer for work that waits for the network, so that no worker, which all layers share, has to.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

/// Threads that one layer has at most. They end as soon as there is nothing to do.
const THREADS: usize = 4;

type Work = Box<dyn FnOnce() + Send>;

/// See the module.
#[derive(Default)]
pub(crate) struct Lane(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    threads: usize,
}

impl Lane {
    /// Has `work`, which does not panic, done soon.
    ///
    /// # Errors
    /// When the system has no thread left; `work` is dropped then.
    pub(crate) fn run(self: &Arc<Self>, work: Work) -> std::io::Result<()> {
        let mut state = self.0.lock();
        state.waiting.push_back(work);
        if state.threads == THREADS {
            return Ok(());
        }
        let lane = Arc::clone(self);
        let started = std::thread::Builder::new().name("refetch".into()).spawn(move || lane.work());
        match started {
            Ok(_) => state.threads += 1,
            // Those that run will come to it.
            Err(_) if state.threads > 0 => {}
            Err(error) => {
                let work = state.waiting.pop_back();
                drop(state);
                drop(work);
                return Err(error);
            }
        }
        Ok(())
    }

    fn work(&self) {
        loop {
            let mut state = self.0.lock();
            let Some(work) = state.waiting.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            work();
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.0.lock();
        f.debug_struct("Lane")
            .field("waiting", &state.waiting.len())
            .field("threads", &state.threads)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn few_threads_do_much_and_end() {
        let lane = Arc::<Lane>::default();
        let (done, told) = mpsc::channel();
        for n in 0..100 {
            let done = done.clone();
            lane.run(Box::new(move || done.send(n).unwrap())).unwrap();
        }
        assert!(lane.0.lock().threads <= THREADS);
        let mut all: Vec<i32> = told.iter().take(100).collect();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        while lane.0.lock().threads > 0 {
            std::thread::yield_now();
        }
    }
}

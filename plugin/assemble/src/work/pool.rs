//! The threads that work for all layers.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chunked_fair::Turns;

type Work = Box<dyn FnOnce() + Send>;

/// The threads that decode, hash and write files, shared by all layers. Owners, which are registries, take turns; one of
/// them alone never keeps all threads busy, however long its work takes.
pub struct Pool {
    threads: rayon::ThreadPool,
    waiting: Arc<Turns<Work>>,
}

impl Pool {
    /// A pool that works with `threads` threads, at least 1, for one owner, and has a quarter more for the others.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn new(threads: usize) -> Result<Arc<Self>, rayon::ThreadPoolBuildError> {
        let most = threads.max(1);
        let threads = rayon::ThreadPoolBuilder::new().num_threads(most + most.div_ceil(4));
        let threads = threads.thread_name(|n| format!("worker-{n}")).build()?;
        Ok(Arc::new(Self { threads, waiting: Arc::new(Turns::new(most)) }))
    }

    /// Has `work` of `owner` done when it is its turn.
    pub(crate) fn run(&self, owner: &Arc<str>, work: impl FnOnce() + Send + 'static) {
        self.waiting.push(owner, Box::new(work));
        // For each work a thread comes and looks whose turn it is. What it must not take yet is taken by those who are at
        // that owner's work, when they are done.
        let waiting = Arc::clone(&self.waiting);
        self.threads.spawn_fifo(move || {
            while let Some((work, turn)) = waiting.take() {
                // Every job's panic is caught and becomes its layer's error. One that slipped through must neither end
                // the process nor leave undone what waits.
                let _ = catch_unwind(AssertUnwindSafe(work));
                drop(turn);
            }
        });
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    const SOON: Duration = Duration::from_secs(60);

    fn owner(name: &str) -> Arc<str> {
        name.into()
    }

    #[test]
    fn everything_is_done_by_few_threads() {
        for threads in [0, 1, 3] {
            let (pool, (done, told)) = (Pool::new(threads).unwrap(), channel());
            for n in 0..1000_u32 {
                let done = done.clone();
                pool.run(&owner(&format!("{}", n % 7)), move || {
                    done.send(n).unwrap();
                    assert!(!n.is_multiple_of(50), "a fault");
                });
            }
            let mut all: Vec<_> = (0..1000).map(|_| told.recv_timeout(SOON).unwrap()).collect();
            all.sort_unstable();
            assert_eq!(all, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn long_work_of_one_owner_leaves_a_thread_for_others() {
        for threads in [1, 2, 4] {
            let pool = Pool::new(threads).unwrap();
            let (go, wait) = channel::<()>();
            let wait = Arc::new(parking_lot::Mutex::new(wait));
            let (began, told) = channel();
            for _ in 0..4 * threads {
                let (wait, began) = (Arc::clone(&wait), began.clone());
                pool.run(&owner("slow"), move || {
                    began.send(()).unwrap();
                    let _ = wait.lock().recv();
                });
            }
            (0..threads).for_each(|_| told.recv_timeout(SOON).unwrap());
            let (done, other) = channel();
            pool.run(&owner("other"), move || done.send(()).unwrap());
            other.recv_timeout(SOON).unwrap();
            assert!(told.try_recv().is_err(), "no more than {threads} for the slow one");
            drop(go);
            (0..3 * threads).for_each(|_| told.recv_timeout(SOON).unwrap());
        }
    }
}

//! The threads that work for all layers.

use std::sync::Arc;

/// The threads that decode, hash and write files, shared by all layers.
#[derive(Debug)]
pub struct Pool(rayon::ThreadPool);

impl Pool {
    /// A pool of `threads` workers.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn new(threads: usize) -> Result<Arc<Self>, rayon::ThreadPoolBuildError> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(threads.max(1));
        // Every job's panic is caught and becomes its layer's error. Without a handler one that slipped through
        // would end the process.
        let threads = threads.thread_name(|n| format!("worker-{n}")).panic_handler(drop);
        Ok(Arc::new(Self(threads.build()?)))
    }

    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.0.spawn_fifo(work);
    }
}

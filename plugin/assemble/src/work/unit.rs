//! Batches of work: small files together, so that a hand-over costs little against the work.

use std::sync::Arc;

use bytes::Bytes;
use chunked_verify::{Done, Part, Slot};

use crate::work::budget::Permit;
use crate::work::job::Job;
use crate::work::progress::Progress;

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
        Ok(Arc::new(Self(threads.thread_name(|n| format!("worker-{n}")).build()?)))
    }

    pub(crate) fn run(&self, work: impl FnOnce() + Send + 'static) {
        self.0.spawn_fifo(work);
    }
}

/// One step of a unit, in tar order.
#[derive(Debug)]
pub(crate) enum Step {
    /// Tar bytes that are only hashed.
    Raw(Bytes),
    Make(Box<Job>),
}

#[derive(Debug, Default)]
pub(crate) struct Unit {
    pub(crate) steps: Vec<Step>,
    /// Rough size of the work, in bytes.
    pub(crate) weight: u64,
    /// Memory that the results hold until they are hashed.
    pub(crate) permits: Vec<Permit>,
}

impl Unit {
    /// Runs the steps; fills `slot` with the bytes in tar order. On an error the slot is dropped, which stops
    /// the hasher.
    pub(crate) fn run(mut self, slot: Option<Slot>, progress: &Progress) {
        if let Some(known) = &progress.known {
            crate::source::twin::mark(&mut self.steps, &**known);
        }
        let mut parts = Vec::with_capacity(self.steps.len() * 2);
        for step in self.steps {
            if progress.has_failed() {
                return;
            }
            match step {
                Step::Raw(bytes) => parts.push(Part::Bytes(bytes)),
                Step::Make(job) => {
                    if let Err(error) = job.run(&mut parts, progress) {
                        progress.fail(error);
                        return;
                    }
                }
            }
        }
        if let Some(slot) = slot {
            slot.fill(Done { parts, keep: Box::new(self.permits) });
        }
    }
}

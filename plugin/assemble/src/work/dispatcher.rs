//! From the extractor's thread to the workers: units are filled, given a place in the hashing order, and sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use chunked_verify::{DiffIdHasher, Slot};

use crate::error::AssembleError;
use crate::source::long::Pending;
use crate::source::promise::{Made, Promised};
use crate::work::budget::{Budget, Permit};
use crate::work::job::Job;
use crate::work::progress::Progress;
use crate::work::unit::{Pool, Step, Unit};

/// Steps and bytes of one unit of work.
const UNIT_STEPS: usize = 96;
const UNIT_BYTES: u64 = 512 * 1024;
/// Results that may wait to be hashed.
const HASH_QUEUE: usize = 64;
/// Streamed files whose digests may be pending at once: each has a thread.
const PENDING_DIGESTS: usize = 4;

#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(crate) pool: Arc<Pool>,
    pub(crate) progress: Arc<Progress>,
    budget: Arc<Budget>,
    hasher: DiffIdHasher,
    unit: Unit,
    /// Place in the hashing order of the unit being filled; only where units give the tar bytes.
    slot: Option<Slot>,
    /// Digests of streamed files.
    digests: Vec<Pending>,
}

impl Dispatcher {
    pub(crate) fn new(
        pool: Arc<Pool>,
        budget: Arc<Budget>,
        progress: Progress,
    ) -> Result<Self, AssembleError> {
        Ok(Self {
            pool,
            progress: Arc::new(progress),
            digests: Vec::new(),
            budget,
            hasher: DiffIdHasher::start(HASH_QUEUE)?,
            unit: Unit::default(),
            slot: None,
        })
    }

    /// Hashes tar bytes of a plain layer.
    pub(crate) fn hash(&self, bytes: Bytes) {
        self.hasher.bytes(bytes);
    }

    /// Adds tar bytes to the unit being filled, to be hashed in its place.
    pub(crate) fn raw(&mut self, bytes: Bytes) {
        self.reserve();
        self.unit.weight += bytes.len() as u64;
        self.unit.steps.push(Step::Raw(bytes));
    }

    fn reserve(&mut self) {
        if self.slot.is_none() {
            self.slot = Some(self.hasher.slot());
        }
    }

    /// Adds `job`, work on `weight` bytes.
    pub(crate) fn push(&mut self, job: Job, weight: u64) -> Result<(), AssembleError> {
        self.progress.inodes.fetch_add(1, Ordering::Relaxed);
        self.unit.steps.push(Step::Make(Box::new(job)));
        self.unit.weight += weight;
        if self.unit.steps.len() >= UNIT_STEPS || self.unit.weight >= UNIT_BYTES {
            return self.flush();
        }
        Ok(())
    }

    /// Waits for room for `bytes` decoded bytes, charged to the unit being filled.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), AssembleError> {
        // What is held back may itself hold the budget: hand it on before waiting.
        if self.budget.is_tight() {
            self.flush()?;
        }
        self.reserve();
        self.unit.permits.push(self.budget.acquire(bytes));
        Ok(())
    }

    /// A share of the budget that is not tied to a unit.
    pub(crate) fn permit(&self, bytes: u64) -> Permit {
        self.budget.acquire(bytes)
    }

    pub(crate) fn budget_is_tight(&self) -> bool {
        self.budget.is_tight()
    }

    /// The next place in the hashing order, for work outside the unit being filled (flush that first).
    pub(crate) fn slot(&self) -> Slot {
        self.hasher.slot()
    }

    /// Gives the unit being filled to the workers.
    pub(crate) fn flush(&mut self) -> Result<(), AssembleError> {
        if !self.unit.steps.is_empty() || self.slot.is_some() {
            let unit = std::mem::take(&mut self.unit);
            let slot = self.slot.take();
            self.run(move |progress| unit.run(slot, progress));
        }
        self.check()
    }

    /// Runs `work` on a worker.
    pub(crate) fn run(&self, work: impl FnOnce(&Progress) + Send + 'static) {
        let progress = Arc::clone(&self.progress);
        progress.begin();
        self.pool.run(move || {
            work(&progress);
            progress.end();
        });
    }

    /// Waits until the workers have done what does not wait for promised content, and gives the rest up.
    pub(crate) fn settle(&mut self) -> Result<(), AssembleError> {
        self.flush()?;
        self.progress.settle();
        self.progress.fail(AssembleError::Cancelled);
        Ok(())
    }

    /// Runs `work` on a worker once the promise is resolved. No thread waits for that.
    pub(crate) fn later(
        &self,
        promised: &Promised,
        work: impl FnOnce(&Progress, Option<Made>) + Send + 'static,
    ) {
        let (progress, pool) = (Arc::clone(&self.progress), Arc::clone(&self.pool));
        progress.hold();
        promised.then(move |made| {
            progress.release();
            pool.run(move || {
                if !progress.has_failed() {
                    work(&progress, made);
                }
                progress.end();
            });
        });
    }

    /// Takes the digest of a streamed file, to be asked for later. Each has a thread, so there may be few.
    pub(crate) fn pend(&mut self, digest: Pending) -> Result<(), AssembleError> {
        self.digests.push(digest);
        if self.digests.len() >= PENDING_DIGESTS {
            self.digests.remove(0).finish(&self.progress)?;
        }
        Ok(())
    }

    /// Waits until everything handed on is done.
    pub(crate) fn barrier(&mut self) -> Result<(), AssembleError> {
        self.flush()?;
        for digest in std::mem::take(&mut self.digests) {
            digest.finish(&self.progress)?;
        }
        self.progress.wait();
        self.check()
    }

    fn check(&self) -> Result<(), AssembleError> {
        if !self.progress.has_failed() {
            return Ok(());
        }
        self.progress.wait();
        Err(self.progress.take_error().unwrap_or(AssembleError::Cancelled))
    }

    /// Ends the DiffID: its value and the length of the tar.
    pub(crate) fn finish(self) -> Result<(chunked_core::Digest, u64, Arc<Progress>), AssembleError> {
        let (digest, bytes) = self.hasher.finish()?;
        Ok((digest, bytes, self.progress))
    }
}

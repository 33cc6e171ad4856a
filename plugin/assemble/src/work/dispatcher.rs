//! From the extractor's thread to the workers: units are filled, given a place in the hashing order, and sent.

use std::sync::Arc;

use bytes::Bytes;
use chunked_core::Digest;
use chunked_verify::{DiffIdHasher, Slot};

use crate::error::AssembleError;
use crate::work::budget::{Budget, CREDIT, Permit};
use crate::work::crew::{Crew, Prepare, Step, Unit};
use crate::work::job::Job;
use crate::work::lane::Lane;
use crate::work::pool::Pool;
use crate::work::progress::Progress;

/// Steps and bytes of one unit of work.
const UNIT_STEPS: usize = 96;
const UNIT_BYTES: u64 = 512 * 1024;
/// Results that may wait to be hashed.
const HASH_QUEUE: usize = 64;

/// See the module.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    crew: Arc<Crew>,
    budget: Arc<Budget>,
    hasher: DiffIdHasher,
    /// The unit being filled. It has a place in the hashing order only where units give the tar bytes.
    unit: Unit,
    /// Memory for the next job that gives tar bytes. It is not the unit's yet: that may be handed on before the job comes.
    charged: Option<Permit>,
}

impl Dispatcher {
    /// Its work is done by `pool`, in the turns of `owner`. `prepare` sees all jobs before they are run.
    pub(crate) fn new(
        (pool, owner): (Arc<Pool>, Arc<str>),
        budget: Arc<Budget>,
        prepare: Option<Box<dyn Prepare>>,
    ) -> Result<Self, AssembleError> {
        let (progress, lane) = (Arc::<Progress>::default(), Arc::<Lane>::default());
        let hashed = Arc::clone(&progress);
        let hasher = DiffIdHasher::start(HASH_QUEUE, move || !hashed.has_failed())?;
        let crew = Arc::new(Crew { pool, owner, progress, lane, prepare });
        Ok(Self { crew, budget, hasher, unit: Unit::default(), charged: None })
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.crew.progress
    }

    /// Hashes tar bytes of a plain layer.
    pub(crate) fn hash(&self, bytes: Bytes) {
        self.hasher.bytes(bytes);
    }

    /// Adds tar bytes to the unit being filled, to be hashed in its place.
    pub(crate) fn raw(&mut self, bytes: Bytes) -> Result<(), AssembleError> {
        self.small(bytes.len() as u64)?;
        self.reserve();
        self.unit.weight += bytes.len() as u64;
        self.unit.steps.push_back(Step::Raw(bytes));
        Ok(())
    }

    fn reserve(&mut self) {
        if self.unit.slot.is_none() {
            self.unit.slot = Some(self.hasher.slot());
        }
    }

    /// Adds `job`, work on `weight` bytes, which adds nothing to the tar.
    pub(crate) fn push(&mut self, job: Box<dyn Job>, weight: u64) -> Result<(), AssembleError> {
        self.small(job.held())?;
        self.add(job, weight)
    }

    /// Adds `job`, which gives the next `weight` bytes of the tar; what was [charged](Self::charge) is for it.
    pub(crate) fn push_payload(&mut self, job: Box<dyn Job>, weight: u64) -> Result<(), AssembleError> {
        // This may hand the unit on. The place is the job's, so that it is reserved afterwards, in the unit that the job is in.
        self.small(job.held())?;
        self.reserve();
        self.unit.permits.extend(self.charged.take());
        self.add(job, weight)
    }

    fn add(&mut self, job: Box<dyn Job>, weight: u64) -> Result<(), AssembleError> {
        self.unit.steps.push_back(Step::Job(job));
        self.unit.weight += weight;
        if self.unit.steps.len() >= UNIT_STEPS || self.unit.weight >= UNIT_BYTES {
            return self.flush();
        }
        self.check()
    }

    /// Waits for room for `bytes`, which the next [payload](Self::push_payload) holds. What was charged for one that never
    /// came is given back first: the layer would wait for itself.
    pub(crate) fn charge(&mut self, bytes: u64) -> Result<(), AssembleError> {
        self.charged = None;
        self.charged = Some(self.permit(bytes)?);
        Ok(())
    }

    /// The same for the many small things of a unit.
    fn small(&mut self, bytes: u64) -> Result<(), AssembleError> {
        if self.unit.credit < bytes {
            let permit = self.permit(bytes.max(CREDIT))?;
            self.unit.credit += permit.bytes();
            self.unit.permits.push(permit);
        }
        self.unit.credit -= bytes;
        Ok(())
    }

    /// Waits for room for `bytes`, whoever is to hold them.
    pub(crate) fn permit(&mut self, bytes: u64) -> Result<Permit, AssembleError> {
        if let Some(permit) = self.budget.now(bytes) {
            return Ok(permit);
        }
        // What is held back may itself hold the budget: hand it on before waiting.
        self.flush()?;
        self.budget.acquire(bytes)
    }

    /// The layer's memory.
    pub(crate) fn budget(&self) -> &Arc<Budget> {
        &self.budget
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
        if !self.unit.steps.is_empty() || self.unit.slot.is_some() {
            self.crew.start(std::mem::take(&mut self.unit));
        }
        self.check()
    }

    /// Gives `job`, whose bytes come next in the tar, to the workers, alone: `permits` are held until they are hashed.
    pub(crate) fn start(&mut self, job: Box<dyn Job>, permits: Vec<Permit>) -> Result<(), AssembleError> {
        // What is held back comes before it in the tar.
        self.flush()?;
        let slot = self.hasher.slot();
        self.crew.start(Unit::of(job, Some(slot), permits));
        Ok(())
    }

    /// Gives `work` for the entry at `path`, which adds nothing to the tar, to the workers.
    pub(crate) fn run(
        &self,
        path: Vec<u8>,
        work: impl FnOnce() -> Result<(), AssembleError> + Send + 'static,
    ) {
        self.crew.run(path, work);
    }

    /// Waits until the workers have done what does not wait for anything, and gives the rest up.
    pub(crate) fn settle(&mut self) -> Result<(), AssembleError> {
        self.flush()?;
        self.crew.progress.settle();
        self.crew.progress.fail(AssembleError::Cancelled);
        Ok(())
    }

    /// Waits until everything handed on is done.
    pub(crate) fn barrier(&mut self) -> Result<(), AssembleError> {
        self.flush()?;
        self.crew.progress.wait();
        self.check()
    }

    /// The layer's error, once no worker is at it any more.
    pub(crate) fn check(&self) -> Result<(), AssembleError> {
        if !self.crew.progress.has_failed() {
            return Ok(());
        }
        self.crew.progress.wait();
        Err(self.crew.progress.take_error().unwrap_or(AssembleError::Cancelled))
    }

    /// Ends the DiffID: its value and the length of the tar.
    pub(crate) fn finish(self) -> Result<(Digest, u64), AssembleError> {
        Ok(self.hasher.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use chunked_verify::Part;

    use super::*;
    use crate::work::job::Ran;

    /// Gives bytes of the tar, and holds so many besides.
    #[derive(Debug)]
    struct Gives(&'static [u8], u64);

    impl Job for Gives {
        fn path(&self) -> &[u8] {
            b"file"
        }

        fn held(&self) -> u64 {
            self.1
        }

        fn run(self: Box<Self>, parts: &mut Vec<Part>) -> Result<Ran, AssembleError> {
            parts.push(Part::Bytes(Bytes::from_static(self.0)));
            Ok(Ran::Done)
        }
    }

    fn dispatcher(limit: u64) -> Dispatcher {
        let pool = Pool::new(2).unwrap();
        Dispatcher::new((pool, "registry".into()), Budget::new(limit), None).unwrap()
    }

    #[test]
    fn a_payload_is_hashed_also_if_its_unit_was_handed_on_for_want_of_memory() {
        // The header takes a credit. What is charged leaves less than another one, so that the next job of any size has the
        // unit with the header handed on; and a job of this weight is handed on at once, before the next header.
        for weight in [1, UNIT_BYTES] {
            for (name, charged, held) in [("room", 1, 1), ("none", 2 * CREDIT, CREDIT)] {
                let mut dispatcher = dispatcher(4 * CREDIT - 1);
                dispatcher.raw(Bytes::from_static(b"header ")).unwrap();
                dispatcher.charge(charged).unwrap();
                dispatcher.push_payload(Box::new(Gives(b"payload", held)), weight).unwrap();
                dispatcher.barrier().unwrap();
                assert!(dispatcher.charged.is_none());
                let (digest, len) = dispatcher.finish().unwrap();
                assert_eq!((digest, len), (Digest::of(b"header payload"), 14), "{name}, {weight}");
            }
        }
    }

    #[test]
    fn what_was_charged_for_a_payload_that_never_came_is_given_back() {
        let mut dispatcher = dispatcher(4 * CREDIT);
        let (done, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // Twice as much as there is.
            let charged = dispatcher.charge(4 * CREDIT).and_then(|()| dispatcher.charge(4 * CREDIT));
            let _ = done.send(charged.is_ok() && dispatcher.budget().now(1).is_none());
        });
        assert!(told.recv_timeout(std::time::Duration::from_secs(20)).unwrap(), "it waits for itself");
    }

    #[test]
    fn what_is_charged_is_held_until_its_payload_is_hashed() {
        let mut dispatcher = dispatcher(4 * CREDIT - 1);
        let budget = Arc::clone(dispatcher.budget());
        dispatcher.raw(Bytes::from_static(b"header ")).unwrap();
        dispatcher.charge(2 * CREDIT).unwrap();
        dispatcher.flush().unwrap();
        dispatcher.crew.progress.wait();
        assert!(budget.now(2 * CREDIT).is_none(), "the payload's bytes are in memory");
        dispatcher.push_payload(Box::new(Gives(b"payload", 1)), 7).unwrap();
        dispatcher.barrier().unwrap();
        let (digest, _) = dispatcher.finish().unwrap();
        assert_eq!(digest, Digest::of(b"header payload"));
        assert!(budget.now(4 * CREDIT - 1).is_some(), "all is given back");
    }
}

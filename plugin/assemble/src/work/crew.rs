//! Batches of work, and who does them: small files together, so that a hand-over costs little against the work.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use chunked_verify::{Done, Part, Slot};

use crate::error::AssembleError;
use crate::work::budget::Permit;
use crate::work::job::{Job, Later, Ran, caught};
use crate::work::lane::Lane;
use crate::work::pool::Pool;
use crate::work::progress::{Progress, Running};

/// One step of a unit, in tar order.
#[derive(Debug)]
pub(crate) enum Step {
    /// Tar bytes that are only hashed.
    Raw(Bytes),
    Job(Box<dyn Job>),
}

/// Steps that are done one after the other.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    pub(crate) steps: VecDeque<Step>,
    /// Bytes of the steps that are done.
    pub(crate) parts: Vec<Part>,
    /// Rough size of the work, in bytes.
    pub(crate) weight: u64,
    /// The unit's place in the hashing order, where it has one. Dropped unfilled it stops the hasher.
    pub(crate) slot: Option<Slot>,
    /// Memory that the results hold until they are hashed.
    pub(crate) permits: Vec<Permit>,
    /// Of that, bytes that nothing was charged to yet.
    pub(crate) credit: u64,
}

impl Unit {
    /// A unit of one job that has the place `slot` in the hashing order.
    pub(crate) fn of(job: Box<dyn Job>, slot: Option<Slot>, permits: Vec<Permit>) -> Self {
        Self { steps: VecDeque::from([Step::Job(job)]), slot, permits, ..Self::default() }
    }
}

/// Looks at all jobs of a unit before they are run: for questions that are cheaper asked together.
pub(crate) trait Prepare: fmt::Debug + Send + Sync {
    fn prepare(&self, jobs: &mut dyn Iterator<Item = &mut dyn Job>);
}

/// Whoever works for one layer.
#[derive(Debug)]
pub(crate) struct Crew {
    pub(crate) pool: Arc<Pool>,
    /// Whose turn at the pool the layer's work is.
    pub(crate) owner: Arc<str>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) lane: Arc<Lane>,
    pub(crate) prepare: Option<Box<dyn Prepare>>,
}

impl Crew {
    /// Gives `unit` to the workers.
    pub(crate) fn start(self: &Arc<Self>, unit: Unit) {
        let (crew, running) = (Arc::clone(self), self.progress.begin());
        self.pool.run(&self.owner, move || crew.begin(unit, running));
    }

    /// Gives `work`, which is no part of the tar, to the workers.
    pub(crate) fn run(
        self: &Arc<Self>,
        path: Vec<u8>,
        work: impl FnOnce() -> Result<(), AssembleError> + Send + 'static,
    ) {
        let (crew, running) = (Arc::clone(self), self.progress.begin());
        self.pool.run(&self.owner, move || {
            if !crew.progress.has_failed()
                && let Err(error) = caught(&path, work)
            {
                crew.progress.fail(error);
            }
            drop(running);
        });
    }

    fn begin(self: &Arc<Self>, mut unit: Unit, running: Running) {
        if let Some(prepare) = &self.prepare {
            let mut jobs = unit.steps.iter_mut().filter_map(|step| match step {
                Step::Job(job) => Some(&mut **job),
                Step::Raw(_) => None,
            });
            let prepared = caught(b"", || {
                prepare.prepare(&mut jobs);
                Ok(())
            });
            if let Err(error) = prepared {
                return self.progress.fail(error);
            }
        }
        self.go_on(unit, running);
    }

    /// Does the steps that are left; gives the bytes in tar order.
    fn go_on(self: &Arc<Self>, mut unit: Unit, running: Running) {
        unit.parts.reserve(unit.steps.len() * 2);
        while let Some(step) = unit.steps.pop_front() {
            if self.progress.has_failed() {
                return;
            }
            match step {
                Step::Raw(bytes) => unit.parts.push(Part::Bytes(bytes)),
                Step::Job(job) => match self.job(job, &mut unit) {
                    Ok(Ran::Done) => {}
                    Ok(Ran::Next(job)) => unit.steps.push_front(Step::Job(job)),
                    Ok(Ran::Fetch(job)) => return self.fetch(job, unit, running),
                    Ok(Ran::Later(later)) => return self.later(later, unit, running),
                    Err(error) => return self.progress.fail(error),
                },
            }
        }
        if let Some(slot) = unit.slot {
            slot.fill(Done { parts: unit.parts, keep: Box::new(unit.permits) });
        }
        drop(running);
    }

    fn job(&self, job: Box<dyn Job>, unit: &mut Unit) -> Result<Ran, AssembleError> {
        let path = job.path().to_vec();
        caught(&path, || job.run(&mut unit.parts))
    }

    /// Has `job` done on a thread that may be held up, and the rest of `unit` on a worker afterwards.
    fn fetch(self: &Arc<Self>, job: Box<dyn Job>, mut unit: Unit, running: Running) {
        let (crew, held) = (Arc::clone(self), running.hold());
        let started = self.lane.run(Box::new(move || {
            let mut job = job;
            while !crew.progress.has_failed() {
                match crew.job(job, &mut unit) {
                    Ok(Ran::Fetch(next)) => {
                        job = next;
                        continue;
                    }
                    Ok(Ran::Done) => {}
                    Ok(Ran::Next(next)) => unit.steps.push_front(Step::Job(next)),
                    Ok(Ran::Later(later)) => return crew.later(later, unit, held.resume()),
                    Err(error) => return crew.progress.fail(error),
                }
                return crew.resume(unit, held.resume());
            }
        }));
        if let Err(source) = started {
            self.progress.fail(AssembleError::Io {
                path: String::new(),
                doing: "starting a thread that fetches",
                source,
            });
        }
    }

    /// Goes on with `unit` on a worker, once `later` comes back with the rest of its job.
    fn later(self: &Arc<Self>, later: Later, mut unit: Unit, running: Running) {
        let (crew, held) = (Arc::clone(self), running.hold());
        later(Box::new(move |job| {
            unit.steps.push_front(Step::Job(job));
            crew.resume(unit, held.resume());
        }));
    }

    fn resume(self: &Arc<Self>, unit: Unit, running: Running) {
        let crew = Arc::clone(self);
        self.pool.run(&self.owner, move || crew.go_on(unit, running));
    }
}

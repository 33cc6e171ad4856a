//! The table of running jobs: who shares a transfer with whom.
//!
//! A job belongs to what was asked for. Two pulls share one only when registry, blob and what the manifest says
//! about the blob agree: then nobody gets another blob, waits for another registry, or fails over another manifest's
//! lies. Other jobs that claim the same DiffID run beside it, and the first that proves the DiffID serves all. A
//! failure is an answer only for those who asked in the same repository; others try for themselves. Whoever has credentials
//! of a request shares jobs only with those who have the same: what they fetch goes to others when it is in the store.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chunked_core::{Causes, Digest, ObjectDigest};
use chunked_registry::{Client, Image, Layer};
use chunked_store::Flavour;
use chunked_toc::Format;
use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::engine::{Engine, Inner, Places};
use crate::error::EngineError;
use crate::job::Job;
use crate::observer::{End, Telling};
use crate::pull::{Interest, Pull};
use crate::report::{Counters, JobStatus, LayerReport, status};

/// How a job ended, for everyone who waits for it.
pub(crate) type Outcome = Result<Arc<LayerReport>, Arc<EngineError>>;

/// How often it is asked whether anybody still wants a layer.
const LOOK: Duration = Duration::from_millis(500);

/// What a job is to prove: a DiffID, for the lowest layer of an image or another one.
type Proof = (Digest, bool);

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    registry: String,
    blob: ObjectDigest,
    size: u64,
    format: Format,
    /// Only on this machine.
    no_registry: bool,
    /// Number of the client, if it is not the engine's.
    client: Option<u64>,
}

/// With whom a pull shares a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// With all who ask the same of the same registry.
    Registry,
    /// Only with those who ask in the same repository.
    Repository,
}

/// A job, as those see it who wait for it.
#[derive(Debug)]
struct Running {
    number: u64,
    asked: Asked,
    repository: String,
    layer: Layer,
    counters: Arc<Counters>,
    interest: Interest,
    /// Another job proved the DiffID.
    proven: Notify,
    outcome: watch::Receiver<Option<Outcome>>,
}

#[derive(Debug)]
struct Line {
    job: Arc<Running>,
    /// Aborts the job when dropped.
    task: AbortOnDropHandle<()>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Jobs(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    jobs: HashMap<Proof, Vec<Line>>,
    last: u64,
}

impl Jobs {
    /// What the running jobs are doing.
    pub(crate) fn status(&self) -> Vec<JobStatus> {
        let table = self.0.lock();
        table.jobs.values().flatten().map(|Line { job, .. }| status(&job.layer, &job.counters)).collect()
    }

    fn remove(table: &mut Table, proof: &Proof, number: u64) -> Option<AbortOnDropHandle<()>> {
        let jobs = table.jobs.get_mut(proof)?;
        let at = jobs.iter().position(|line| line.job.number == number)?;
        let task = jobs.remove(at).task;
        if jobs.is_empty() {
            table.jobs.remove(proof);
        }
        Some(task)
    }

    /// Lets go of the jobs for layers of `image` from `index` on. Gives those that nobody else wants, with the DiffIDs
    /// they were to prove: dropping them ends them.
    pub(crate) fn release(
        &self,
        image: &Image,
        index: usize,
        pull: &Arc<Pull>,
    ) -> Vec<(Digest, AbortOnDropHandle<()>)> {
        let mut table = self.0.lock();
        let mut ended = Vec::new();
        for (index, layer) in image.layers.iter().enumerate().skip(index) {
            let jobs = table.jobs.get(&(layer.diff_id, index == 0)).into_iter().flatten();
            let numbers: Vec<u64> =
                jobs.filter(|line| line.job.interest.remove(pull)).map(|line| line.job.number).collect();
            for number in numbers {
                tracing::debug!(layer = %layer.blob, "nobody wants this layer any more");
                let task = Self::remove(&mut table, &(layer.diff_id, index == 0), number);
                ended.extend(task.map(|task| (layer.diff_id, task)));
            }
        }
        ended
    }

    /// Tells the other jobs that `proof` is in the store.
    fn tell(&self, proof: &Proof, number: u64) {
        let table = self.0.lock();
        let others = table.jobs.get(proof).into_iter().flatten();
        others.filter(|line| line.job.number != number).for_each(|line| line.job.proven.notify_one());
    }
}

/// A job's line in the table, taken out when dropped: also when the job panics or is aborted.
#[derive(Debug)]
struct Listed {
    inner: Arc<Inner>,
    proof: Proof,
    running: Arc<Running>,
}

impl Listed {
    /// Why nobody wants the layer any more, if so: then nobody can join the job any more either.
    fn over(&self) -> Option<String> {
        let mut table = self.inner.jobs.0.lock();
        let reason = self.running.interest.over()?;
        // The handle would abort this very task.
        let task = Jobs::remove(&mut table, &self.proof, self.running.number);
        drop(table);
        task.map(AbortOnDropHandle::detach);
        Some(reason)
    }

    /// Ends once nobody wants the layer any more, and says why.
    async fn unwanted(&self) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Some(reason) = self.over() {
                return reason;
            }
        }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let task = Jobs::remove(&mut self.inner.jobs.0.lock(), &self.proof, self.running.number);
        task.map(AbortOnDropHandle::detach);
    }
}

impl Engine {
    /// Joins the job that makes the layer `index` of `image`, or starts it. A layer that is here is found by the job.
    pub(crate) fn join(
        &self,
        image: &Arc<Image>,
        index: usize,
        pull: &Arc<Pull>,
        places: &Places,
    ) -> Result<Joined, EngineError> {
        self.join_for(image, index, pull, (places, Sharing::Registry))
    }

    fn join_for(
        &self,
        image: &Arc<Image>,
        index: usize,
        pull: &Arc<Pull>,
        (places, sharing): (&Places, Sharing),
    ) -> Result<Joined, EngineError> {
        let Some(layer) = image.layers.get(index) else {
            let reason = format!("the image has no layer {index}");
            return Err(EngineError::Stopped { layer: image.config_digest, reason });
        };
        let (proof, repository) = ((layer.diff_id, index == 0), &image.reference.repository);
        let asked = Asked {
            registry: image.reference.host.clone(),
            blob: layer.blob,
            size: layer.size,
            format: chunked_toc::classify_layer(&layer.media_type, &layer.annotations, layer.size),
            no_registry: places.no_registry,
            client: places.client.as_ref().map(Client::number),
        };
        let joined = |job: &Arc<Running>| {
            job.interest.add(pull);
            let own = job.repository == *repository;
            Joined {
                image: Arc::clone(image),
                index,
                pull: Arc::clone(pull),
                places: places.clone(),
                own,
                outcome: job.outcome.clone(),
            }
        };
        let mut table = self.0.jobs.0.lock();
        let same = |job: &Running| {
            job.asked == asked && (sharing == Sharing::Registry || job.repository == *repository)
        };
        let known = table.jobs.get(&proof).into_iter().flatten().find(|line| same(&line.job));
        if let Some(line) = known {
            return Ok(joined(&line.job));
        }
        table.last += 1;
        let (sender, outcome) = watch::channel(None);
        let running = Arc::new(Running {
            number: table.last,
            repository: repository.clone(),
            layer: layer.clone(),
            counters: Arc::default(),
            interest: Interest::default(),
            proven: Notify::new(),
            outcome,
            asked,
        });
        let job = Job {
            inner: Arc::clone(&self.0),
            image: Arc::clone(image),
            places: places.clone(),
            layer: layer.clone(),
            flavour: if index == 0 { Flavour::Base } else { Flavour::Upper },
            counters: Arc::clone(&running.counters),
            place: self.0.in_flight.place(),
            pull: Arc::clone(pull),
        };
        let joined = joined(&running);
        let telling = Telling::new(self.0.options.observer.clone(), image, layer);
        let listed = Listed { inner: Arc::clone(&self.0), proof, running: Arc::clone(&running) };
        let task = AbortOnDropHandle::new(tokio::spawn(run(job, listed, telling, sender)));
        table.jobs.entry(proof).or_default().push(Line { job: running, task });
        Ok(joined)
    }

    /// Waits for a job, within the time that the image has.
    pub(crate) async fn outcome(&self, mut joined: Joined) -> Outcome {
        let (image, pull) = (Arc::clone(&joined.image), Arc::clone(&joined.pull));
        let layer = image.layers.get(joined.index).map_or(image.config_digest, |layer| layer.blob);
        loop {
            let outcome = pull.within(layer, joined.wait(layer)).await.map_err(Arc::new)?;
            if outcome.is_ok() || joined.own {
                return outcome;
            }
            // What another repository says is no answer to us.
            let how = (&joined.places.clone(), Sharing::Repository);
            joined = self.join_for(&image, joined.index, &pull, how).map_err(Arc::new)?;
        }
    }
}

/// A place among those who wait for a job.
#[derive(Debug)]
pub(crate) struct Joined {
    image: Arc<Image>,
    index: usize,
    pull: Arc<Pull>,
    places: Places,
    /// Its job asks the repository of this image.
    own: bool,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Joined {
    async fn wait(&mut self, layer: ObjectDigest) -> Outcome {
        let stopped = |reason: &str| Arc::new(EngineError::Stopped { layer, reason: reason.into() });
        let done = self.outcome.wait_for(Option::is_some).await;
        let done = done.map_err(|_| stopped("its job was stopped"))?;
        done.clone().unwrap_or_else(|| Err(stopped("its job left no result")))
    }
}

async fn run(job: Job, listed: Listed, mut telling: Telling, sender: watch::Sender<Option<Outcome>>) {
    let layer = job.layer.blob;
    // A panic costs this layer and nothing else.
    let outcome = match AssertUnwindSafe(work(&job, &listed)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            Err(EngineError::Panic { layer, doing: job.doing(), text: crate::panics::text(&*panic) })
        }
    };
    match &outcome {
        Ok(_) => listed.inner.jobs.tell(&listed.proof, listed.running.number),
        Err(EngineError::Image { .. }) => tracing::debug!(%layer, "its image cannot be pulled"),
        // Who asked decides how bad that is.
        Err(error) => tracing::info!(%layer, error = %Causes(error), "layer failed"),
    }
    let outcome = outcome.map(Arc::new).map_err(Arc::new);
    if let Err(error) = &outcome
        && error.is_about_the_image()
    {
        job.pull.fail(Arc::clone(error));
    }
    telling.tell(&match &outcome {
        Ok(report) => End::Ready(Arc::clone(report)),
        Err(error) => End::Failed(Arc::clone(error)),
    });
    drop(job);
    // Out of the table before anyone knows: who asks again after a failure must not meet the job that failed.
    drop(listed);
    sender.send_replace(Some(outcome));
}

/// Makes the layer, unless it is here, another job is first, or nobody wants it any more.
async fn work(job: &Job, listed: &Listed) -> Result<LayerReport, EngineError> {
    if let Some(report) = job.present().await? {
        return Ok(report);
    }
    let mut making = std::pin::pin!(job.run());
    loop {
        tokio::select! {
            outcome = &mut making => return outcome,
            () = listed.running.proven.notified() => {
                if let Some(report) = job.present().await? {
                    tracing::info!(layer = %job.layer.blob, diff_id = %job.layer.diff_id, "another job made it first");
                    return Ok(report);
                }
            }
            source = job.pull.failure() => {
                return Err(EngineError::Image { layer: job.layer.blob, source });
            }
            reason = listed.unwanted() => {
                return Err(EngineError::Stopped { layer: job.layer.blob, reason });
            }
        }
    }
}

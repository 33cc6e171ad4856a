//! Jobs: single flight per layer, bounded in number, independent of who asked.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chunked_assemble::Pool;
use chunked_core::{Causes, Digest};
use chunked_fetch::FetchOptions;
use chunked_host::HostIndex;
use chunked_plan::Costs;
use chunked_registry::{Client, Image, Layer};
use chunked_store::{Flavour, LayerPin, Store};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::domains::Domains;
use crate::error::EngineError;
use crate::in_flight::InFlight;
use crate::job::Job;
use crate::pull::Pulls;
use crate::report::{Counters, JobStatus, LayerReport, Mode, Seconds, status};

/// Bounds and costs, from the configuration.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Worker threads; 0 means four for each processor: they wait for the disk when they read donors.
    pub workers: usize,
    /// Layers pulled at once, over all images.
    pub layers_at_once: usize,
    /// Decoded bytes each of them may hold in memory.
    pub memory_per_layer: u64,
    /// How long jobs go on while nobody waits for any layer.
    pub keep_running_after_cancel: Duration,
    /// Time an image has, from the moment its first layer is wanted. `None`: as long as it takes.
    pub deadline: Option<Duration>,
    /// Flush the filesystem while layers are written, because they are to be durable when they are committed.
    pub flush: bool,
    /// Connections and segment size.
    pub fetch: FetchOptions,
    /// Costs that decide about gaps.
    pub costs: Costs,
    /// Which local content a pull may use, by its registry.
    pub domains: Domains,
    /// Files of the host; `None`: they are not used.
    pub host: Option<HostIndex>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            workers: 0,
            layers_at_once: 6,
            memory_per_layer: 16 << 20,
            keep_running_after_cancel: Duration::from_secs(600),
            deadline: None,
            flush: true,
            fetch: FetchOptions::default(),
            costs: Costs::default(),
            domains: Domains::default(),
            host: None,
        }
    }
}

type Outcome = Result<Arc<LayerReport>, Arc<EngineError>>;
type Key = (Digest, bool);

#[derive(Debug)]
struct Running {
    layer: Layer,
    counters: Arc<Counters>,
    outcome: watch::Receiver<Option<Outcome>>,
    /// The job ends with the engine, not with the call that began it.
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<Store>,
    pub(crate) client: Client,
    pub(crate) pool: Arc<Pool>,
    pub(crate) options: EngineOptions,
    places: Semaphore,
    jobs: Mutex<HashMap<Key, Running>>,
    pub(crate) in_flight: Arc<InFlight>,
    pulls: Pulls,
    /// Origins that were asked for several ranges at once, or are being asked.
    pub(crate) probed: Mutex<HashSet<String>>,
    /// One flush at a time serves all layers.
    pub(crate) flushing: tokio::sync::Mutex<()>,
    /// Calls that wait for a layer.
    waiting: AtomicUsize,
}

/// Counts a waiting call for as long as it lives, cancelled or not.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Pulls layers into a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

impl Engine {
    /// An engine over `store` and `client`. Clears the process's umask.
    ///
    /// # Errors
    /// When the worker threads cannot be started.
    pub fn new(store: Arc<Store>, client: Client, options: EngineOptions) -> std::io::Result<Self> {
        chunked_linux::clear_umask();
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let workers = if options.workers == 0 { 4 * cores } else { options.workers };
        let pool = Pool::new(workers).map_err(std::io::Error::other)?;
        let places = Semaphore::new(options.layers_at_once.max(1));
        let (jobs, waiting) = (Mutex::default(), AtomicUsize::new(0));
        Ok(Self(Arc::new(Inner {
            store,
            client,
            pool,
            options,
            places,
            jobs,
            in_flight: Arc::default(),
            pulls: Pulls::default(),
            probed: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            waiting,
        })))
    }

    /// The store it fills.
    pub fn store(&self) -> &Arc<Store> {
        &self.0.store
    }

    /// Starts every layer of `image` that is neither here nor on its way, lowest first.
    pub fn start_image(&self, image: &Arc<Image>) {
        for index in 0..image.layers.len() {
            // A layer that cannot be looked up now is tried again, and its error told, when it is asked for.
            let _ = self.join(image, index);
        }
    }

    /// All layers of `image`, lowest first.
    ///
    /// # Errors
    /// [`EngineError`] of the lowest layer that failed. The jobs of the others go on.
    pub async fn image(&self, image: &Arc<Image>) -> Result<Vec<Arc<LayerReport>>, Arc<EngineError>> {
        // Joined before any is awaited: a job that ends in between must still tell what it did.
        let joined: Vec<_> = (0..image.layers.len()).map(|index| self.join(image, index)).collect();
        let _waiting = Waiting::new(&self.0.waiting);
        let mut reports = Vec::with_capacity(joined.len());
        for (joined, layer) in joined.into_iter().zip(&image.layers) {
            reports.push(wait(joined?, layer.blob).await?);
        }
        Ok(reports)
    }

    /// The layer `index` of `image`: from the store, by the job that is already on it, or by a new one.
    /// Cancelling this call does not stop the job.
    ///
    /// # Errors
    /// [`EngineError`] of the job; a later call starts anew.
    pub async fn layer(&self, image: &Arc<Image>, index: usize) -> Outcome {
        let _waiting = Waiting::new(&self.0.waiting);
        let layer = image.layers.get(index).map_or(image.config_digest, |layer| layer.blob);
        wait(self.join(image, index)?, layer).await
    }

    /// The running jobs.
    pub fn running(&self) -> Vec<JobStatus> {
        self.0.jobs.lock().values().map(|job| status(&job.layer, &job.counters)).collect()
    }

    fn join(&self, image: &Arc<Image>, index: usize) -> Result<Joined, Arc<EngineError>> {
        let Some(layer) = image.layers.get(index) else {
            let reason = format!("the image has no layer {index}");
            return Err(Arc::new(EngineError::Stopped { layer: image.config_digest, reason }));
        };
        let flavour = if index == 0 { Flavour::Base } else { Flavour::Upper };
        let key = (layer.diff_id, index == 0);
        let mut jobs = self.0.jobs.lock();
        if let Some(job) = jobs.get(&key) {
            return Ok(Joined::Job(job.outcome.clone()));
        }
        // Looked up under the lock: a job commits before it leaves the table, so one of the two has it.
        let here = self.0.store.layer(&layer.diff_id, flavour);
        let here = here.map_err(|source| Arc::new(EngineError::Store { layer: layer.blob, source }))?;
        if let Some(pin) = here {
            return Ok(Joined::Here(Arc::new(present(layer, pin))));
        }
        let (sender, outcome) = watch::channel(None);
        let counters = Arc::<Counters>::default();
        let job = Job {
            inner: Arc::clone(&self.0),
            image: Arc::clone(image),
            layer: layer.clone(),
            flavour,
            counters: Arc::clone(&counters),
            place: self.0.in_flight.place(),
            pull: self.0.pulls.of(image.config_digest),
        };
        let task = tokio::spawn(run(job, key, sender));
        let running = Running {
            layer: layer.clone(),
            counters,
            outcome: outcome.clone(),
            _task: AbortOnDropHandle::new(task),
        };
        jobs.insert(key, running);
        Ok(Joined::Job(outcome))
    }
}

impl Inner {
    /// Bytes that all jobs together have fetched so far: while that grows, waiting is worth it.
    pub(crate) fn fetched(&self) -> u64 {
        self.jobs.lock().values().map(|job| job.counters.fetched.load(Ordering::Relaxed)).sum()
    }
}

enum Joined {
    Here(Arc<LayerReport>),
    Job(watch::Receiver<Option<Outcome>>),
}

async fn wait(joined: Joined, layer: Digest) -> Outcome {
    let mut outcome = match joined {
        Joined::Here(report) => return Ok(report),
        Joined::Job(outcome) => outcome,
    };
    let stopped = |reason: &str| Arc::new(EngineError::Stopped { layer, reason: reason.into() });
    let done = outcome.wait_for(Option::is_some).await.map_err(|_| stopped("its job was stopped"))?;
    done.clone().unwrap_or_else(|| Err(stopped("its job left no result")))
}

async fn run(job: Job, key: Key, sender: watch::Sender<Option<Outcome>>) {
    let inner = Arc::clone(&job.inner);
    let (layer, pull) = (job.layer.blob, Arc::clone(&job.pull));
    let work = async {
        let _place = inner.places.acquire().await;
        job.run().await
    };
    let work = pull.within(inner.options.deadline, layer, work);
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = abandoned(&inner) => {
            Err(EngineError::Stopped { layer, reason: "nobody waited for it any more".into() })
        }
    };
    if let Err(error) = &outcome {
        tracing::error!(%layer, error = %Causes(error), "layer failed");
    }
    // Out of the table before anyone knows: who asks again after a failure must not meet the job that failed. Its
    // handle would abort this task, which ends without another pause.
    let running = inner.jobs.lock().remove(&key);
    sender.send_replace(Some(outcome.map(Arc::new).map_err(Arc::new)));
    drop(running);
}

/// Ends once nobody has waited for any layer for the configured time.
async fn abandoned(inner: &Inner) {
    let mut alone_since = None;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if inner.waiting.load(Ordering::Acquire) > 0 {
            alone_since = None;
            continue;
        }
        let since = *alone_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= inner.options.keep_running_after_cancel {
            return;
        }
    }
}

fn present(layer: &Layer, pin: LayerPin) -> LayerReport {
    LayerReport {
        blob: layer.blob,
        diff_id: layer.diff_id,
        mode: Mode::Present,
        reason: None,
        bytes_total: layer.size,
        bytes_fetched: 0,
        bytes_reused: layer.size,
        files: 0,
        files_reused: 0,
        plan: None,
        files_from_host: 0,
        bytes_from_host: 0,
        seconds: Seconds::default(),
        pin,
    }
}

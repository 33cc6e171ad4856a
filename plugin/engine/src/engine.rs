//! The engine: what all jobs have in common, and how they are asked for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chunked_assemble::Pool;
use chunked_fair::{Memory, Pot};
use chunked_fetch::FetchOptions;
use chunked_host::HostIndex;
use chunked_plan::Costs;
use chunked_registry::{Client, Image};
use chunked_store::{Flavour, LayerPin, Store};
use parking_lot::Mutex;

use crate::blob::{Contents, Keeper};
use crate::blocking::Blocking;
use crate::domains::Domains;
use crate::error::EngineError;
use crate::in_flight::InFlight;
use crate::jobs::Jobs;
use crate::links::Commits;
use crate::memory::places;
use crate::observer::Observer;
use crate::pull::{Limits, Pull, Pulls};
use crate::report::{JobStatus, LayerReport};

/// Bounds and costs, from the configuration.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Worker threads for the layers of one registry, besides a quarter more for others; 0 means four for each processor:
    /// they wait for the disk when they read donors.
    pub workers: usize,
    /// Layers of one registry made at the same time.
    pub layers_at_once: usize,
    /// Bytes that all layers may hold in memory together.
    pub memory: u64,
    /// How long jobs go on while nobody waits for any layer of the images that want them.
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
    /// Hears of every job that ended.
    pub observer: Option<Arc<dyn Observer>>,
}

/// Where the blobs of an image's layers may be, besides its registry.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Looked into first.
    pub contents: Option<Arc<dyn Contents>>,
    /// Gets the blobs that are read whole from the registry.
    pub keeper: Option<Arc<dyn Keeper>>,
    /// The image came from no registry: none is asked, whatever its reference says.
    pub no_registry: bool,
    /// Fetch as few bytes as ranges allow, however long that takes: nobody waits for the layer.
    pub fewest_bytes: bool,
    /// Asks the registry in the engine's place, with credentials that came with a request. Jobs are shared only with who
    /// has the same client: nobody else gets what these credentials fetch before it is proven and in the store.
    pub client: Option<Client>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            workers: 0,
            layers_at_once: 6,
            memory: 192 << 20,
            keep_running_after_cancel: Duration::from_secs(600),
            deadline: None,
            flush: true,
            fetch: FetchOptions::default(),
            costs: Costs::default(),
            domains: Domains::default(),
            host: None,
            observer: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Blocking<Arc<Store>>,
    pub(crate) client: Client,
    pub(crate) pool: Arc<Pool>,
    pub(crate) options: EngineOptions,
    /// Places for layers, which registries share.
    pub(crate) places: Arc<Pot>,
    pub(crate) memory: Memory,
    pub(crate) jobs: Jobs,
    pub(crate) in_flight: Arc<InFlight>,
    pub(crate) commits: Arc<Commits>,
    pulls: Pulls,
    /// Origins that were asked for several ranges at once, or are being asked.
    pub(crate) probed: Mutex<HashSet<String>>,
    /// One flush at a time serves all layers.
    pub(crate) flushing: tokio::sync::Mutex<()>,
}

/// Pulls layers into a store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine(pub(crate) Arc<Inner>);

impl Engine {
    /// An engine over `store` and `client`.
    ///
    /// # Errors
    /// When the worker threads cannot be started.
    pub fn new(store: Arc<Store>, client: Client, options: EngineOptions) -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let workers = if options.workers == 0 { 4 * cores } else { options.workers };
        let pool = Pool::new(workers).map_err(std::io::Error::other)?;
        let memory = Memory::new(options.memory);
        let places =
            Pot::new(places(options.memory), u64::try_from(options.layers_at_once).unwrap_or(u64::MAX));
        Ok(Self(Arc::new(Inner {
            store: Blocking::new(store),
            client,
            pool,
            options,
            places,
            memory,
            jobs: Jobs::default(),
            in_flight: Arc::default(),
            commits: Arc::default(),
            pulls: Pulls::default(),
            probed: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
        })))
    }

    /// The store it fills.
    pub fn store(&self) -> &Arc<Store> {
        self.0.store.inner()
    }

    /// Starts every layer of `image` that is neither here nor on its way, lowest first.
    pub fn start_image(&self, image: &Arc<Image>, places: &Places) {
        let pull = self.pull(image, places);
        for index in 0..image.layers.len() {
            // What goes wrong now is told when the layer is asked for.
            let _ = self.join(image, index, &pull, places);
        }
    }

    /// All layers of `image`, lowest first.
    ///
    /// # Errors
    /// [`EngineError`] of the lowest layer that failed. The jobs of the others go on.
    pub async fn image(
        &self,
        image: &Arc<Image>,
        places: &Places,
    ) -> Result<Vec<Arc<LayerReport>>, Arc<EngineError>> {
        let pull = self.pull(image, places);
        let _waiting = pull.wait();
        // Joined before any is awaited: a job that ends in between must still tell what it did.
        let joined: Vec<_> =
            (0..image.layers.len()).map(|index| self.join(image, index, &pull, places)).collect();
        let mut reports = Vec::with_capacity(joined.len());
        for joined in joined {
            reports.push(self.outcome(joined.map_err(Arc::new)?).await?);
        }
        Ok(reports)
    }

    /// The layer `index` of `image`: from the store, by the job that is already on it, or by a new one.
    /// Cancelling this call does not stop the job.
    ///
    /// # Errors
    /// [`EngineError`] of the job; a later call starts anew.
    pub async fn layer(
        &self,
        image: &Arc<Image>,
        index: usize,
        places: &Places,
    ) -> Result<Arc<LayerReport>, Arc<EngineError>> {
        let pull = self.pull(image, places);
        let _waiting = pull.wait();
        self.outcome(self.join(image, index, &pull, places).map_err(Arc::new)?).await
    }

    /// The layer `index` of `image` if it is in the store; no job is started or joined.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub async fn present(&self, image: &Image, index: usize) -> Result<Option<LayerPin>, EngineError> {
        let Some(layer) = image.layers.get(index) else { return Ok(None) };
        let (diff_id, blob) = (layer.diff_id, layer.blob);
        let flavour = if index == 0 { Flavour::Base } else { Flavour::Upper };
        let here = self.0.store.run(move |store| store.layer(&diff_id, flavour)).await;
        let here = here.map_err(|error| EngineError::Stopped { layer: blob, reason: error.to_string() })?;
        here.map_err(|source| EngineError::Store { layer: blob, source })
    }

    /// Called when somebody else fetches the layers of `image` from `index` on: ends their jobs, unless another image
    /// or a waiting call wants them. What is in the store already stays there. Must be called inside a tokio runtime.
    pub fn release(&self, image: &Arc<Image>, index: usize) {
        let pull = self.pull(image, &Places::default());
        if pull.is_awaited() {
            return;
        }
        let ended = self.0.jobs.release(image, index, &pull);
        let store = self.0.store.clone();
        tokio::spawn(async move {
            for (diff_id, task) in ended {
                task.abort();
                let _ = task.await;
                // Whoever makes this layer now does not use what we had of it.
                let dropped = store.run(move |store| store.drop_partials(Some(&diff_id))).await;
                if let Ok(Err(error)) = dropped {
                    tracing::debug!(%error, "what was left of a layer stays for a day");
                }
            }
        });
    }

    /// Called when who asked for `image` from `places` does not want it any more: ends its jobs, unless another image or a
    /// waiting call wants them. What they made so far serves the next try.
    pub fn give_up(&self, image: &Arc<Image>, places: &Places) {
        let pull = self.pull(image, places);
        if !pull.is_awaited() {
            drop(self.0.jobs.release(image, 0, &pull));
        }
    }

    /// Bytes of memory that layers may hold together, and how many of them nobody holds now.
    pub fn memory(&self) -> (u64, u64) {
        (self.0.options.memory, self.0.memory.free())
    }

    /// The running jobs.
    pub fn running(&self) -> Vec<JobStatus> {
        self.0.jobs.status()
    }

    fn pull(&self, image: &Arc<Image>, places: &Places) -> Arc<Pull> {
        let EngineOptions { deadline, keep_running_after_cancel: alone, .. } = self.0.options;
        let client = places.client.as_ref().map(Client::number);
        self.0.pulls.of(image, client, Limits { deadline, alone })
    }
}

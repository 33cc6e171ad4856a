//! One layer's job: from what is asked for to a layer in the store.
//!
//! `opening` finds out what is in the blob and plans, `attempt` builds a tree, `commit` makes it a layer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use chunked_core::Causes;
use chunked_registry::{Client, Image, Layer};
use chunked_store::{Flavour, Store};
use chunked_toc::Format;
use tokio::task::JoinError;

use crate::attempt::Built;
use crate::blob::LayerBlob;
use crate::engine::{Inner, Places};
use crate::error::{EngineError, Fault};
use crate::memory::LayerMemory;
use crate::metadata::Whole;
use crate::pull::Pull;
use crate::report::{Counters, LayerReport, Phase, Seconds};
use crate::setback::Setback;

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) inner: Arc<Inner>,
    pub(crate) image: Arc<Image>,
    pub(crate) places: Places,
    pub(crate) layer: Layer,
    pub(crate) flavour: Flavour,
    pub(crate) counters: Arc<Counters>,
    /// Its place among the jobs that wait for one another's files.
    pub(crate) place: u64,
    pub(crate) pull: Arc<Pull>,
}

impl Job {
    /// Host, with its port if it has one, of the registry that the layer is pulled from.
    pub(crate) fn registry(&self) -> Arc<str> {
        self.image.reference.host.as_str().into()
    }

    /// Who asks the registry.
    pub(crate) fn client(&self) -> &Client {
        self.places.client.as_ref().unwrap_or(&self.inner.client)
    }

    /// The layer, if the store has it.
    pub(crate) async fn present(&self) -> Result<Option<LayerReport>, EngineError> {
        let (diff_id, flavour) = (self.layer.diff_id, self.flavour);
        let here = self.store(move |store| store.layer(&diff_id, flavour)).await?;
        let here = here.map_err(|source| EngineError::Store { layer: self.layer.blob, source })?;
        let fetched = self.counters.fetched.load(Ordering::Relaxed);
        Ok(here.map(|pin| LayerReport::present(&self.layer, self.image.manifest_digest, fetched, pin)))
    }

    /// Pulls the layer. Nothing is committed unless the DiffID matched. A copy on this machine is read first. Bytes
    /// that a mirror may have altered are asked for once more, of the registry itself; so are those that the reader
    /// cannot unpack, and then it shows whether they are the ones the manifest names.
    pub(crate) async fn run(&self) -> Result<LayerReport, EngineError> {
        let (registry, asked) = (self.registry(), Instant::now());
        let _place = self.inner.places.take(&registry, 1).await;
        let memory = &LayerMemory::take(&self.inner.memory, &registry).await;
        self.counters.waited(asked.elapsed());
        if let Some(here) = self.here().await {
            match self.from(memory, &here).await {
                // A proven refusal stays one, wherever the bytes come from.
                Err(error) if self.may_differ_elsewhere(&error) => {
                    tracing::warn!(layer = %self.layer.blob, error = %Causes(&error), "the copy on this machine is of no use");
                    self.counters.fetched.store(0, Ordering::Relaxed);
                    let fetched = self.from(memory, &self.remote()).await;
                    // What was proved wrong is not made good by a registry that does not answer.
                    let unproven = |other: &EngineError| matches!(other.fault(), Fault::Registry(_));
                    return fetched.map_err(|other| {
                        if error.check().is_some() && unproven(&other) { error } else { other }
                    });
                }
                done => return done,
            }
        }
        if self.places.no_registry {
            return Err(EngineError::Absent { layer: self.layer.blob });
        }
        self.from(memory, &self.remote()).await
    }

    fn may_differ_elsewhere(&self, error: &EngineError) -> bool {
        !self.places.no_registry && matches!(error.fault(), Fault::Wrong(_) | Fault::Absent)
    }

    /// The copy on this machine, if there is one.
    async fn here(&self) -> Option<LayerBlob> {
        let found = self.places.contents.as_ref()?.open(self.layer.blob, self.layer.size).await?;
        Some(LayerBlob::Here(found, self.layer.size))
    }

    fn remote(&self) -> LayerBlob {
        LayerBlob::Registry(self.client().blob(&self.image.reference, self.layer.blob, self.layer.size))
    }

    /// Pulls the layer from one place.
    async fn from(&self, memory: &LayerMemory, blob: &LayerBlob) -> Result<LayerReport, EngineError> {
        let (mut without_mirrors, mut hashing) = (false, false);
        loop {
            let error = match self.with_room(memory, blob, hashing).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            let why = match error.fault() {
                Fault::Wrong(_) if !without_mirrors && blob.distrust_mirrors().await => {
                    without_mirrors = true;
                    "pulling again without mirrors"
                }
                Fault::Reader if !hashing && !error.is_settled() => {
                    (without_mirrors, hashing) = (true, true);
                    blob.distrust_mirrors().await;
                    "pulling again, to see whether the blob is the right one"
                }
                _ => return Err(error),
            };
            tracing::warn!(layer = %self.layer.blob, error = %Causes(&error), "{why}");
        }
    }

    /// One try, which ends when the disk is full. `hashing`: a blob that comes whole is hashed as it is, too.
    pub(crate) async fn once(
        &self,
        memory: &LayerMemory,
        blob: &LayerBlob,
        hashing: bool,
    ) -> Result<LayerReport, EngineError> {
        let mut seconds = Seconds::default();
        // What is written goes to disk in the background.
        let flusher = self.inner.options.flush.then(|| crate::flush::Flusher::start(&self.inner));
        let built = self.build(memory, blob, hashing, &mut seconds).await;
        drop(flusher);
        let built = built?;
        let (expected, found) = (self.layer.diff_id, built.extracted.diff_id);
        if found != expected {
            self.blocking(move || built.refuse()).await?;
            self.drop_attempts().await?;
            return Err(EngineError::DiffId { layer: self.layer.blob, expected, found });
        }
        self.commit(built, blob.is_here(), seconds).await
    }

    /// Drops what attempts left of the layer, because the proof failed when all of it had been checked.
    pub(crate) async fn drop_attempts(&self) -> Result<(), EngineError> {
        let diff_id = self.layer.diff_id;
        let dropped = self.store(move |store| store.drop_partials(Some(&diff_id))).await?;
        if let Err(error) = dropped {
            tracing::debug!(layer = %self.layer.blob, %error, "what attempts left stays for a day");
        }
        Ok(())
    }

    /// Builds the tree, by ranges if that is possible and goes well, else from the whole blob.
    async fn build(
        &self,
        memory: &LayerMemory,
        blob: &LayerBlob,
        hashing: bool,
        seconds: &mut Seconds,
    ) -> Result<Built, EngineError> {
        self.counters.enter(Phase::Planning);
        let Layer { media_type, annotations, size, .. } = &self.layer;
        let built = match chunked_toc::classify_layer(media_type, annotations, *size) {
            Format::Plain { reason } => Err(Setback::Whole(Whole { reason, segments: None })),
            Format::ZstdChunked(annotations) => self.by_ranges(memory, blob, annotations, seconds).await,
        };
        let whole = match built {
            Ok(built) => return Ok(built),
            Err(Setback::Whole(whole)) => whole,
            Err(Setback::Again { .. }) => Whole::because("its donors kept failing"),
            Err(Setback::Failed(error)) => return Err(error),
        };
        if let Some(reason) = &whole.reason {
            tracing::info!(layer = %self.layer.blob, reason, "pulling the whole layer");
        }
        self.whole(memory, blob, whole, hashing, seconds).await
    }

    /// What it is doing, for texts: "while ...".
    pub(crate) fn doing(&self) -> &'static str {
        self.counters.phase().doing()
    }

    /// Runs `work` on a thread that may block.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        tokio::task::spawn_blocking(work).await.map_err(|error| self.ended(error))
    }

    /// The same with the store.
    pub(crate) async fn store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Store>) -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        self.inner.store.run(work).await.map_err(|error| self.ended(error))
    }

    fn ended(&self, error: JoinError) -> EngineError {
        let layer = self.layer.blob;
        match error.try_into_panic() {
            Ok(panic) => {
                EngineError::Panic { layer, doing: self.doing(), text: crate::panics::text(&*panic) }
            }
            Err(error) => EngineError::Stopped { layer, reason: format!("its thread ended early ({error})") },
        }
    }
}

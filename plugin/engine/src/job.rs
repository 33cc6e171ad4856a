//! One layer's job: attempts until its tree is proven, then the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chunked_assemble::{AssembleError, Budget, Extracted, Extractor, Known, Settings};
use chunked_core::Causes;
use chunked_plan::{Plan, Summary};
use chunked_registry::{Image, Layer};
use chunked_store::{Flavour, NewLayer, Staging, Usage};
use chunked_toc::{Annotations, ErrorKind as TocErrorKind, Format, LayerIndex};
use parking_lot::Mutex;

use crate::blob::LayerBlob;
use crate::chunked::{Build, ChunkedError, Supply};
use crate::engine::{Inner, Places};
use crate::error::{EngineError, Fault};
use crate::in_flight::{Claimant, Claims};
use crate::links::ImageLinks;
use crate::metadata::Whole;
use crate::plain;
use crate::pull::Pull;
use crate::repeats::Repeats;
use crate::report::{Counters, LayerReport, Mode, Phase, Seconds};
use crate::resume::Leftovers;
use crate::reuse::{Donors, NodeDonor, Policy, Sources, StoreKnown};
use crate::source::{BlobReader, Source};
use crate::spare::BlobSpare;

/// Attempts with donors before the layer is pulled without any: one that trusts them, then some that read them all
/// before they plan.
const ATTEMPTS: usize = 4;

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

/// A layer's tree in staging, not yet compared with the config.
struct Built {
    staging: Staging,
    extracted: Extracted,
    mode: Mode,
    reason: Option<String>,
    files_reused: u64,
    bytes_reused: u64,
    /// Of a layer by ranges.
    plan: Option<Summary>,
    /// Files and bytes of these that came from the host.
    from_host: (u64, u64),
    /// Given back when the layer can be found in the store.
    claims: Option<Arc<Claims>>,
    /// Large files in chunks, for the index.
    index: Option<Arc<LayerIndex>>,
}

/// How an attempt ended short of an error.
enum Attempt {
    Built(Box<Built>),
    /// Try again under this policy.
    Again(Policy),
    /// Pull it whole, for this reason.
    Whole(String),
}

impl Job {
    /// Pulls the layer. Nothing is committed unless the DiffID matched. A copy on this machine is read first. Bytes
    /// that a mirror may have altered are asked for once more, of the registry itself; so are those that the reader
    /// cannot unpack, and then it shows whether they are the ones the manifest names.
    pub(crate) async fn run(&self) -> Result<LayerReport, EngineError> {
        if let Some(here) = self.here().await {
            match self.from(&here).await {
                // A proven refusal stays one, wherever the bytes come from.
                Err(error) if self.may_differ_elsewhere(&error) => {
                    tracing::warn!(layer = %self.layer.blob, error = %Causes(&error), "the copy on this machine is of no use");
                    self.counters.fetched.store(0, Ordering::Relaxed);
                    let fetched = self.from(&self.remote()).await;
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
        self.from(&self.remote()).await
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
        LayerBlob::Registry(self.inner.client.blob(&self.image.reference, self.layer.blob, self.layer.size))
    }

    /// Pulls the layer from one place.
    async fn from(&self, blob: &LayerBlob) -> Result<LayerReport, EngineError> {
        let (mut without_mirrors, mut hashing) = (false, false);
        loop {
            let error = match self.with_room(blob, hashing).await {
                Ok(report) => return Ok(report),
                Err(error) => error,
            };
            let why = match error.fault() {
                Fault::Wrong(_) if !without_mirrors && blob.distrust_mirrors().await => {
                    without_mirrors = true;
                    "pulling again without mirrors"
                }
                Fault::Reader if !hashing && !matches!(error, EngineError::Unreadable { .. }) => {
                    (without_mirrors, hashing) = (true, true);
                    blob.distrust_mirrors().await;
                    "pulling again, to see whether the blob is the right one"
                }
                _ => return Err(error),
            };
            tracing::warn!(layer = %self.layer.blob, error = %Causes(&error), "{why}");
        }
    }

    /// The layer, if the store has it.
    pub(crate) async fn present(&self) -> Result<Option<LayerReport>, EngineError> {
        let (inner, diff_id, flavour) = (Arc::clone(&self.inner), self.layer.diff_id, self.flavour);
        let here = self.blocking(move || inner.store.layer(&diff_id, flavour)).await?;
        let here = here.map_err(|source| EngineError::Store { layer: self.layer.blob, source })?;
        let fetched = self.counters.fetched.load(Ordering::Relaxed);
        Ok(here.map(|pin| LayerReport::present(&self.layer, fetched, pin)))
    }

    /// What it is doing, for texts: "while ...".
    pub(crate) fn doing(&self) -> &'static str {
        self.counters.phase().doing()
    }

    /// One try, which ends when the disk is full. `hashing`: a blob that comes whole is hashed as it is, too.
    pub(crate) async fn once(&self, blob: &LayerBlob, hashing: bool) -> Result<LayerReport, EngineError> {
        let mut seconds = Seconds::default();
        let mut built = self.build(blob, hashing, &mut seconds).await?;
        if built.extracted.diff_id != self.layer.diff_id {
            // Nothing of it is kept, not even for another try.
            built.staging.spoil();
            return Err(EngineError::DiffId {
                layer: self.layer.blob,
                expected: self.layer.diff_id,
                found: built.extracted.diff_id,
            });
        }
        self.commit(built, blob.is_here(), seconds).await
    }

    /// Builds the tree, while what is written goes to disk in the background.
    async fn build(
        &self,
        blob: &LayerBlob,
        hashing: bool,
        seconds: &mut Seconds,
    ) -> Result<Built, EngineError> {
        let flusher = self.inner.options.flush.then(|| crate::flush::Flusher::start(&self.inner));
        let built = self.build_tree(blob, hashing, seconds).await;
        drop(flusher);
        built
    }

    async fn build_tree(
        &self,
        blob: &LayerBlob,
        hashing: bool,
        seconds: &mut Seconds,
    ) -> Result<Built, EngineError> {
        let layer = &self.layer;
        self.counters.enter(Phase::Planning);
        let whole = match chunked_toc::classify(&layer.annotations, layer.size) {
            Format::Plain { reason } => Whole { reason, segments: None },
            Format::ZstdChunked(annotations) => match self.chunked(blob, annotations, seconds).await? {
                Ok(built) => return Ok(built),
                Err(whole) => whole,
            },
        };
        if let Some(reason) = &whole.reason {
            tracing::info!(layer = %layer.blob, reason, "pulling the whole layer");
        }
        self.whole(blob, whole, hashing, seconds).await
    }

    /// A zstd:chunked layer, or the reason why it must come whole.
    async fn chunked(
        &self,
        blob: &LayerBlob,
        annotations: Annotations,
        seconds: &mut Seconds,
    ) -> Result<Result<Built, Whole>, EngineError> {
        let started = Instant::now();
        let index = self.metadata(blob, annotations).await?;
        seconds.metadata = elapsed(started);
        match index {
            Ok(index) => {
                self.by_ranges(blob, &index, seconds).await.map(|built| built.map_err(Whole::because))
            }
            Err(whole) => Ok(Err(whole)),
        }
    }

    /// The layer by ranges, or the reason why it must come whole.
    async fn by_ranges(
        &self,
        blob: &LayerBlob,
        index: &Arc<LayerIndex>,
        seconds: &mut Seconds,
    ) -> Result<Result<Built, String>, EngineError> {
        let mut policy = Policy::default();
        self.ask_for_several(blob);
        for attempt in 0..=ATTEMPTS {
            policy.off = attempt == ATTEMPTS;
            let started = Instant::now();
            let (plan, claims) = self.plan(blob, index, policy).await?;
            seconds.plan += elapsed(started);
            let summary = plan.summary();
            let (layer, origin) = (&self.layer.blob, blob.origin());
            tracing::info!(%layer, attempt, plan = %summary, decision = %summary.decision, origin, "planned");
            let started = Instant::now();
            let result = self.attempt(blob, index, &plan, claims, policy).await?;
            seconds.transfer += elapsed(started);
            match result {
                Attempt::Built(built) => return Ok(Ok(*built)),
                Attempt::Whole(reason) => return Ok(Err(reason)),
                Attempt::Again(next) => policy = next,
            }
        }
        Ok(Err("its donors kept failing".into()))
    }

    async fn plan(
        &self,
        blob: &LayerBlob,
        index: &Arc<LayerIndex>,
        policy: Policy,
    ) -> Result<(Arc<Plan<NodeDonor>>, Arc<Claims>), EngineError> {
        let (index, inner) = (Arc::clone(index), Arc::clone(&self.inner));
        let (costs, diff_id) = (self.costs(blob), self.layer.diff_id);
        let registry: Arc<str> = self.image.reference.host.as_str().into();
        let who = Claimant { registry, place: self.place, counters: Arc::clone(&self.counters) };
        self.blocking(move || {
            let (store, in_flight) = (&*inner.store, &inner.in_flight);
            let domain = inner.options.domains.of(&who.registry);
            let origins = domain.origins(&who.registry);
            let leftovers = &Leftovers::find(store, &diff_id, &index);
            let sources = Sources {
                store,
                host: inner.options.host.as_ref().filter(|_| domain.host_files),
                origins: &origins,
                in_flight,
                who,
                policy,
                leftovers,
                claims: Mutex::default(),
            };
            let plan = chunked_plan::plan(&index.toc, &sources, &costs);
            // A layer without files claims nothing, nor does one that takes nothing from elsewhere.
            let claims = sources.claims.into_inner().unwrap_or_else(|| inner.in_flight.none());
            (Arc::new(plan), Arc::new(claims))
        })
        .await
    }

    async fn attempt(
        &self,
        blob: &LayerBlob,
        index: &Arc<LayerIndex>,
        plan: &Arc<Plan<NodeDonor>>,
        claims: Arc<Claims>,
        policy: Policy,
    ) -> Result<Attempt, EngineError> {
        self.counters.enter(Phase::Transferring);
        self.counters.wanted.store(plan.fetch_bytes, Ordering::Relaxed);
        self.counters.reused.store(plan.reused_bytes, Ordering::Relaxed);
        let (staging, extractor, _) = self.extractor(None, true)?;
        let options = self.inner.options.fetch.clone();
        let segments = blob.fetch(plan.ranges.clone(), options.clone());
        // If this job is given up, its thread ends, too.
        let (_stop, _cancel) = (segments.stop_on_drop(), extractor.cancel_on_drop());
        let refetch = Arc::new(BlobSpare {
            layer: self.layer.blob,
            index: Arc::clone(index),
            blob: blob.clone(),
            options,
            counters: Arc::clone(&self.counters),
            runtime: tokio::runtime::Handle::current(),
            asked_again: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
            reading: Arc::default(),
        });
        let _end = refetch.end_on_drop();
        let supply = Supply {
            source: Source::new(segments, Arc::clone(&self.counters)),
            donors: self.donors(policy.verify),
            claims: Arc::clone(&claims),
            refetch,
            repeats: Repeats::of(plan),
        };
        let build = Build { index: Arc::clone(index), plan: Arc::clone(plan), extractor, supply };
        let patience = crate::in_flight::Patience::watch(&plan.sources);
        let result = self.blocking(move || build.run()).await?;
        drop(patience);
        let attempt = self.judge(result, staging, plan, policy)?;
        Ok(match attempt {
            Attempt::Built(mut built) => {
                built.claims = Some(claims);
                built.from_host = crate::reuse::from_host(&index.toc, plan);
                built.index = Some(Arc::clone(index));
                Attempt::Built(built)
            }
            again => again,
        })
    }

    /// Opens donors for this layer.
    fn donors(&self, check: bool) -> Donors {
        let (store, commits) = (&self.inner.store, &self.inner.commits);
        let diff_ids = self.image.layers.iter().map(|layer| layer.diff_id);
        let linked = Arc::clone(&self.pull.linked);
        let links = ImageLinks::new(Arc::clone(store), Arc::clone(commits), diff_ids, linked);
        Donors::new(Arc::clone(store), Arc::new(links), check)
    }

    fn judge(
        &self,
        result: Result<Extracted, ChunkedError>,
        mut staging: Staging,
        plan: &Plan<NodeDonor>,
        mut policy: Policy,
    ) -> Result<Attempt, EngineError> {
        let layer = self.layer.blob;
        // A tree that the network, a stop or bad donors left unfinished serves the next try, which hashes what it takes.
        // After a failed proof nothing does.
        let bad_donors =
            |error: &ChunkedError| matches!(error, ChunkedError::Assemble(AssembleError::Donors { .. }));
        if result.as_ref().is_err_and(|error| !error.is_transfer() && !bad_donors(error)) {
            staging.spoil();
        }
        let extracted = match result {
            Ok(extracted) => extracted,
            Err(ChunkedError::Assemble(error @ AssembleError::Donors { .. })) => {
                tracing::warn!(%layer, %error, "planning anew");
                policy.verify = true;
                return Ok(Attempt::Again(policy));
            }
            Err(ChunkedError::Whole(reason)) => return Ok(Attempt::Whole(reason)),
            Err(ChunkedError::Order(offset)) => return Err(EngineError::TocOrder { layer, offset }),
            Err(ChunkedError::Ended(offset)) => {
                let reason = format!("its transfer ended before byte {offset}");
                return Err(EngineError::Stopped { layer, reason });
            }
            Err(ChunkedError::Fetch(source)) => return Err(EngineError::Fetch { layer, source }),
            Err(ChunkedError::Toc(error)) if error.kind() == TocErrorKind::Unusable => {
                return Ok(Attempt::Whole(Causes(&error).to_string()));
            }
            Err(ChunkedError::Toc(source)) => return Err(EngineError::Toc { layer, source }),
            // Its headers are authenticated by the TOC.
            Err(ChunkedError::Assemble(source)) => {
                return Err(EngineError::Assemble { layer, source }.proven());
            }
        };
        if extracted.diff_id != self.layer.diff_id && plan.reused_files > 0 && !policy.verify {
            tracing::warn!(%layer, "DiffID mismatch with local files in use; trying again with each of them checked");
            staging.spoil();
            policy.verify = true;
            return Ok(Attempt::Again(policy));
        }
        Ok(Attempt::Built(Box::new(Built {
            staging,
            extracted,
            mode: Mode::Chunked,
            reason: None,
            files_reused: plan.reused_files,
            bytes_reused: plan.reused_bytes,
            plan: Some(plan.summary()),
            from_host: (0, 0),
            claims: None,
            index: None,
        })))
    }

    async fn whole(
        &self,
        blob: &LayerBlob,
        Whole { reason, segments }: Whole,
        hashing: bool,
        seconds: &mut Seconds,
    ) -> Result<Built, EngineError> {
        let layer = self.layer.blob;
        self.counters.enter(Phase::Transferring);
        self.counters.wanted.store(self.layer.size, Ordering::Relaxed);
        let started = Instant::now();
        let donors = self.donors(false);
        let (staging, extractor, budget) = self.extractor(Some(Arc::new(StoreKnown { donors })), false)?;
        let segments = segments.unwrap_or_else(|| blob.fetch_all(&self.inner.options.fetch));
        let (_stop, _cancel) = (segments.stop_on_drop(), extractor.cancel_on_drop());
        let source = Source::new(segments, Arc::clone(&self.counters));
        let mut reader = if hashing { BlobReader::hashing(source) } else { BlobReader::new(source) };
        let unpack = move || {
            let failed = match plain::run(&mut reader, extractor, &budget) {
                Ok(extracted) => return Ok(extracted),
                Err(error) => error.of(layer),
            };
            if !matches!(failed.fault(), Fault::Reader) {
                return Err(failed);
            }
            match reader.digest().map_err(|source| EngineError::Fetch { layer, source })? {
                None => Err(failed),
                Some(found) if found == layer => Err(failed.proven()),
                Some(found) => Err(EngineError::BlobDigest { layer, found }),
            }
        };
        let extracted = self.blocking(unpack).await??;
        seconds.transfer += elapsed(started);
        Ok(Built {
            staging,
            extracted,
            mode: Mode::Whole,
            reason,
            files_reused: 0,
            bytes_reused: 0,
            plan: None,
            from_host: (0, 0),
            claims: None,
            index: None,
        })
    }

    fn extractor(
        &self,
        known: Option<Arc<dyn Known>>,
        resumable: bool,
    ) -> Result<(Staging, Extractor, Arc<Budget>), EngineError> {
        let (layer, store) = (self.layer.blob, &self.inner.store);
        let staging = if resumable { store.stage_resumable(self.layer.diff_id) } else { store.stage() };
        let staging = staging.map_err(|source| EngineError::Store { layer, source })?;
        let budget = Budget::new(self.inner.options.memory_per_layer);
        let settings = Settings {
            pool: Arc::clone(&self.inner.pool),
            budget: Arc::clone(&budget),
            base: self.flavour == Flavour::Base,
            known,
        };
        let extractor = Extractor::new(staging.fs(), settings)
            .map_err(|source| EngineError::Assemble { layer, source })?;
        Ok((staging, extractor, budget))
    }

    async fn commit(
        &self,
        built: Built,
        from_here: bool,
        mut seconds: Seconds,
    ) -> Result<LayerReport, EngineError> {
        self.counters.enter(Phase::Committing);
        let started = Instant::now();
        let stored = built.extracted.files;
        let number = stored.len() as u64;
        let chunks = built.index.map(|index| crate::chunks::of(&index.toc, &stored));
        let new = NewLayer {
            diff_id: self.layer.diff_id,
            flavour: self.flavour,
            has_whiteouts: built.extracted.has_whiteouts,
            implied: built.extracted.implied,
            shared: Usage { bytes: built.extracted.shared_bytes, inodes: built.extracted.shared_inodes },
            files: crate::chunks::files(stored),
            chunks,
            origin: (!self.places.no_registry).then(|| self.image.reference.host.clone()),
        };
        let (inner, staging) = (Arc::clone(&self.inner), built.staging);
        let pin = self
            .blocking(move || {
                let diff_id = new.diff_id;
                let pin = inner.commits.count(|| inner.store.commit_layer(staging, new));
                if pin.is_ok()
                    && let Err(error) = inner.store.drop_partials(Some(&diff_id))
                {
                    tracing::debug!(%error, "what earlier tries left stays for a day");
                }
                pin
            })
            .await?;
        let pin = pin.map_err(|source| EngineError::Store { layer: self.layer.blob, source })?;
        drop(built.claims);
        seconds.commit = elapsed(started);
        let read = self.counters.fetched.load(Ordering::Relaxed);
        let report = LayerReport {
            blob: self.layer.blob,
            diff_id: self.layer.diff_id,
            mode: built.mode,
            reason: built.reason,
            bytes_total: self.layer.size,
            bytes_fetched: if from_here { 0 } else { read },
            bytes_reused: built.bytes_reused,
            files: number,
            files_reused: built.files_reused,
            plan: built.plan,
            files_from_host: built.from_host.0,
            bytes_from_host: built.from_host.1,
            seconds,
            pin,
        };
        tracing::info!(
            layer = %report.blob, diff_id = %report.diff_id, mode = ?report.mode,
            from_content_store = if from_here { read } else { 0 }, fetched = report.bytes_fetched,
            reused = report.bytes_reused, files = report.files, files_reused = report.files_reused,
            files_from_host = report.files_from_host, from_host = report.bytes_from_host,
            plan = report.seconds.metadata + report.seconds.plan, transfer = report.seconds.transfer, commit = report.seconds.commit, "layer ready"
        );
        Ok(report)
    }

    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let layer = self.layer.blob;
        tokio::task::spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => {
                EngineError::Panic { layer, doing: self.doing(), text: crate::panics::text(&*panic) }
            }
            Err(error) => EngineError::Stopped { layer, reason: format!("its thread ended early ({error})") },
        })
    }
}

fn elapsed(since: Instant) -> f64 {
    Duration::as_secs_f64(&since.elapsed())
}

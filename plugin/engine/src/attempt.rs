//! One attempt at a layer's tree: from ranges and what the node has, or from the whole blob.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chunked_assemble::{Extracted, Extractor, Known, Pool, ReadAhead, Settings, Stored};
use chunked_core::{Digest, ObjectDigest};
use chunked_fetch::Segments;
use chunked_plan::Summary;
use chunked_store::{Flavour, NewChunk, Store};
use chunked_toc::Annotations;

use crate::blob::{Keeping, LayerBlob};
use crate::chunked::{Build, Check, ChunkedError, Supply};
use crate::error::{EngineError, Fault};
use crate::in_flight::{Claims, Patience};
use crate::job::Job;
use crate::links::{Commits, ImageLinks, Linked};
use crate::memory::LayerMemory;
use crate::metadata::Whole;
use crate::opening::{Opened, Planned};
use crate::plain;
use crate::repeats::Repeats;
use crate::report::{Mode, Phase, Seconds};
use crate::reuse::{Donors, PlannedDonors, Policy, StoreKnown, Taken};
use crate::setback::Setback;
use crate::source::{BlobReader, Source};
use crate::spare::BlobSpare;
use crate::tree::Tree;

/// Attempts with donors before the layer is pulled without any: one that trusts them, then some that read them all
/// before they plan.
const ATTEMPTS: usize = 4;

/// A layer's tree in staging, not yet compared with the config.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) tree: Tree,
    pub(crate) extracted: Extracted,
    pub(crate) mode: Mode,
    /// Why it came whole, if it did.
    pub(crate) reason: Option<String>,
    /// Of a layer by ranges.
    pub(crate) ranges: Option<ByRanges>,
}

impl Built {
    /// Ends it: nothing of it is kept, not even for another try. Blocks on the disk.
    pub(crate) fn refuse(self) {
        self.tree.spoil();
        if let Some(ranges) = self.ranges {
            ranges.claims.end();
        }
        self.tree.end();
    }
}

/// What is to be told of a layer that came by ranges.
#[derive(Debug)]
pub(crate) struct ByRanges {
    pub(crate) plan: Summary,
    pub(crate) files_reused: u64,
    pub(crate) bytes_reused: u64,
    /// The same by where they came from.
    pub(crate) taken: Taken,
    /// Large files in chunks, for the index.
    pub(crate) opened: Arc<Opened>,
    /// Given back when the layer can be found in the store.
    pub(crate) claims: Arc<Claims>,
    check: Check,
}

impl ByRanges {
    /// Chunks of its files, for the index.
    pub(crate) fn chunks(&self, stored: &[Stored]) -> Vec<NewChunk> {
        crate::chunks::of(&self.opened.index.toc, stored, self.check == Check::All)
    }
}

/// What the thread that builds a tree needs to begin.
struct Ground {
    pool: Arc<Pool>,
    /// Whose turn at the pool it is.
    registry: Arc<str>,
    budget: Arc<chunked_assemble::Budget>,
    layer: ObjectDigest,
    media_type: String,
    /// DiffID of the layer.
    diff_id: Digest,
    flavour: Flavour,
    /// DiffIDs of the image's layers, lowest first.
    image: Vec<Digest>,
    linked: Arc<Linked>,
    commits: Arc<Commits>,
}

impl Job {
    /// The layer by ranges.
    pub(crate) async fn by_ranges(
        &self,
        memory: &LayerMemory,
        blob: &LayerBlob,
        annotations: Annotations,
        seconds: &mut Seconds,
    ) -> Result<Built, Setback> {
        let started = Instant::now();
        let opened = self.open(memory, blob, annotations).await;
        seconds.metadata = elapsed(started);
        let opened = opened?;
        self.ask_for_several(blob);
        let mut policy = Policy::default();
        for attempt in 0..=ATTEMPTS {
            policy.off = attempt == ATTEMPTS;
            let started = Instant::now();
            let planned = self.plan(blob, &opened, policy).await?;
            seconds.plan += elapsed(started);
            let summary = planned.plan.summary();
            let (layer, origin) = (&self.layer.blob, blob.origin());
            tracing::info!(%layer, attempt, plan = %summary, decision = %summary.decision, origin, "planned");
            let started = Instant::now();
            let result = self.attempt(memory, blob, &opened, planned, policy).await;
            seconds.transfer += elapsed(started);
            match result {
                Err(Setback::Again { verify }) => policy.verify |= verify,
                Err(Setback::Failed(error))
                    if error.is_about_the_toc()
                        || policy.verify && matches!(error.fault(), Fault::Wrong(_)) =>
                {
                    self.drop_attempts().await?;
                    return Err(error.into());
                }
                done => return done,
            }
        }
        Err(Setback::whole("its donors kept failing"))
    }

    async fn attempt(
        &self,
        memory: &LayerMemory,
        blob: &LayerBlob,
        opened: &Arc<Opened>,
        Planned { plan, claims }: Planned,
        policy: Policy,
    ) -> Result<Built, Setback> {
        self.counters.enter(Phase::Transferring);
        self.counters.wanted.store(plan.fetch_bytes, Ordering::Relaxed);
        self.counters.reused.store(plan.reused_bytes, Ordering::Relaxed);
        let options = &self.inner.options.fetch;
        let segments = blob.fetch(plan.ranges.clone(), memory.fetch(options));
        let ground = self.ground(memory);
        let begun = self.store(move |store| ground.begin(store, None, true).map(|begun| (ground, begun)));
        let (ground, (tree, extractor)) = begun.await??;
        // If this job is given up, its thread ends, too.
        let (_stop, _cancel) = (segments.stop_on_drop(), extractor.cancel_on_drop());
        let (_patience, plan) = (Patience::watch(&plan.sources), Arc::new(plan));
        let refetch = Arc::new(BlobSpare {
            layer: self.layer.blob,
            opened: Arc::clone(opened),
            blob: blob.clone(),
            options: memory.spare(options),
            counters: Arc::clone(&self.counters),
            runtime: tokio::runtime::Handle::current(),
            asked_again: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
            reading: Arc::default(),
        });
        let _end = refetch.end_on_drop();
        let opened = Arc::clone(opened);
        let (source, claims) = (Source::new(segments, Arc::clone(&self.counters)), Arc::new(claims));
        let work = move |store: &Arc<Store>| {
            let donors = Arc::new(ground.donors(store, policy.verify));
            let ahead = (plan.reused_files > 0).then(|| {
                let (plan, donors) = (Arc::clone(&plan), Arc::clone(&donors));
                ReadAhead::start(Arc::new(PlannedDonors { plan, donors }))
            });
            let repeats = Repeats::of(&plan);
            let check = if policy.verify { Check::All } else { Check::Files };
            let unproven = check.leaves_out(&opened.index.toc, &plan);
            let claims_of_build = Arc::clone(&claims);
            let supply = Supply { source, donors, claims: claims_of_build, refetch, repeats, check, ahead };
            let build = Build { opened: &opened, plan: &plan, extractor, supply };
            let extracted = ground.judge(build.run(), &tree, unproven);
            let extracted = match extracted {
                Ok(extracted) => extracted,
                Err(setback) => {
                    claims.end();
                    tree.end();
                    return Err(setback);
                }
            };
            let ranges = ByRanges {
                plan: plan.summary(),
                files_reused: plan.reused_files,
                bytes_reused: plan.reused_bytes,
                taken: crate::reuse::taken(&opened.index.toc, &plan),
                opened,
                claims,
                check,
            };
            Ok(Built { tree, extracted, mode: Mode::Chunked, reason: None, ranges: Some(ranges) })
        };
        self.store(work).await?
    }

    /// The layer from its whole blob.
    pub(crate) async fn whole(
        &self,
        memory: &LayerMemory,
        blob: &LayerBlob,
        Whole { reason, segments }: Whole,
        hashing: bool,
        seconds: &mut Seconds,
    ) -> Result<Built, EngineError> {
        self.counters.enter(Phase::Transferring);
        self.counters.wanted.store(self.layer.size, Ordering::Relaxed);
        let started = Instant::now();
        let options = memory.fetch(&self.inner.options.fetch);
        let segments: Segments = segments.unwrap_or_else(|| blob.fetch_all(&options));
        let _stop = segments.stop_on_drop();
        let source = Source::new(segments, Arc::clone(&self.counters));
        let reader = if hashing {
            BlobReader::hashing(source, self.layer.blob.algorithm())
        } else {
            BlobReader::new(source)
        };
        let keeping = self.keeping(blob);
        let (keeper, kept) = keeping.map(|Keeping { bytes, done }| (bytes, done)).unzip();
        let reader = reader.kept_by(keeper);
        let ground = self.ground(memory);
        let begun = self.store(move |store| {
            let known = StoreKnown { donors: ground.donors(store, false) };
            ground.begin(store, Some(Arc::new(known)), false).map(|begun| (ground, begun))
        });
        let (ground, (tree, extractor)) = begun.await??;
        let _cancel = extractor.cancel_on_drop();
        let work = move || match ground.unpack(reader, extractor) {
            Ok(extracted) => Ok(Built { tree, extracted, mode: Mode::Whole, reason, ranges: None }),
            Err(error) => {
                tree.end();
                Err(error)
            }
        };
        let built = self.blocking(work).await?;
        if let Some(kept) = kept {
            // Who pushes the image next finds the blob. The sender's end is the signal.
            let _ = kept.await;
        }
        seconds.transfer += elapsed(started);
        built
    }

    /// Begins to keep the blob, if somebody wants it and it comes from a registry.
    fn keeping(&self, blob: &LayerBlob) -> Option<Keeping> {
        let keeper = self.places.keeper.as_ref().filter(|_| !blob.is_here())?;
        let index = self.image.layers.iter().position(|layer| *layer == self.layer)?;
        keeper.begin(&self.image, index)
    }

    fn ground(&self, memory: &LayerMemory) -> Ground {
        Ground {
            pool: Arc::clone(&self.inner.pool),
            registry: self.registry(),
            budget: Arc::clone(&memory.budget),
            layer: self.layer.blob,
            media_type: self.layer.media_type.clone(),
            diff_id: self.layer.diff_id,
            flavour: self.flavour,
            image: self.image.layers.iter().map(|layer| layer.diff_id).collect(),
            linked: Arc::clone(&self.pull.linked),
            commits: Arc::clone(&self.inner.commits),
        }
    }
}

impl Ground {
    /// An empty tree, and what fills it. `resumable`: a later try can use what is left of it.
    fn begin(
        &self,
        store: &Store,
        known: Option<Arc<dyn Known>>,
        resumable: bool,
    ) -> Result<(Tree, Extractor), EngineError> {
        let layer = self.layer;
        let staging = if resumable { store.stage_resumable(self.diff_id) } else { store.stage() };
        let tree = Tree::new(staging.map_err(|source| EngineError::Store { layer, source })?);
        let settings = Settings {
            pool: Arc::clone(&self.pool),
            owner: Arc::clone(&self.registry),
            budget: Arc::clone(&self.budget),
            base: self.flavour == Flavour::Base,
            known,
            lease: Some(tree.lease()),
        };
        let extractor = Extractor::new(tree.fs(), settings);
        Ok((tree, extractor.map_err(|source| EngineError::Assemble { layer, source })?))
    }

    /// Opens donors for this layer.
    fn donors(&self, store: &Arc<Store>, check: bool) -> Donors {
        let (commits, linked) = (Arc::clone(&self.commits), Arc::clone(&self.linked));
        let links = ImageLinks::new(Arc::clone(store), commits, self.image.iter().copied(), linked);
        Donors::new(Arc::clone(store), Arc::new(links), check)
    }

    /// Runs a whole blob through `extractor`. What cannot be unpacked is compared with the blob's digest, if the reader
    /// hashes.
    fn unpack(&self, mut reader: BlobReader, extractor: Extractor) -> Result<Extracted, EngineError> {
        let layer = self.layer;
        let failed = match plain::run(&mut reader, &self.media_type, extractor, &self.budget) {
            Ok(extracted) => {
                reader.hand_on_rest();
                return Ok(extracted);
            }
            Err(error) => error.of(layer),
        };
        if !matches!(failed.fault(), Fault::Reader) || failed.is_settled() {
            return Err(failed);
        }
        match reader.digest().map_err(|source| EngineError::Fetch { layer, source })? {
            None => Err(failed),
            Some(found) if found == layer => Err(failed.proven()),
            Some(found) => Err(EngineError::BlobDigest { layer, found }),
        }
    }

    /// What follows from how a build ended. `unproven`: local files were used that nobody read beforehand, or pieces that
    /// were not compared with their digests. Another try takes from the tree what hashes right.
    fn judge(
        &self,
        result: Result<Extracted, ChunkedError>,
        tree: &Tree,
        unproven: bool,
    ) -> Result<Extracted, Setback> {
        match result {
            Ok(extracted) if extracted.diff_id != self.diff_id && unproven => {
                tracing::warn!(
                    layer = %self.layer,
                    "DiffID mismatch; trying again with each file and piece checked"
                );
                Err(Setback::Again { verify: true })
            }
            Ok(extracted) => Ok(extracted),
            Err(error) => {
                // A tree that the network, another job, a full disk or a stop left unfinished serves the next try. After a
                // failed proof nothing does.
                if error.is_full() {
                    tree.settle();
                } else if !error.leaves_a_good_tree() {
                    tree.spoil();
                }
                Err(Setback::of_ranges(self.layer, error))
            }
        }
    }
}

pub(crate) fn elapsed(since: Instant) -> f64 {
    Duration::as_secs_f64(&since.elapsed())
}

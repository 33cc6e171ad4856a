//! What is counted when it happens.

use std::fmt;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::page::{PREFIX, Page};
use crate::readings::Readings;

/// How a layer comes: it was in the store, by ranges of its blob, or as the whole blob.
pub const MODES: [&str; 3] = ["present", "chunked", "whole"];
/// What the node has instead of bytes of a blob.
pub const SOURCES: [&str; 6] = ["layer", "chunk", "in-flight", "leftover", "host", "repeat"];
/// Stages of a layer, and before them `resolve`: which image a layer is of.
pub const STAGES: [&str; 6] = ["resolve", "waiting", "metadata", "plan", "transfer", "commit"];
/// How the job of a layer ends without a layer: it failed, or nobody wanted it any more.
pub const OUTCOMES: [&str; 2] = ["failed", "abandoned"];
/// How the pull of an image ends.
pub const PULLS: [&str; 4] = ["complete", "handed-over", "failed", "abandoned"];

/// Upper bounds in seconds for what takes as long as a download.
const LONG: [f64; 14] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1200.0];
/// Upper bounds in seconds for calls, most of which are answered from a database.
const CALLS: [f64; 13] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

type One = [(&'static str, &'static str); 1];
type Two = [(&'static str, &'static str); 2];
type Histograms = Family<One, Histogram, fn() -> Histogram>;

/// A layer that is ready.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    /// One of [`MODES`].
    pub mode: &'static str,
    /// Bytes of its blob.
    pub blob: u64,
    /// Bytes received from a registry.
    pub fetched: u64,
    /// Of these, bytes in place of something local that was of no use.
    pub fetched_again: u64,
    /// Bytes read from containerd's content store.
    pub from_content_store: u64,
    /// Bytes that were fetched although the node has them, because of the reuse policy.
    pub withheld: u64,
    /// Bytes of the blob that were not fetched, parallel to [`SOURCES`].
    pub reused: [u64; SOURCES.len()],
    /// Seconds of its stages, by names of [`STAGES`].
    pub seconds: Vec<(&'static str, f64)>,
}

/// Everything that is counted, and the page that shows it.
pub struct Metrics {
    registry: Registry,
    /// What the page shows besides. Kept as long as a page is written.
    now: Mutex<()>,
    page: Page,
    layers: Family<Two, Counter>,
    blob: Counter,
    fetched: Family<One, Counter>,
    fetched_again: Counter,
    from_content_store: Counter,
    withheld: Counter,
    reused: Family<One, Counter>,
    stages: Histograms,
    pulls: Family<One, Counter>,
    pull_seconds: Histogram,
    calls: Family<Two, Counter>,
    call_seconds: Histograms,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let page = Page::default();
        let mut metrics = Self {
            registry: Registry::default(),
            now: Mutex::default(),
            page: page.clone(),
            layers: Family::default(),
            blob: Counter::default(),
            fetched: Family::default(),
            fetched_again: Counter::default(),
            from_content_store: Counter::default(),
            withheld: Counter::default(),
            reused: Family::default(),
            stages: Family::new_with_constructor(|| Histogram::new(LONG)),
            pulls: Family::default(),
            pull_seconds: Histogram::new(LONG),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(|| Histogram::new(CALLS)),
        };
        metrics.register();
        metrics.begin_at_zero();
        metrics.registry.register_collector(Box::new(page));
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let to = self.registry.sub_registry_with_prefix(PREFIX);
        to.register("layers", "Layers asked for, by how they came and how that ended", self.layers.clone());
        to.register(
            "layer_blob_bytes",
            "Bytes of the blobs of layers that were made, fetched or not",
            self.blob.clone(),
        );
        to.register(
            "layer_fetched_bytes",
            "Bytes received from registries for layers that are ready, TOC and tar-split included",
            self.fetched.clone(),
        );
        to.register(
            "layer_fetched_again_bytes",
            "Part of these: bytes in place of local files that could not be used, or of wrong bytes",
            self.fetched_again.clone(),
        );
        to.register(
            "layer_content_store_bytes",
            "Bytes read from containerd's content store instead of a registry",
            self.from_content_store.clone(),
        );
        to.register(
            "layer_withheld_bytes",
            "Bytes of files that were fetched although the node has them, because [reuse] does not allow their use",
            self.withheld.clone(),
        );
        to.register(
            "layer_reused_bytes",
            "Bytes of blobs that were not fetched, by what the node had instead",
            self.reused.clone(),
        );
        to.register("stage_seconds", "Time that the stages of layers took", self.stages.clone());
        to.register("pulls", "Images pulled, by how that ended", self.pulls.clone());
        to.register(
            "pull_seconds",
            "Time from the first layer that was wanted of an image to the last that was ready",
            self.pull_seconds.clone(),
        );
        to.register("grpc_calls", "Calls on the daemon's socket, by method and answer", self.calls.clone());
        to.register(
            "grpc_seconds",
            "Time to the answer of calls on the daemon's socket; of streams to its beginning",
            self.call_seconds.clone(),
        );
    }

    /// Makes what has few labels show from the beginning, so that the first event is seen as a change.
    fn begin_at_zero(&self) {
        for mode in MODES {
            drop(self.layers.get_or_create(&layer_labels(mode, "ready")));
        }
        for outcome in OUTCOMES {
            drop(self.layers.get_or_create(&layer_labels("none", outcome)));
        }
        for mode in ["chunked", "whole"] {
            drop(self.fetched.get_or_create(&[("mode", mode)]));
        }
        SOURCES.into_iter().for_each(|source| drop(self.reused.get_or_create(&[("source", source)])));
        STAGES.into_iter().for_each(|stage| drop(self.stages.get_or_create(&[("stage", stage)])));
        PULLS.into_iter().for_each(|outcome| drop(self.pulls.get_or_create(&[("outcome", outcome)])));
    }

    /// Counts a layer that is ready.
    pub fn layer_ready(&self, layer: &Layer) {
        self.layers.get_or_create(&layer_labels(layer.mode, "ready")).inc();
        if layer.fetched > 0 {
            self.fetched.get_or_create(&[("mode", layer.mode)]).inc_by(layer.fetched);
        }
        if layer.mode == "present" {
            return;
        }
        self.blob.inc_by(layer.blob);
        self.fetched_again.inc_by(layer.fetched_again);
        self.from_content_store.inc_by(layer.from_content_store);
        self.withheld.inc_by(layer.withheld);
        for (source, bytes) in SOURCES.into_iter().zip(layer.reused) {
            self.reused.get_or_create(&[("source", source)]).inc_by(bytes);
        }
        layer.seconds.iter().for_each(|(stage, seconds)| self.stage(stage, *seconds));
    }

    /// Counts a layer that is not: `outcome` is one of [`OUTCOMES`].
    pub fn layer_not_ready(&self, outcome: &'static str) {
        self.layers.get_or_create(&layer_labels("none", outcome)).inc();
    }

    /// Notes how long a stage took, one of [`STAGES`].
    pub fn stage(&self, stage: &'static str, seconds: f64) {
        self.stages.get_or_create(&[("stage", stage)]).observe(seconds);
    }

    /// Counts the pull of an image: `outcome` is one of [`PULLS`].
    pub fn pull(&self, outcome: &'static str, seconds: f64) {
        self.pulls.get_or_create(&[("outcome", outcome)]).inc();
        if outcome == "complete" {
            self.pull_seconds.observe(seconds);
        }
    }

    /// Counts a call that was answered.
    pub fn call(&self, method: &'static str, code: &'static str, seconds: f64) {
        self.calls.get_or_create(&[("method", method), ("code", code)]).inc();
        self.call_seconds.get_or_create(&[("method", method)]).observe(seconds);
    }

    /// The page: what was counted, and what `now` says.
    ///
    /// # Errors
    /// Never, as far as is known: writing to a string does not fail.
    pub fn text(&self, now: Readings) -> Result<String, fmt::Error> {
        // One page at a time, so that each shows its own readings.
        let _one_page = self.now.lock();
        self.page.show(now);
        let mut text = String::with_capacity(32 << 10);
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn layer_labels(mode: &'static str, outcome: &'static str) -> Two {
    [("mode", mode), ("outcome", outcome)]
}

//! Counts layers and pulls, and remembers them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chunked_engine::{End, Fault, LayerReport, Mode, Observer, Reused};
use chunked_history::{History, LayerRecord, LayerSeconds, Outcome, PullRecord, ReusedBytes, Start, Way};
use chunked_metrics::{Layer as Counted, Metrics};
use chunked_registry::{Image, Layer};
use tokio::runtime::Handle;

/// See the module.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) metrics: Metrics,
    pub(crate) history: Arc<History>,
    runtime: Handle,
}

impl Watcher {
    /// One that remembers the last `pulls` pulls below `root`. Must be called inside a tokio runtime; blocks on the disk.
    pub(crate) fn open(root: &Path, pulls: usize) -> Arc<Self> {
        let history = Arc::new(History::open(&root.join(History::FILE), pulls));
        Arc::new(Self { metrics: Metrics::default(), history, runtime: Handle::current() })
    }

    /// A layer of `image` is asked for by `client`. To find the image took `resolve`.
    pub(crate) fn asked(&self, image: &Image, client: String, resolve: Duration) {
        let resolve_seconds = resolve.as_secs_f64();
        self.metrics.stage("resolve", resolve_seconds);
        if image.layers.is_empty() {
            // Nobody will ask for its last one.
            return;
        }
        let layer = |layer: &Layer| (layer.blob.to_string(), layer.diff_id.to_string(), layer.size);
        let given_up = self.history.begin(Start {
            image: image.reference.to_string(),
            manifest: image.manifest_digest.to_string(),
            client,
            resolve_seconds,
            layers: image.layers.iter().map(layer).collect(),
        });
        self.close(given_up);
    }

    /// The layer `index` of `image` is ready, and whoever asked is told. `from` is the image that it was pulled for.
    pub(crate) fn answered(&self, image: &Image, index: usize, (from, report): (&Image, &LayerReport)) {
        let manifest = image.manifest_digest.to_string();
        self.came(&manifest, &record(from, report));
        self.close(self.history.answered(&manifest, index));
    }

    /// The layer `index` of `image` was here, above one that containerd downloads.
    pub(crate) fn was_here(&self, image: &Image, index: usize) {
        let manifest = image.manifest_digest.to_string();
        if let Some(layer) = image.layers.get(index) {
            let (blob, diff_id) = (layer.blob.to_string(), layer.diff_id.to_string());
            self.came(&manifest, &LayerRecord { blob, diff_id, way: Way::Present, ..LayerRecord::default() });
        }
        self.close(self.history.answered(&manifest, index));
    }

    /// containerd downloads the layer `index` of `image`.
    pub(crate) fn handed_over(&self, image: &Image, index: usize, reason: &str) {
        self.close(self.history.handed_over(&image.manifest_digest.to_string(), index, reason));
    }

    /// The pull of `image` failed, with its layer `index` if that is known.
    pub(crate) fn failed(&self, image: &Image, index: Option<usize>, reason: &str) {
        self.close(self.history.failed(&image.manifest_digest.to_string(), index, reason));
    }

    /// Ends pulls of which nobody asked for more for `idle`, unless `is_busy`.
    pub(crate) fn sweep(&self, idle: Duration, is_busy: impl Fn(&PullRecord) -> bool) {
        self.history.sweep(idle, is_busy).into_iter().for_each(|pull| self.close(Some(pull)));
    }

    fn came(&self, manifest: &str, came: &LayerRecord) {
        let news = self.history.layer(manifest, came);
        // Layers that were made are counted when their jobs end.
        if news && came.way == Way::Present {
            self.metrics.layer_ready(&Counted { mode: "present", ..Counted::default() });
        }
    }

    fn close(&self, pull: Option<PullRecord>) {
        let Some(pull) = pull else { return };
        if pull.outcome != Outcome::Running {
            self.metrics.pull(pull.outcome.name(), pull.seconds());
        }
        let history = Arc::clone(&self.history);
        self.runtime.spawn_blocking(move || history.keep(&pull));
    }
}

impl Observer for Watcher {
    fn ended(&self, image: &Image, layer: &Layer, end: &End) {
        let report = match end {
            End::Ready(report) => report,
            End::Failed(error) if !matches!(error.fault(), Fault::Stopped) => {
                self.metrics.layer_not_ready("failed");
                return;
            }
            End::Failed(_) | End::Abandoned => {
                tracing::debug!(layer = %layer.blob, "nobody waited for this layer to its end");
                self.metrics.layer_not_ready("abandoned");
                return;
            }
        };
        if report.mode != Mode::Present {
            self.metrics.layer_ready(&counted(report));
        }
        self.came(&image.manifest_digest.to_string(), &record(image, report));
    }
}

fn counted(report: &LayerReport) -> Counted {
    let Reused { layer, chunk, in_flight, leftover, host, repeat } = report.reused;
    let seconds = &report.seconds;
    Counted {
        mode: mode(report.mode).name(),
        blob: report.bytes_total,
        fetched: report.bytes_fetched,
        fetched_again: report.bytes_fetched_again,
        from_content_store: report.bytes_from_content_store,
        withheld: report.bytes_withheld.unwrap_or(0),
        reused: [layer, chunk, in_flight, leftover, host, repeat],
        seconds: vec![
            ("waiting", seconds.waiting),
            ("metadata", seconds.metadata),
            ("plan", seconds.plan),
            ("transfer", seconds.transfer),
            ("commit", seconds.commit),
        ],
    }
}

fn mode(mode: Mode) -> Way {
    match mode {
        Mode::Present => Way::Present,
        Mode::Chunked => Way::Chunked,
        Mode::Whole => Way::Whole,
    }
}

/// The record of a layer of `image`.
fn record(image: &Image, report: &LayerReport) -> LayerRecord {
    let (blob, diff_id) = (report.blob.to_string(), report.diff_id.to_string());
    let shared = report.made_for != image.manifest_digest && report.mode != Mode::Present;
    if shared {
        let reason = Some("another image's pull fetched it at the same time".to_owned());
        return LayerRecord { blob, diff_id, way: Way::Shared, reason, ..LayerRecord::default() };
    }
    let Reused { layer, chunk, in_flight, leftover, host, repeat } = report.reused;
    let seconds = &report.seconds;
    LayerRecord {
        blob,
        diff_id,
        size: report.bytes_total,
        way: mode(report.mode),
        reason: report.reason.clone(),
        fetched: report.bytes_fetched,
        fetched_again: report.bytes_fetched_again,
        from_content_store: report.bytes_from_content_store,
        reused: ReusedBytes { layer, chunk, in_flight, leftover, host, repeat },
        withheld: report.bytes_withheld,
        files: report.files,
        files_reused: report.files_reused,
        tree_bytes: report.tree_bytes,
        tree_bytes_shared: report.tree_bytes_shared,
        seconds: LayerSeconds {
            waiting: seconds.waiting,
            metadata: seconds.metadata,
            plan: seconds.plan,
            transfer: seconds.transfer,
            commit: seconds.commit,
        },
    }
}

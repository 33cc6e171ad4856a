//! From a proven tree to a layer in the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use chunked_store::{NewLayer, Usage};

use crate::attempt::{Built, ByRanges, elapsed};
use crate::error::EngineError;
use crate::job::Job;
use crate::report::{LayerReport, Phase, Seconds};
use crate::reuse::Taken;

impl Job {
    /// Commits `built`, whose DiffID is the layer's.
    pub(crate) async fn commit(
        &self,
        built: Built,
        from_here: bool,
        mut seconds: Seconds,
    ) -> Result<LayerReport, EngineError> {
        self.counters.enter(Phase::Committing);
        let started = Instant::now();
        let Built { tree, extracted, mode, reason, ranges } = built;
        let (diff_id, flavour) = (self.layer.diff_id, self.flavour);
        let (tree_bytes, tree_bytes_shared) = (extracted.bytes, extracted.shared_bytes);
        let (layer, origin) =
            (self.layer.blob, (!self.places.no_registry).then(|| self.image.reference.host.clone()));
        let commits = Arc::clone(&self.inner.commits);
        let work = move |store: &Arc<chunked_store::Store>| {
            let lost = || EngineError::Stopped { layer, reason: "its tree is gone".to_owned() };
            let staging = tree.take().ok_or_else(lost)?;
            let stored = extracted.files;
            let number = stored.len() as u64;
            let new = NewLayer {
                diff_id,
                flavour,
                has_whiteouts: extracted.has_whiteouts,
                implied: extracted.implied,
                shared: Usage { bytes: extracted.shared_bytes, inodes: extracted.shared_inodes },
                chunks: ranges.as_ref().map(|ranges| ranges.chunks(&stored)),
                files: crate::chunks::files(stored),
                origin,
            };
            let pin = commits.count(|| store.commit_layer(staging, new));
            let pin = pin.map_err(|source| EngineError::Store { layer, source })?;
            if let Err(error) = store.drop_partials(Some(&diff_id)) {
                tracing::debug!(%error, "what earlier tries left stays for a day");
            }
            // The claims end here: now the layer can be found.
            let told = ranges.map(|ranges| {
                let ByRanges { plan, files_reused, bytes_reused, taken, .. } = ranges;
                (plan, files_reused, bytes_reused, taken)
            });
            Ok((pin, number, told))
        };
        let (pin, files, told) = self.store(work).await??;
        self.pull.keep(pin.clone());
        seconds.commit = elapsed(started);
        let (plan, files_reused, bytes_reused, taken) = match told {
            Some((plan, files, bytes, taken)) => (Some(plan), files, bytes, taken),
            None => (None, 0, 0, Taken::default()),
        };
        let counters = &self.counters;
        let read = counters.fetched.load(Ordering::Relaxed);
        seconds.waiting = Duration::from_micros(counters.waited.load(Ordering::Relaxed)).as_secs_f64();
        let report = LayerReport {
            blob: self.layer.blob,
            diff_id,
            mode,
            reason,
            bytes_total: self.layer.size,
            bytes_fetched: if from_here { 0 } else { read },
            bytes_reused,
            reused: taken.bytes,
            bytes_fetched_again: if from_here { 0 } else { counters.again.load(Ordering::Relaxed) },
            bytes_from_content_store: if from_here { read } else { 0 },
            bytes_withheld: counters.withheld.get().copied(),
            tree_bytes,
            tree_bytes_shared,
            made_for: self.image.manifest_digest,
            files,
            files_reused,
            plan,
            files_from_host: taken.host_files,
            bytes_from_host: taken.bytes.host,
            seconds,
            pin,
        };
        tracing::info!(
            layer = %report.blob, diff_id = %report.diff_id, mode = ?report.mode,
            from_content_store = report.bytes_from_content_store, fetched = report.bytes_fetched,
            reused = report.bytes_reused, files = report.files, files_reused = report.files_reused,
            files_from_host = report.files_from_host, from_host = report.bytes_from_host,
            plan = report.seconds.metadata + report.seconds.plan, transfer = report.seconds.transfer, commit = report.seconds.commit, "layer ready"
        );
        Ok(report)
    }
}

//! The store's answers in the control API's words: the daemon sends them, and commands that open the store
//! themselves use the same, so that both print alike.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chunked_engine::{JobStatus, Phase};
use chunked_proto::chunked::control::v1 as api;
use chunked_store::{
    Cleaned, Counts, Held, LayerInfo, Problem, Prune, Repairer, Store, StoreError, Verified, VerifyOptions,
    Watch,
};
use tokio::sync::mpsc;

/// Time between two reports of progress.
const TICK: Duration = Duration::from_millis(200);

pub(crate) fn counts(counts: Counts) -> api::StoreStatus {
    api::StoreStatus {
        layers: counts.layers,
        layer_bytes: counts.layer_usage.bytes,
        layer_inodes: counts.layer_usage.inodes,
        unused_layers: counts.unused_layers,
        snapshots: counts.snapshots,
        indexed_files: counts.indexed_files,
        indexed_chunks: counts.indexed_chunks,
        unused_bytes: counts.unused_usage.bytes,
        unused_inodes: counts.unused_usage.inodes,
        partial: Some(held(counts.partial)),
        trash: Some(held(counts.trash)),
        orphans: Some(held(counts.orphans)),
    }
}

fn held(held: Held) -> api::Held {
    api::Held { number: held.number, bytes: held.usage.bytes, inodes: held.usage.inodes }
}

pub(crate) fn held_as_json(held: Option<api::Held>) -> serde_json::Value {
    let held = held.unwrap_or_default();
    serde_json::json!({ "number": held.number, "bytes": held.bytes, "inodes": held.inodes })
}

/// What the store holds besides layers, for a person; nothing where there is nothing.
pub(crate) fn besides(status: &api::StoreStatus) -> Vec<String> {
    let held = [
        (&status.partial, "trees of broken pulls"),
        (&status.trash, "directories that wait for deletion"),
        (&status.orphans, "directories that a lost state database left, kept for a week"),
    ];
    let line = |(held, what): (&Option<api::Held>, &str)| {
        let held = held.filter(|held| held.number > 0)?;
        let bytes = indicatif::HumanBytes(held.bytes);
        Some(format!("{} {what} ({bytes}, {} inodes)", held.number, held.inodes))
    };
    held.into_iter().filter_map(line).collect()
}

pub(crate) fn what(request: api::PruneRequest) -> Prune {
    match request.what {
        Some(api::prune_request::What::All(true)) => Prune::All,
        Some(api::prune_request::What::ToBytes(bytes)) => Prune::To(bytes),
        Some(api::prune_request::What::All(false)) | None => Prune::Quota,
    }
}

pub(crate) fn prune(store: &Store, what: Prune) -> Result<api::PruneResponse, StoreError> {
    let Cleaned { layers, bytes, inodes, partial, orphans, directories, freed } = store.prune(what)?;
    Ok(api::PruneResponse {
        layers: layers as u64,
        bytes,
        inodes,
        directories: directories as u64,
        left: Some(counts(store.counts()?)),
        partial: partial as u64,
        freed_bytes: freed,
        orphans: orphans as u64,
    })
}

pub(crate) fn layers(store: &Store) -> Result<api::StoreLayersResponse, StoreError> {
    let (layers, reclaimable) = (store.layers()?, store.reclaimable()?);
    Ok(api::StoreLayersResponse {
        layers: layers.into_iter().map(layer).collect(),
        store: Some(counts(store.counts()?)),
        reclaimable_bytes: reclaimable.bytes,
        reclaimable_inodes: reclaimable.inodes,
    })
}

fn layer(layer: LayerInfo) -> api::StoreLayer {
    let time = |nanos: i64| {
        let since = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
        Some((SystemTime::UNIX_EPOCH + since).into())
    };
    api::StoreLayer {
        id: layer.id.get(),
        diff_id: layer.diff_id.to_string(),
        bytes: layer.usage.bytes,
        inodes: layer.usage.inodes,
        own_bytes: layer.own.bytes,
        own_inodes: layer.own.inodes,
        created_at: time(layer.created),
        used_at: time(layer.used),
        snapshots: layer.snapshots,
        pinned: layer.pinned,
        damaged: layer.damaged,
        origins: layer.origins,
    }
}

/// Starts a verification, which ends when the receiver is dropped. `repairer` pulls damaged layers again.
pub(crate) fn verify(
    store: &Arc<Store>,
    request: api::StoreVerifyRequest,
    mut repairer: Option<Box<dyn Repairer + Send>>,
) -> mpsc::Receiver<Result<api::StoreVerifyEvent, StoreError>> {
    let (sender, receiver) = mpsc::channel(64);
    let store = Arc::clone(store);
    tokio::task::spawn_blocking(move || {
        let options = VerifyOptions { contents: request.contents, repair: request.repair };
        let mut events = Events { sender, told: Instant::now() };
        let repairer = repairer.as_deref_mut().map(|repairer| repairer as &mut dyn Repairer);
        let last = store.verify_with(options, &mut events, repairer);
        let last = last.map(|done| event(api::store_verify_event::Event::Done(verified(&done))));
        // Nobody listens any more: then nobody wants to know.
        let _ = events.sender.blocking_send(last);
    });
    receiver
}

struct Events {
    sender: mpsc::Sender<Result<api::StoreVerifyEvent, StoreError>>,
    told: Instant,
}

impl Watch for Events {
    fn progress(&mut self, so_far: &Verified) -> bool {
        if self.told.elapsed() < TICK {
            return !self.sender.is_closed();
        }
        self.told = Instant::now();
        let progress = api::store_verify_event::Event::Progress(verified(so_far));
        self.sender.blocking_send(Ok(event(progress))).is_ok()
    }

    fn problem(&mut self, problem: &Problem) -> bool {
        let problem = api::StoreProblem {
            id: problem.id,
            what: problem.what.clone(),
            text: problem.text.clone(),
            repaired: problem.repaired,
        };
        self.sender.blocking_send(Ok(event(api::store_verify_event::Event::Problem(problem)))).is_ok()
    }
}

fn event(event: api::store_verify_event::Event) -> api::StoreVerifyEvent {
    api::StoreVerifyEvent { event: Some(event) }
}

pub(crate) fn verified(verified: &Verified) -> api::StoreVerified {
    api::StoreVerified {
        layers: verified.layers,
        files: verified.files,
        bytes: verified.bytes,
        problems: verified.problems,
        repaired: verified.repaired,
    }
}

/// A layer on its way.
pub(crate) fn job(status: &JobStatus) -> api::LayerJob {
    let phase = match status.phase {
        Phase::Waiting => api::Phase::Waiting,
        Phase::Planning => api::Phase::Planning,
        Phase::Transferring => api::Phase::Writing,
        Phase::Committing => api::Phase::Committing,
    };
    api::LayerJob {
        diff_id: status.diff_id.to_string(),
        blob: status.blob.to_string(),
        blob_bytes: status.bytes_total,
        phase: phase.into(),
        planned_bytes: status.bytes_wanted,
        fetched_bytes: status.bytes_fetched,
        reused_bytes: status.bytes_reused,
        ..api::LayerJob::default()
    }
}

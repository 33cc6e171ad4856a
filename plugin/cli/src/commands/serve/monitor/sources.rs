//! Where the numbers of the page come from, when somebody asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use chunked_engine::{Engine, Phase};
use chunked_metrics::Readings;
use chunked_registry::Client;
use chunked_snapshot::{Cause, HandOvers};
use chunked_store::Store;
use parking_lot::Mutex;

use super::counted::Counted;
use super::process;
use super::watcher::Watcher;
use crate::commands::serve::scrub;

/// The parts of the daemon that have numbers.
pub(crate) struct Sources {
    pub(crate) watcher: Arc<Watcher>,
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Engine,
    pub(crate) client: Client,
    pub(crate) handed_over: Arc<HandOvers>,
    pub(crate) scrub: Arc<Mutex<scrub::Shown>>,
    pub(crate) counted: Arc<Counted>,
    pub(crate) started: SystemTime,
    /// containerd is served.
    pub(crate) serving: AtomicBool,
}

impl Sources {
    /// Counts what is in the store for the metrics, in the background.
    pub(crate) fn counted(
        store: &Arc<Store>,
        host: &chunked_host::HostIndex,
        lost: &Arc<chunked_snapshot::LostSnapshots>,
    ) -> Arc<Counted> {
        let counted = Counted::new(Arc::clone(store), host.clone(), Arc::clone(lost));
        counted.latest();
        counted
    }

    pub(crate) fn watcher(&self) -> &Arc<Watcher> {
        &self.watcher
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Says whether containerd is served.
    pub(crate) fn serve(&self, serving: bool) {
        self.serving.store(serving, Ordering::Relaxed);
    }

    /// Why the daemon cannot serve containerd now, if so. Blocks on the database.
    pub(crate) fn unready(&self) -> Option<String> {
        if !self.serving.load(Ordering::Relaxed) {
            return Some("the daemon is starting or stopping".to_owned());
        }
        let asked = self.store.exists("readyz");
        asked.err().map(|error| format!("the store does not answer: {}", chunked_core::Causes(&error)))
    }

    /// The page. Reads counters, and little files of the kernel's. Must be called inside a tokio runtime.
    pub(crate) fn page(&self) -> Result<String, std::fmt::Error> {
        self.watcher.metrics.text(self.readings())
    }

    fn readings(&self) -> Readings {
        let traffic = self.client.traffic();
        let (store, free) = self.counted.latest();
        let counts = self.handed_over.counts();
        let count = |cause| counts.iter().find(|(counted, _)| *counted == cause).map_or(0, |(_, n)| *n);
        Readings {
            version: env!("CARGO_PKG_VERSION"),
            answers: traffic.answers.iter().map(|(answer, count)| (answer.name(), *count)).collect(),
            received: traffic.received,
            retries: traffic.retries,
            requests: vec![("running", traffic.running), ("waiting", traffic.waiting)],
            handed_over: Cause::ALL.map(|cause| (cause.name(), count(cause))).to_vec(),
            jobs: self.jobs(),
            memory: self.engine.memory(),
            store,
            free,
            evicted: self.store.evicted(),
            scrub: self.scrub.lock().last.map(|last| {
                let at = SystemTime::UNIX_EPOCH + Duration::from_secs(last.at);
                (at, last.problems.saturating_sub(last.repaired))
            }),
            history: self.watcher.history.len() as u64,
            process: process::read(self.started),
        }
    }

    fn jobs(&self) -> Vec<(&'static str, u64)> {
        let running = self.engine.running();
        let count = |phase| running.iter().filter(|job| job.phase == phase).count() as u64;
        vec![
            ("waiting", count(Phase::Waiting)),
            ("planning", count(Phase::Planning)),
            ("transferring", count(Phase::Transferring)),
            ("committing", count(Phase::Committing)),
        ]
    }
}

//! The daemon's own pulls: of images that somebody wants in the store before containerd asks for their layers.
//!
//! A pull belongs to nobody in particular. Who asks for the same image for the same platform with the same credentials joins
//! it; when nobody waits for it any more, it goes on as long as layers of a Prepare do whose caller went away. Credentials that
//! came with a request live as long as their pull, in a client of their own.

mod events;
mod kept;
mod running;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chunked_core::Causes;
use chunked_engine::{Engine, Keeper, Places};
use chunked_proto::chunked::control::v1 as api;
use chunked_registry::{Client, Credentials, Platform, Reference};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, broadcast};

pub(crate) use self::events::missed;
pub(crate) use self::kept::Kept;
pub(crate) use self::running::{Running, State, Ticket};
use super::monitor::Watcher;
use crate::pulling::{self, Report, Seconds};

/// Images pulled at the same time; the layers of each registry have bounds of their own.
const AT_ONCE: usize = 8;
/// Pulls that run or wait for their turn.
const MOST: usize = 128;

/// What somebody wants.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) reference: Reference,
    pub(crate) platform: Platform,
    /// For the reference's host, and for this pull.
    pub(crate) credentials: Option<Credentials>,
    /// Who asks, for people.
    pub(crate) by: String,
    /// Gets the blobs that are read whole, if this request begins the pull.
    pub(crate) keeper: Option<Arc<dyn Keeper>>,
}

/// What came with the request that began a pull: credentials, and who keeps blobs.
type Means = (Option<Credentials>, Option<Arc<dyn Keeper>>);

/// Too many pulls run and wait.
#[derive(Debug, thiserror::Error)]
#[error("{MOST} pulls run or wait for their turn already; try again later")]
pub(crate) struct Full;

/// All of them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Pulls(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    client: Client,
    watcher: Arc<Watcher>,
    /// How long a pull goes on that nobody waits for.
    alone: Duration,
    turns: Semaphore,
    table: Mutex<Table>,
    kept: Arc<Kept>,
    events: broadcast::Sender<api::Event>,
}

#[derive(Debug, Default)]
struct Table {
    lines: Vec<Line>,
    last: u64,
}

#[derive(Debug)]
struct Line {
    pull: Arc<Running>,
    /// Only who has the same may join.
    credentials: Option<Credentials>,
}

impl Pulls {
    /// None yet. Must be called inside a tokio runtime.
    pub(crate) fn new(engine: Engine, client: Client, watcher: Arc<Watcher>, alone: Duration) -> Self {
        let kept = Kept::start();
        let (turns, events) = (Semaphore::new(AT_ONCE), events::channel());
        Self(Arc::new(Shared {
            engine,
            client,
            watcher,
            alone,
            turns,
            table: Mutex::default(),
            kept,
            events,
        }))
    }

    /// The images pulled lately.
    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.0.kept
    }

    /// What starts and ends from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<api::Event> {
        self.0.events.subscribe()
    }

    /// Joins the pull of what is asked for, or begins it.
    pub(crate) fn pull(&self, asked: Asked) -> Result<Ticket, Full> {
        let Asked { reference, platform, credentials, by, keeper } = asked;
        let mut table = self.0.table.lock();
        let same = |line: &&Line| {
            let pull = &line.pull;
            pull.reference == reference
                && pull.platform == platform
                && line.credentials == credentials
                && !pull.cancelled.is_cancelled()
        };
        if let Some(line) = table.lines.iter().find(same) {
            return Ok(line.pull.ticket(true));
        }
        if table.lines.len() >= MOST {
            return Err(Full);
        }
        table.last += 1;
        let pull = Arc::new(Running::new(table.last, reference, platform, (by, credentials.is_some())));
        // Before it runs: it ends when nobody waits for it.
        let ticket = pull.ticket(false);
        table.lines.push(Line { pull: Arc::clone(&pull), credentials: credentials.clone() });
        drop(table);
        tracing::info!(image = %pull.reference, by = pull.by, number = pull.number, "pull begins");
        // That nobody listens is no error.
        let _ = self.0.events.send(events::started(self.job(&pull)));
        tokio::spawn(Arc::clone(&self.0).run(pull, (credentials, keeper)));
        Ok(ticket)
    }

    /// Ends the pull of this number for all who wait for it; false when there is none.
    pub(crate) fn cancel(&self, number: u64) -> bool {
        let table = self.0.table.lock();
        let found = table.lines.iter().find(|line| line.pull.number == number);
        found.inspect(|line| line.pull.cancelled.cancel()).is_some()
    }

    /// The pulls that run or wait, oldest first.
    pub(crate) fn jobs(&self) -> Vec<api::PullJob> {
        let pulls: Vec<Arc<Running>> =
            self.0.table.lock().lines.iter().map(|line| Arc::clone(&line.pull)).collect();
        pulls.iter().map(|pull| self.job(pull)).collect()
    }

    fn job(&self, pull: &Running) -> api::PullJob {
        let api::PullProgress { phase, layers } = self.progress(pull.state());
        api::PullJob {
            number: pull.number,
            image: pull.reference.to_string(),
            platform: pull.platform.to_string(),
            asked_by: pull.by.clone(),
            waiting: u32::try_from(pull.waiting()).unwrap_or(u32::MAX),
            credentials: pull.credentials,
            started_at: Some(pull.began.into()),
            phase,
            layers,
        }
    }

    /// How far a pull in this state is.
    pub(crate) fn progress(&self, state: State) -> api::PullProgress {
        let (phase, layers) = match state {
            State::Waiting => (api::PullPhase::Waiting, Vec::new()),
            State::Resolving | State::Ended(_) => (api::PullPhase::Resolving, Vec::new()),
            State::Layers(image, _) => {
                let of_image = |job: &&chunked_engine::JobStatus| {
                    image.layers.iter().any(|layer| layer.diff_id == job.diff_id && layer.blob == job.blob)
                };
                let running = self.0.engine.running();
                (api::PullPhase::Layers, running.iter().filter(of_image).map(crate::wire::job).collect())
            }
        };
        api::PullProgress { phase: phase.into(), layers }
    }
}

impl Shared {
    /// Runs a pull to its end, and tells it.
    async fn run(self: Arc<Self>, pull: Arc<Running>, means: Means) {
        // A task of its own, so that a panic in it costs this pull and nothing else.
        let mut work = tokio::spawn(Arc::clone(&self).work(Arc::clone(&pull), means));
        let ended = loop {
            tokio::select! {
                done = &mut work => {
                    break done.unwrap_or_else(|error| Err(format!("the pull ended early: {error}")));
                }
                reason = pull.unwanted(self.alone) => {
                    if !self.close(&pull) {
                        continue;
                    }
                    work.abort();
                    // When it does not wait for the layers any more, they are not wanted by it.
                    let _ = work.await;
                    if let State::Layers(image, places) = pull.state() {
                        self.engine.give_up(&image, &places);
                        self.watcher.failed(&image, None, &reason);
                    }
                    break Err(reason);
                }
            }
        };
        self.table.lock().lines.retain(|line| line.pull.number != pull.number);
        let error = ended.as_ref().err().cloned().unwrap_or_default();
        let seconds = pull.since.elapsed().as_secs_f64();
        let (image, by, number) = (&pull.reference, &pull.by, pull.number);
        match &ended {
            Ok(_) => tracing::info!(%image, by, number, seconds, "pulled"),
            Err(error) => tracing::warn!(%image, by, number, seconds, error, "pull failed"),
        }
        let _ = self.events.send(events::ended(&pull, error));
        pull.enter(State::Ended(ended.map(Into::into).map_err(Into::into)));
    }

    /// Lets nobody join the pull any more; false when somebody has, just now, and wants it.
    fn close(&self, pull: &Running) -> bool {
        let mut table = self.table.lock();
        if pull.waiting() > 0 && !pull.cancelled.is_cancelled() {
            return false;
        }
        table.lines.retain(|line| line.pull.number != pull.number);
        true
    }

    /// Pulls; gives the report as JSON, or what the command line says of the failure.
    async fn work(
        self: Arc<Self>,
        pull: Arc<Running>,
        (credentials, keeper): Means,
    ) -> Result<String, String> {
        let text = |error: anyhow::Error| Causes(error.as_ref()).to_string();
        let _turn = self.turns.acquire().await.map_err(|error| error.to_string())?;
        pull.enter(State::Resolving);
        let started = Instant::now();
        let reference = &pull.reference;
        let given = credentials.map(|given| self.client.with_credentials(&reference.host, given));
        let client = given.as_ref().unwrap_or(&self.client);
        let image = pulling::resolve(client, reference, &pull.platform).await.map_err(text)?;
        self.watcher.asked(&image, pull.by.clone(), started.elapsed());
        let resolve = started.elapsed().as_secs_f64();
        let places = Places { client: given, keeper, ..Places::default() };
        pull.enter(State::Layers(Arc::clone(&image), places.clone()));
        let layers = pulling::layers(&self.engine, &image, &places).await.map_err(text);
        let layers = layers.inspect_err(|error| self.watcher.failed(&image, None, error))?;
        for (index, report) in layers.iter().enumerate() {
            self.watcher.answered(&image, index, (&image, report));
        }
        self.kept.keep(&image, layers.iter().map(|layer| layer.pin.clone()).collect());
        let total = started.elapsed().as_secs_f64();
        let seconds = Seconds { resolve, layers: total - resolve, rootfs: 0.0, total };
        serde_json::to_string(&Report::new(&image, layers, seconds)).map_err(|error| error.to_string())
    }
}

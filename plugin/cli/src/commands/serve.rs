//! `serve`: the daemon.

mod blobs;
mod cause;
mod control;
mod cri;
mod handed;
mod lost;
mod monitor;
mod pulls;
mod remote;
mod repair;
pub(crate) mod scrub;
mod socket;
mod stored;
mod watchdog;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use chunked_config::{Fallback, KeepBlobs, Settings};
use chunked_discover::Containerd;
use chunked_engine::Engine;
use chunked_host::{Background, HostIndex, Policy};
use chunked_registry::Client;
use chunked_snapshot::{HandOvers, LostSnapshots, ServiceOptions};
use chunked_store::Store;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tonic::transport::Server;

use self::monitor::{Calls, Monitor, Sources, Watcher};
use self::pulls::Pulls;
use self::repair::Again;
use self::scrub::Scrub;
use crate::args::Serve;
use crate::{logging, settings};

/// How long layers may go on, and then calls, after a signal to stop.
const DRAIN: Duration = Duration::from_secs(10);
/// How long calls may go on when others wait in the socket's queue for the next daemon: containerd gives up on a server that
/// does not greet it within a second (gRPC's first back-off).
const HASTE: Duration = Duration::from_millis(300);
/// Time between two looks at the layers that are being made.
const LOOK: Duration = Duration::from_millis(20);

/// Takes over the sockets that the service manager passed to this process; to be called before there are threads.
pub(crate) fn inherited_sockets() -> ListenFd {
    ListenFd::from_env()
}

/// Serves until a signal comes. `inherited` are the sockets that the service manager listens on for us.
pub(crate) async fn run(command: Serve, inherited: ListenFd) -> Result<()> {
    let mut settings = settings::load(&command.common)?;
    if let Some(address) = command.address {
        settings.address = settings::absolute(&address)?;
    }
    if let Some(address) = command.containerd_address {
        settings.containerd_address = settings::absolute(&address)?;
    }
    settings.check()?;
    logging::start(&settings.log, None)?;
    // Before the store is opened, which may take a while: who calls meanwhile waits in the socket's queue.
    let inherited = socket::inherit(inherited, &settings.address)?;
    let root = settings.root.clone();
    let options = settings::store(&settings);
    let store = tokio::task::spawn_blocking(move || Store::open_with(&root, options)).await??;
    let store = Arc::new(store);
    let indexer = store.start_indexer()?;
    let cleaner = store.start_cleaner()?;
    let client = Client::new(settings::client(&settings))?;
    let hand_over = settings.pull.fallback == Fallback::Containerd;
    let (root, remembered) = (store.root().to_owned(), settings.history.pulls);
    let watcher = tokio::task::spawn_blocking(move || Watcher::open(&root, remembered)).await?;
    let mut options = settings::engine(&settings);
    options.observer = Some(Arc::<Watcher>::clone(&watcher));
    let engine = Engine::new(Arc::clone(&store), client.clone(), options)?;
    let alone = settings.pull.keep_running_after_cancel;
    let pulls = Pulls::new(engine.clone(), client.clone(), Arc::clone(&watcher), alone);
    let options = settings::discover(&settings);
    let containerd = Arc::new(Containerd::with_options(&settings.containerd_address, options));
    let keep_blobs = settings.store.keep_blobs == KeepBlobs::Whole;
    let cri = settings.cri.enabled.then(|| {
        let keeper = if keep_blobs { blobs::Blobs::keeper(&containerd, cri::NAMESPACE) } else { None };
        cri::services(pulls.clone(), keeper, &settings.containerd_address)
    });
    let remote = Arc::new(remote::Remote::new(
        Arc::clone(&containerd),
        engine.clone(),
        (Arc::clone(pulls.kept()), Arc::clone(&watcher)),
        (hand_over, keep_blobs),
    ));

    let address = settings.address.clone();
    let (listener, socket) = match inherited {
        Some(listener) => (listener, None),
        None => socket::bind(&address).map(|(listener, file)| (listener, Some(file)))?,
    };
    let listener = socket::from_root(listener);
    let watchdog = watchdog::start(&store);
    let (handed_over, lost) = (Arc::<HandOvers>::default(), Arc::<LostSnapshots>::default());
    let options = ServiceOptions {
        fallback: settings::fallback(&settings),
        handed_over: Arc::clone(&handed_over),
        lost: Arc::clone(&lost),
        ..ServiceOptions::default()
    };
    if store.has_lost_state() {
        let (store, containerd) = (Arc::clone(&store), Arc::clone(&containerd));
        tokio::spawn(lost::rebuild(
            store,
            containerd,
            Arc::<remote::Remote>::clone(&remote),
            Arc::clone(&lost),
        ));
    }
    let snapshots = chunked_snapshot::service(Arc::clone(&store), remote, options);
    let host = HostIndex::new(&settings.root, settings::host(&settings));
    let repairer = Again::new(Arc::clone(&containerd), engine.clone());
    let scrub = Scrub::start(Arc::clone(&store), settings::scrub(&settings), repairer)?;
    let sources = Arc::new(Sources {
        watcher: Arc::clone(&watcher),
        store: Arc::clone(&store),
        engine: engine.clone(),
        client,
        handed_over: Arc::clone(&handed_over),
        scrub: scrub.shown(),
        counted: Sources::counted(&store, &host, &lost),
        started: SystemTime::now(),
        serving: AtomicBool::new(false),
    });
    let control = control::service(
        store,
        engine.clone(),
        containerd,
        host,
        control::Told {
            handed_over,
            lost,
            scrub: scrub.shown(),
            pulls,
            history: Arc::clone(&watcher.history),
        },
    );
    let (cri_images, cri_runtime) = cri.unzip();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (health, health_service) = tonic_health::server::health_reporter();
    monitor::report_health(&health, true).await;
    let server = Server::builder()
        .layer(Calls(Arc::clone(&watcher)))
        .add_service(snapshots)
        .add_service(control)
        .add_optional_service(cri_images)
        .add_optional_service(cri_runtime)
        .add_service(health_service)
        .serve_with_incoming_shutdown(listener, async { drop(stopped.await) });
    let server = tokio::spawn(server);
    sources.serve(true);
    let monitor = Monitor::start(&settings, &sources).await;
    tracing::info!(address = %address.display(), root = %settings.root.display(), inherited = socket.is_none(), "ready");
    // Not run by systemd: nothing to notify.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let host_indexer = index_host(&settings)?;

    wait_for_signal().await?;
    if let Some(watchdog) = watchdog {
        watchdog.abort();
    }
    tracing::info!("stopping");
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    sources.serve(false);
    monitor::report_health(&health, false).await;
    // All that may take a while comes first, and calls are answered meanwhile. Each thread ends the file that it is at.
    let threads = tokio::task::spawn_blocking(move || drop((host_indexer, indexer, cleaner, scrub)));
    let limit = if socket.is_some() { DRAIN } else { HASTE };
    if socket.is_none() {
        let _ = tokio::time::timeout(DRAIN, idle(&engine)).await;
    }
    threads.await?;
    // The sender's end is the signal.
    drop(stop);
    if tokio::time::timeout(limit, server).await.is_err() {
        tracing::warn!("calls were still open after {} ms; they are cut off", limit.as_millis());
    }
    drop((socket, monitor));
    watcher.sweep(Duration::ZERO, |_| false);
    Ok(())
}

/// Starts indexing the host's files in the background, unless that is switched off.
fn index_host(settings: &Settings) -> Result<Option<Background>> {
    let options = settings::host(settings);
    if options.policy == Policy::Off {
        return Ok(None);
    }
    let indexer = Background::start(&settings.root, options, settings::schedule(settings));
    indexer.map(Some).context("starting the thread that indexes host files")
}

/// Returns when no layer is being made.
async fn idle(engine: &Engine) {
    while !engine.running().is_empty() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn wait_for_signal() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("waiting for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("waiting for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

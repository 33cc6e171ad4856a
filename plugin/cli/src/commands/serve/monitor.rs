//! Looking at the daemon from outside: metrics, health, and the history of pulls.
//!
//! Stages do not know that they are watched. [`Watcher`] hears of layers from the engine and of Prepares from `remote`;
//! [`Sources`] asks the other parts for their counters when somebody wants the page; [`endpoint`] shows it.

mod calls;
mod counted;
mod endpoint;
mod pages;
mod process;
mod sources;
mod watcher;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chunked_config::Settings;
use chunked_engine::Engine;
use tokio::task::AbortHandle;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub(crate) use calls::Calls;
pub(crate) use sources::Sources;
pub(crate) use watcher::Watcher;

/// How often it is looked whether a pull was given up.
const SWEEP: Duration = Duration::from_secs(60);
/// How long nobody asked for more of a pull that was given up.
const IDLE: Duration = Duration::from_secs(1800);

/// What watches and shows; ends when dropped.
pub(crate) struct Monitor {
    tasks: Vec<AbortHandle>,
    sockets: Vec<super::socket::SocketFile>,
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        // Their files are removed.
        self.sockets.clear();
    }
}

impl Monitor {
    /// Starts showing what `sources` tell where `settings` say, and ending pulls that were given up. What cannot be
    /// bound is left out, and said in the log: containerd needs the daemon also when nobody can watch it.
    pub(crate) async fn start(settings: &Settings, sources: &Arc<Sources>) -> Self {
        let mut monitor = Self { tasks: Vec::new(), sockets: Vec::new() };
        let shown = endpoint::Endpoint::new(Arc::clone(sources));
        let socket = settings.metrics.socket.of(&settings.address);
        if let Some(path) = &socket {
            monitor.serve_socket(path, &shown);
        }
        if let Some(address) = settings.metrics.address {
            match tokio::net::TcpListener::bind(address).await {
                Ok(listener) => {
                    tracing::info!(%address, "metrics are shown");
                    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
                    monitor.tasks.push(tokio::spawn(shown.clone().serve(incoming)).abort_handle());
                }
                Err(error) => tracing::error!(%address, %error, "metrics cannot be shown here"),
            }
        }
        let (watcher, engine) = (Arc::clone(sources.watcher()), sources.engine().clone());
        monitor.tasks.push(tokio::spawn(sweep(watcher, engine)).abort_handle());
        monitor
    }

    fn serve_socket(&mut self, path: &Path, shown: &endpoint::Endpoint) {
        match super::socket::bind(path) {
            Ok((listener, file)) => {
                let incoming = super::socket::from_root(listener);
                tracing::info!(socket = %path.display(), "metrics are shown");
                self.sockets.push(file);
                self.tasks.push(tokio::spawn(shown.clone().serve(incoming)).abort_handle());
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(socket = %path.display(), error, "metrics cannot be shown here");
            }
        }
    }
}

/// Tells whoever asks by `grpc.health.v1` whether containerd is served.
pub(crate) async fn report_health(health: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in ["", "containerd.services.snapshots.v1.Snapshots", "chunked.control.v1.Control"] {
        health.set_service_status(service, status).await;
    }
}

async fn sweep(watcher: Arc<Watcher>, engine: Engine) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let running: Vec<String> = engine.running().iter().map(|job| job.blob.to_string()).collect();
        watcher.sweep(IDLE, |pull| pull.layers.iter().any(|layer| running.contains(&layer.blob)));
    }
}

//! systemd's watchdog: told regularly that the daemon answers.
//!
//! The service manager ends a daemon that keeps silent for `WatchdogSec=` and starts it anew. What is told is that the
//! runtime runs and the state database can be read, which every call of containerd needs.

use std::sync::Arc;
use std::time::Duration;

use chunked_store::Store;
use sd_notify::NotifyState;
use tokio::task::JoinHandle;

/// Tells the service manager, as often as it asks for, that we are well. `None` when it does not ask.
pub(crate) fn start(store: &Arc<Store>) -> Option<JoinHandle<()>> {
    let limit = sd_notify::watchdog_enabled()?;
    Some(tokio::spawn(tell(Arc::clone(store), limit / 4)))
}

async fn tell(store: Arc<Store>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let store = Arc::clone(&store);
        match tokio::task::spawn_blocking(move || store.exists("")).await {
            Ok(Ok(_)) => drop(sd_notify::notify(&[NotifyState::Watchdog])),
            Ok(Err(error)) => tracing::warn!(%error, "the state database does not answer"),
            Err(_) => return,
        }
    }
}

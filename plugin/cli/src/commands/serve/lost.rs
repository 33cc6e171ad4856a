//! After the state database was lost: snapshots of all images that containerd holds are rebuilt from the layers that are here,
//! before containerd asks, so that no layer of theirs counts as unused.

use std::sync::Arc;
use std::time::Duration;

use chunked_core::Causes;
use chunked_discover::Containerd;
use chunked_snapshot::{LostSnapshots, RemoteLayers};
use chunked_store::Store;

/// How often containerd is asked, until it answers: it may start after us.
const AGAIN: Duration = Duration::from_secs(2);

/// Rebuilds what can be.
pub(crate) async fn rebuild(
    store: Arc<Store>,
    containerd: Arc<Containerd>,
    remote: Arc<dyn RemoteLayers>,
    lost: Arc<LostSnapshots>,
) {
    let chains = loop {
        match containerd.top_chains().await {
            Ok(chains) => break chains,
            Err(error) => {
                tracing::debug!(error = %Causes(&error), "containerd cannot be asked yet for its images");
                tokio::time::sleep(AGAIN).await;
            }
        }
    };
    let (images, mut rebuilt) = (chains.len(), 0);
    for chain in chains {
        rebuilt += usize::from(lost.bring_back_unasked(&store, &*remote, &chain.to_string()).await);
    }
    tracing::info!(images, rebuilt, "snapshots of images were rebuilt after the state database was lost");
}

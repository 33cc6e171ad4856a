//! Pulls for the kubelet, before containerd is asked.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use chunked_cri::{ImageService, Proxy, Puller, RuntimeService};
use chunked_engine::Keeper;
use chunked_registry::{Credentials, Platform};

use super::pulls::{Asked, Pulls, State};

/// The namespace of containerd that Kubernetes uses.
pub(crate) const NAMESPACE: &str = "k8s.io";

#[derive(Debug)]
struct ForKubelet {
    pulls: Pulls,
    keeper: Option<Arc<dyn Keeper>>,
}

/// The services in front of the containerd at `socket`. `keeper` gets blobs that are read whole.
pub(crate) fn services(
    pulls: Pulls,
    keeper: Option<Arc<dyn Keeper>>,
    socket: &Path,
) -> (Proxy<ImageService>, Proxy<RuntimeService>) {
    chunked_cri::services(socket, Arc::new(ForKubelet { pulls, keeper }))
}

impl Puller for ForKubelet {
    fn pull(
        &self,
        image: String,
        credentials: Option<Credentials>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async move {
            let reference = image.parse().map_err(|error| format!("image {image:?}: {error}"))?;
            let (platform, by, keeper) = (Platform::default(), "CRI".to_owned(), self.keeper.clone());
            let asked = Asked { reference, platform, credentials, by, keeper };
            // When the kubelet goes away this future is dropped, and its place among those who wait with it.
            let mut ticket = self.pulls.pull(asked).map_err(|full| full.to_string())?;
            let ended = ticket.state.wait_for(|state| matches!(state, State::Ended(_))).await;
            match ended.map(|state| state.clone()) {
                Ok(State::Ended(ended)) => ended.map(drop).map_err(|error| error.to_string()),
                _ => Err("the pull was lost".to_owned()),
            }
        })
    }
}

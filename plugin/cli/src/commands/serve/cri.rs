//! Pulls for the kubelet, before containerd is asked.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use chunked_cri::{ImageService, Proxy, Puller, RuntimeService};
use chunked_registry::{Credentials, Platform};

use super::pulls::{Asked, Pulls, State};

#[derive(Debug)]
struct ForKubelet(Pulls);

/// The services in front of the containerd at `socket`.
pub(crate) fn services(pulls: Pulls, socket: &Path) -> (Proxy<ImageService>, Proxy<RuntimeService>) {
    chunked_cri::services(socket, Arc::new(ForKubelet(pulls)))
}

impl Puller for ForKubelet {
    fn pull(
        &self,
        image: String,
        credentials: Option<Credentials>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(async move {
            let reference = image.parse().map_err(|error| format!("image {image:?}: {error}"))?;
            let asked = Asked { reference, platform: Platform::default(), credentials, by: "CRI".to_owned() };
            // When the kubelet goes away this future is dropped, and its place among those who wait with it.
            let mut ticket = self.0.pull(asked).map_err(|full| full.to_string())?;
            let ended = ticket.state.wait_for(|state| matches!(state, State::Ended(_))).await;
            match ended.map(|state| state.clone()) {
                Ok(State::Ended(ended)) => ended.map(drop).map_err(|error| error.to_string()),
                _ => Err("the pull was lost".to_owned()),
            }
        })
    }
}

//! From a remote Prepare to a layer: discover which image it is about, have the engine pull it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use chunked_discover::Containerd;
use chunked_engine::{Engine, EngineError};
use chunked_snapshot::{RemoteError, RemoteLayers, RemoteOutcome, RemoteRequest};

/// [`RemoteLayers`] over containerd's content store and the engine.
#[derive(Debug)]
pub(crate) struct Remote {
    containerd: Arc<Containerd>,
    engine: Engine,
}

impl Remote {
    pub(crate) fn new(containerd: Arc<Containerd>, engine: Engine) -> Self {
        Self { containerd, engine }
    }
}

impl RemoteLayers for Remote {
    fn prepare(
        &self,
        request: RemoteRequest,
    ) -> Pin<Box<dyn Future<Output = Result<RemoteOutcome, RemoteError>> + Send>> {
        let (containerd, engine) = (Arc::clone(&self.containerd), self.engine.clone());
        Box::pin(async move {
            let found = containerd.find(request.namespace.as_deref(), &request.target, &request.labels).await;
            let found = match found {
                Ok(found) => found,
                Err(error) => {
                    // The ordinary way needs no source: containerd fetches and unpacks the layer itself.
                    tracing::warn!(target = %request.target, %error, "no source for this layer");
                    return Ok(RemoteOutcome::NoSource { reason: error.to_string() });
                }
            };
            engine.start_image(&found.image);
            match engine.layer(&found.image, found.index).await {
                Ok(report) => Ok(RemoteOutcome::Ready(report.pin.clone())),
                Err(error) => Err(remote_error(&found.image.reference.to_string(), &error)),
            }
        })
    }
}

fn remote_error(image: &str, error: &Arc<EngineError>) -> RemoteError {
    let text = format!("image {image}: {error}");
    match &**error {
        error if error.check().is_some() => RemoteError::Integrity(text),
        EngineError::Registry { .. } | EngineError::Fetch { .. } | EngineError::Stopped { .. } => {
            RemoteError::Unavailable(text)
        }
        _ => RemoteError::Internal(text),
    }
}

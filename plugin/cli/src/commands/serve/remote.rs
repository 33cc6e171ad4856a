//! From a remote Prepare to a layer: discover which image it is about, have the engine pull it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use chunked_core::Causes;
use chunked_discover::{Containerd, ErrorKind, Found, Source};
use chunked_engine::{Engine, EngineError, LayerReport};
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
            match found {
                Ok(found) => pull(&engine, found).await,
                Err(error) => {
                    let text = Causes(&error).to_string();
                    match error.kind() {
                        ErrorKind::Integrity => Err(RemoteError::Integrity(text)),
                        ErrorKind::Unavailable => Err(RemoteError::Unavailable(text)),
                        // The ordinary way needs no source: containerd fetches and unpacks the layer itself.
                        ErrorKind::NoSource => {
                            tracing::warn!(target = %request.target, reason = text, "no source for this layer");
                            Ok(RemoteOutcome::NoSource { reason: text })
                        }
                    }
                }
            }
        })
    }
}

/// Pulls from the likeliest source, then from the others that have the layer.
async fn pull(engine: &Engine, found: Found) -> Result<RemoteOutcome, RemoteError> {
    let first = Source { image: found.image, index: found.index, port_assumed: found.port_assumed };
    let mut failures = Vec::new();
    let mut port_assumed = true;
    for source in std::iter::once(first).chain(found.alternatives) {
        port_assumed &= source.port_assumed;
        match layer(engine, &source).await {
            Ok(report) => return Ok(RemoteOutcome::Ready(report.pin.clone())),
            Err(error) => {
                let text = format!("image {}: {}", source.image.reference, Causes(&*error));
                if !is_unreachable(&error) {
                    return Err(remote_error(text, &error));
                }
                failures.push(text);
            }
        }
    }
    let text = failures.join("; ");
    if port_assumed {
        // containerd's labels lose the registry's port, so this may simply have been the wrong one.
        let reason = format!("{text}; if the registry has another port, list it in registry.known_hosts");
        tracing::warn!(reason, "the layer's registry cannot be reached; containerd fetches the layer itself");
        return Ok(RemoteOutcome::NoSource { reason });
    }
    Err(RemoteError::Unavailable(text))
}

async fn layer(engine: &Engine, source: &Source) -> Result<Arc<LayerReport>, Arc<EngineError>> {
    engine.start_image(&source.image);
    engine.layer(&source.image, source.index).await
}

/// True when another repository may still serve the layer.
fn is_unreachable(error: &EngineError) -> bool {
    matches!(error, EngineError::Registry { .. } | EngineError::Fetch { .. })
}

fn remote_error(text: String, error: &EngineError) -> RemoteError {
    match error {
        error if error.check().is_some() => RemoteError::Integrity(text),
        EngineError::Stopped { .. } => RemoteError::Unavailable(text),
        _ => RemoteError::Internal(text),
    }
}

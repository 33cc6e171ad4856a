//! From a remote Prepare to a layer: discover which image it is about, have the engine pull it.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use chunked_core::{Causes, Digest};
use chunked_discover::{Containerd, Found, Source};
use chunked_engine::{Contents, Engine, EngineError, Fault, Places};
use chunked_snapshot::{Cause, Chain, Finding, RemoteError, RemoteLayers, RemoteRequest};
use chunked_store::{ChainLayer, LayerPin};

use super::blobs::Blobs;
use super::cause;
use super::handed::Handed;
use super::monitor::Watcher;
use super::pulls::Kept;
use super::stored::Stored;

/// [`RemoteLayers`] over containerd's content store and the engine. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    containerd: Arc<Containerd>,
    engine: Engine,
    handed: Arc<Handed>,
    /// Images that were pulled before containerd asked.
    kept: Arc<Kept>,
    watcher: Arc<Watcher>,
    /// Layers that we cannot make are containerd's.
    hand_over: bool,
    /// Blobs that are read whole go into containerd's content store, too.
    keep_blobs: bool,
}

impl Remote {
    pub(crate) fn new(
        containerd: Arc<Containerd>,
        engine: Engine,
        (kept, watcher): (Arc<Kept>, Arc<Watcher>),
        (hand_over, keep_blobs): (bool, bool),
    ) -> Self {
        Self { containerd, engine, handed: Arc::default(), kept, watcher, hand_over, keep_blobs }
    }

    /// A layer of an image that was pulled lately, if it is in order: found without asking anybody.
    async fn pulled_before(&self, target: &Digest) -> Option<LayerPin> {
        let (image, index) = self.kept.find(target)?;
        // What is wrong with the store is told by the usual way.
        self.engine.present(&image, index).await.ok().flatten()
    }

    async fn find_and_pull(self, request: RemoteRequest) -> Result<LayerPin, RemoteError> {
        if let Some(pin) = self.pulled_before(&request.target).await {
            return Ok(pin);
        }
        let asked = Instant::now();
        let found =
            self.containerd.find(request.namespace.as_deref(), &request.target, &request.labels).await;
        let found =
            found.map_err(|error| RemoteError::new(cause::of_search(&error), Causes(&error).to_string()))?;
        self.watcher.asked(&found.image, client(request.namespace.as_deref()), asked.elapsed());
        if self.hand_over
            && let Some((cause, text)) = self.handed.above(&found.image, found.index, Instant::now())
        {
            return self.adopt_or_follow(&found, cause, text).await;
        }
        let (image, index) = (Arc::clone(&found.image), found.index);
        let contents = request.namespace.as_deref().and_then(|name| self.containerd.content_of(name));
        let contents = contents.map(|content| Arc::new(Stored(content)) as Arc<dyn Contents>);
        let keeper = request.namespace.as_deref().filter(|_| self.keep_blobs);
        let keeper = keeper.and_then(|namespace| Blobs::keeper(&self.containerd, namespace));
        let places = Places { contents, keeper, ..Places::default() };
        let pulled = self.pull(found, places).await;
        match &pulled {
            Ok(_) => {}
            // containerd downloads this layer and all above it.
            Err(error) if self.hand_over && error.cause.may_be_handed_over() => {
                self.engine.release(&image, index);
                self.handed.note(&image, index, (error.cause, error.text.clone()), Instant::now());
                self.watcher.handed_over(&image, index, &error.text);
            }
            Err(error) => self.watcher.failed(&image, Some(index), &error.text),
        }
        pulled
    }

    /// A layer above one that containerd downloads. containerd downloads this one as well: it is not fetched twice. If
    /// it is here already, containerd need not unpack it.
    async fn adopt_or_follow(
        &self,
        found: &Found,
        cause: Cause,
        text: String,
    ) -> Result<LayerPin, RemoteError> {
        let Found { image, index, .. } = found;
        let layer = image.layers.get(*index).map(|layer| layer.blob);
        let (name, follows) = (Some(image.reference.to_string()), true);
        match self.engine.present(image, *index).await {
            Ok(Some(pin)) => {
                self.watcher.was_here(image, *index);
                Ok(pin)
            }
            Ok(None) => {
                self.engine.release(image, *index);
                self.watcher.handed_over(image, *index, &text);
                Err(RemoteError { cause, image: name, layer, text, follows })
            }
            Err(error) => {
                let text = Causes(&error).to_string();
                Err(RemoteError { cause: cause::of_layer(&error), image: name, layer, text, follows })
            }
        }
    }

    /// Pulls from the likeliest source, then from the others that have the layer.
    async fn pull(&self, found: Found, places: Places) -> Result<LayerPin, RemoteError> {
        let Found { image, index, port_assumed, no_registry, alternatives } = found;
        let asked_for = Arc::clone(&image);
        let first = Source { image, index, port_assumed, no_registry };
        let mut failed: Option<RemoteError> = None;
        for source in std::iter::once(first).chain(alternatives) {
            let no_registry = source.no_registry.is_some();
            let places = Places { no_registry, ..places.clone() };
            self.engine.start_image(&source.image, &places);
            let error = match self.engine.layer(&source.image, source.index, &places).await {
                Ok(report) => {
                    self.watcher.answered(&asked_for, index, (&source.image, &report));
                    return Ok(report.pin.clone());
                }
                Err(error) => error,
            };
            let this = remote_error(&source, &error);
            let elsewhere = cause::may_be_had_elsewhere(&error);
            failed = Some(match failed {
                None => this,
                // What the likeliest source said comes first.
                Some(first) => RemoteError { text: format!("{}; {}", first.text, this.text), ..first },
            });
            if !elsewhere {
                // A failed proof, or a fault of this machine, says more than a registry that did not answer.
                return Err(RemoteError {
                    cause: cause::of_layer(&error),
                    ..failed.unwrap_or_else(|| remote_error(&source, &error))
                });
            }
        }
        Err(failed.unwrap_or_else(|| RemoteError::new(Cause::NoSource, "no image has this layer")))
    }
}

impl RemoteLayers for Remote {
    fn prepare(
        &self,
        request: RemoteRequest,
    ) -> Pin<Box<dyn Future<Output = Result<LayerPin, RemoteError>> + Send>> {
        Box::pin(self.clone().find_and_pull(request))
    }

    fn chain<'a>(&'a self, namespace: Option<&'a str>, target: &'a Digest) -> Finding<'a> {
        Box::pin(async move {
            let found = match self.containerd.find(namespace, target, &HashMap::new()).await {
                Ok(found) => found,
                Err(error) if error.no_source().is_some() => return Ok(None),
                Err(error) => return Err(Causes(&error).to_string()),
            };
            let layers = found.image.layers.iter().take(found.index + 1);
            let layers = layers.map(|layer| ChainLayer { diff_id: layer.diff_id, chain_id: layer.chain_id });
            Ok(Some(Chain { image: found.image.reference.to_string(), layers: layers.collect() }))
        })
    }
}

/// Who asks, as far as can be known: containerd does not say on whose behalf.
fn client(namespace: Option<&str>) -> String {
    namespace.map_or_else(|| "containerd".to_owned(), |name| format!("containerd, namespace {name}"))
}

/// The failure of one source.
fn remote_error(source: &Source, error: &EngineError) -> RemoteError {
    let image = source.image.reference.to_string();
    let text = match &source.no_registry {
        Some(reason) if matches!(error.fault(), Fault::Absent) => {
            format!("image {image}: {}: {reason}", Causes(error))
        }
        _ => format!("image {image}: {}", Causes(error)),
    };
    let cause = match (cause::of_layer(error), &source.no_registry) {
        (Cause::NoSource, Some(reason)) => cause::of_nowhere(reason),
        // containerd's labels lose the registry's port, so this may simply have been the wrong one.
        (Cause::Unreachable | Cause::Untrusted, _) if source.port_assumed => Cause::UnknownServer,
        (cause, _) => cause,
    };
    RemoteError { cause, image: Some(image), layer: Some(error.layer()), text, follows: false }
}

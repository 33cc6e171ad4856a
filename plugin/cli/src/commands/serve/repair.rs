//! Damaged layers pulled again, for `store verify --repair`.

use std::collections::HashMap;
use std::sync::Arc;

use chunked_core::{Causes, Digest};
use chunked_discover::{Containerd, Source};
use chunked_engine::{Engine, Places};
use chunked_store::{DamagedLayer, LayerPin, Repairer};
use tokio::runtime::Handle;

/// Finds a damaged layer's image in containerd, and pulls the layer as for a Prepare.
#[derive(Debug)]
pub(crate) struct Again {
    containerd: Arc<Containerd>,
    engine: Engine,
    runtime: Handle,
}

impl Again {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(containerd: Arc<Containerd>, engine: Engine) -> Self {
        Self { containerd, engine, runtime: Handle::current() }
    }

    async fn pull(&self, damaged: &DamagedLayer) -> Result<LayerPin, String> {
        let mut reasons = Vec::new();
        for chain in &damaged.chains {
            match self.sources(chain).await {
                Ok(sources) => {
                    for source in sources {
                        match self.from(&source).await {
                            Ok(pin) => return Ok(pin),
                            Err(reason) => reasons.push(reason),
                        }
                    }
                }
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            reasons.push("no snapshot says which image it is of".to_owned());
        }
        Err(reasons.join("; "))
    }

    async fn sources(&self, chain: &Digest) -> Result<Vec<Source>, String> {
        let found = self.containerd.find(None, chain, &HashMap::new()).await;
        let found = found.map_err(|error| Causes(&error).to_string())?;
        let (image, index, port_assumed) = (found.image, found.index, found.port_assumed);
        let first = Source { image, index, port_assumed, no_registry: found.no_registry };
        Ok(std::iter::once(first).chain(found.alternatives).collect())
    }

    async fn from(&self, source: &Source) -> Result<LayerPin, String> {
        let places =
            Places { no_registry: source.no_registry.is_some(), fewest_bytes: true, ..Places::default() };
        match self.engine.layer(&source.image, source.index, &places).await {
            Ok(report) => Ok(report.pin.clone()),
            Err(error) => Err(format!("image {}: {}", source.image.reference, Causes(&*error))),
        }
    }
}

impl Repairer for Again {
    fn pull_again(&mut self, damaged: &DamagedLayer) -> Result<LayerPin, String> {
        self.runtime.block_on(self.pull(damaged))
    }
}

//! Who hears of every layer's job that ended: metrics and the history of pulls.

use std::fmt::Debug;
use std::sync::Arc;

use chunked_registry::{Image, Layer};

use crate::error::EngineError;
use crate::report::LayerReport;

/// Hears of jobs. Called on the runtime's threads, so it must neither block nor take long.
pub trait Observer: Debug + Send + Sync {
    /// The job for `layer` of `image`, the image that it was begun for, ended.
    fn ended(&self, image: &Image, layer: &Layer, end: &End);
}

/// How a job ended.
#[derive(Debug, Clone)]
pub enum End {
    /// The layer is in the store.
    Ready(Arc<LayerReport>),
    /// It is not.
    Failed(Arc<EngineError>),
    /// Nobody wanted it any more.
    Abandoned,
}

/// Tells the observer how a job ended, exactly once: also when the job is dropped in the middle.
#[derive(Debug)]
pub(crate) struct Telling {
    observer: Option<Arc<dyn Observer>>,
    image: Arc<Image>,
    layer: Layer,
}

impl Telling {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>, image: &Arc<Image>, layer: &Layer) -> Self {
        Self { observer, image: Arc::clone(image), layer: layer.clone() }
    }

    pub(crate) fn tell(&mut self, end: &End) {
        if let Some(observer) = self.observer.take() {
            observer.ended(&self.image, &self.layer, end);
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.tell(&End::Abandoned);
    }
}

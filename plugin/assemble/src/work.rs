//! Work on a layer: jobs, the order in which their bytes are hashed, workers, budget, progress.
//!
//! Nothing here knows where bytes come from.

pub(crate) mod budget;
pub(crate) mod crew;
pub(crate) mod dispatcher;
pub(crate) mod job;
pub(crate) mod lane;
pub(crate) mod layer;
pub(crate) mod node;
pub(crate) mod pool;
pub(crate) mod progress;
pub(crate) mod target;

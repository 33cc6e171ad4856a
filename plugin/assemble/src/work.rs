//! Work on a layer: jobs, the order in which their bytes are hashed, workers, budget, progress.

pub(crate) mod budget;
pub(crate) mod dispatcher;
pub(crate) mod entry;
pub(crate) mod job;
pub(crate) mod progress;
pub(crate) mod unit;

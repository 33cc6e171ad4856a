//! What the daemon tells of itself in numbers: names, labels, help texts, and the OpenMetrics text made of them.
//!
//! In the flow: beside it. No stage knows this crate: stages report what they did by what they return, and the daemon
//! counts it here ([`Metrics`]), or reads their counters when somebody asks ([`Readings`]). It does no I/O.
//!
//! Every label has one of a few fixed values: no name of an image, a registry or a layer is a label, because a node
//! sees any number of them.

mod counted;
mod page;
mod readings;

pub use counted::{Layer, MODES, Metrics, OUTCOMES, PULLS, SOURCES, STAGES};
pub use page::CONTENT_TYPE;
pub use readings::{Process, Readings, StoreReadings};

#[cfg(test)]
mod tests;

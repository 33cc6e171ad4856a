//! One layer from registry to layer store: runs the stages in order, one job per layer and node.
//!
//! In the flow: the place that sees several stages (registry, toc, plan, fetch, assemble, verify, store) and
//! joins them; each of them knows only its left neighbour's output. The snapshot service and the command line
//! ask [`Engine::layer`] for layers and do not know how they come.
//!
//! It must not speak to containerd, and must not answer for a layer whose DiffID was not recomputed.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))] // See clippy.toml.

mod attempt;
mod blob;
mod blocking;
mod chunked;
mod chunks;
mod commit;
mod domains;
mod engine;
mod error;
mod flush;
mod in_flight;
mod job;
mod jobs;
mod links;
mod memory;
mod metadata;
mod network;
mod observer;
mod opening;
mod panics;
mod plain;
mod pull;
mod repeats;
mod report;
mod resume;
mod reuse;
mod room;
mod setback;
mod source;
mod spare;
mod tree;
mod withheld;

pub use blob::{Contents, Keeper, Keeping, Opening};
pub use domains::{Domain, Domains, Layers};
pub use engine::{Engine, EngineOptions, Places};
pub use error::{Check, EngineError, Fault};
pub use observer::{End, Observer};
pub use report::{JobStatus, LayerReport, Mode, Phase, Reused, Seconds};

//! containerd's snapshot service: ten RPCs over the layer store.
//!
//! In the flow: the last stage. containerd asks for a layer with Prepare; the engine, behind
//! [`RemoteLayers`], makes it ready; the store adopts it; containerd hears AlreadyExists. A layer that cannot be made
//! ready is handed over to containerd, or fails the pull ([`decide`]). Everything else is ordinary overlayfs bookkeeping.
//!
//! It must not know registries, TOCs or how a layer is made, nor own a socket: the binary does both.
//!
//! # Where work runs
//!
//! tonic drops a handler's future when the client cancels. So all work with the store runs in
//! `spawn_blocking`, and Prepare's wait for a remote layer in a task of its own: both go on when the
//! handler is gone, and no state change stops half-way. The hop costs some 20 µs; Stat and Commit stay well
//! below a millisecond (`benches/latency.rs`).

#![cfg_attr(not(test), deny(clippy::disallowed_methods))] // See clippy.toml.

mod blocking;
mod cause;
mod convert;
mod filter;
mod handover;
mod idmap;
mod key;
mod lost;
mod mask;
mod mounts;
mod options;
mod prepare;
mod remote;
mod service;
mod status;

pub use cause::Cause;
pub use handover::{Decision, Fallback, HandOvers, LastHandOver, decide};
pub use lost::{LostSnapshot, LostSnapshots};
pub use mounts::MountOptions;
pub use options::ServiceOptions;
pub use remote::{Chain, Finding, RemoteError, RemoteLayers, RemoteRequest};
pub use service::{NoRemoteLayers, service};

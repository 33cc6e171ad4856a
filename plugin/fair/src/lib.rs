//! What the pulls of a node share (places for layers, connections, memory, workers), divided between those who use it.
//!
//! In the flow: below every stage that takes part of something the node has only once. Each such thing is a
//! [`Pot`]; each part of it has an owner, which is a registry. One rule holds for all of them (see [`Pot`]): it
//! leaves something for the next owner, however much the owners before it took, and however long they keep it.
//! [`Memory`] is a pot of bytes that also guarantees each layer what it needs to go on. Work, which ends soon, is not kept
//! apart but taken in [`Turns`].
//!
//! It must not know what is divided: no files, no network, no layers.

mod memory;
mod pot;
mod turns;

pub use memory::{Denied, Memory, Permit, Share};
pub use pot::{Part, Pot};
pub use turns::{Turn, Turns};

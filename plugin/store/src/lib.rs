//! The layer store: immutable layer directories keyed by DiffID, the snapshots that point into them, and
//! the index of their files.
//!
//! In the flow: a verified staging tree comes in from assemble and verify ([`Store::stage`],
//! [`Store::commit_layer`]); plan asks for donors ([`Store::lookup`], [`Store::lookup_chunks`]); the snapshot
//! service creates, commits and removes snapshots, adopts layers ([`Store::adopt`]) and has what is not needed
//! deleted ([`Store::cleanup`]).
//!
//! It must not talk to the network, know about registries or gRPC, or trust anything in a layer: whether a
//! tree is what its DiffID says was proven before it came here.
//!
//! # On disk
//!
//! ```text
//! ROOT/lock                    flock: one daemon per root
//! ROOT/state.db                snapshots and layers (SQLite, WAL)
//! ROOT/index.db                files and chunks of layers by digest; can be deleted at any time
//! ROOT/snapshots/<id>/fs       a layer's tree, or the upper directory of a snapshot
//! ROOT/snapshots/<id>/work     overlay work directory of an active snapshot with parents
//! ROOT/snapshots/<id>/layer.json          only for layers: what the row said
//! ROOT/snapshots/<id>/files               layers, and snapshots that containerd committed: files by digest
//! ROOT/staging/<id>/fs         a layer being built
//! ROOT/partial/<id>            trees that a job left unfinished, for the next try of the same layer
//! ROOT/ballast                 room for the state database on a full disk
//! ROOT/state-damaged.db        a state database that was found damaged, put aside
//! ROOT/state-schema-<n>.db     the state database before its tables were changed
//! ROOT/trash/<id>              waits for `cleanup`
//! ROOT/orphans/<id>            kept for a week when the whole database was lost: may belong to running containers
//! ```
//!
//! # Crash order
//!
//! Data on disk, then rename, then row, then index rows. A row is the commit point: a directory without one
//! is rubbish (or, with `layer.json`, a layer whose row can be written again), a row without its directory
//! is damage that is reported and can be healed by pulling the layer again.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))] // See clippy.toml.

mod adopt;
mod ballast;
mod cleaner;
mod cleanup;
mod counts;
mod damage;
mod database;
mod error;
mod evict;
mod held;
mod index;
mod indexer;
mod layer;
mod layers;
mod layout;
mod list;
mod looks;
mod marker;
mod mend;
mod mounted;
mod origins;
mod orphans;
mod partial;
mod proof;
mod publish;
mod reclaim;
mod reconcile;
mod refute;
mod rows;
mod snapshot;
mod staging;
mod store;
mod suitable;
#[cfg(test)]
mod testing;
mod tree;
mod usage;
mod verify;

pub use adopt::{Adoption, ChainLayer};
pub use cleaner::Cleaner;
pub use cleanup::Cleaned;
pub use counts::Counts;
pub use error::{ErrorKind, GoBack, StoreError, is_full};
pub use evict::{Keep, Prune};
pub use held::Held;
pub use indexer::Indexer;
pub use layer::{Flavour, LayerId, LayerPin, NewChunk, NewFile, NewLayer};
pub use layers::LayerInfo;
pub use mend::{DamagedLayer, Repairer};
pub use origins::{LOCAL, Origins};
pub use partial::Partial;
pub use snapshot::{Kind, LabelChange, Labels, Mountable, NewSnapshot, Snapshot};
pub use staging::Staging;
pub use store::{ChunkDonor, Donor, Store, StoreOptions};
pub use suitable::try_root;
pub use usage::Usage;
pub use verify::{Problem, Verified, VerifyOptions, Watch};

//! Writes to containerd as its other clients do: leases, blobs, labels, and layers unpacked into a snapshotter.
//!
//! Serves `adopt` and `release`, which move a node's images to our snapshotter and back, and `[store] keep_blobs`. Everything is done
//! through containerd's own services, so that containerd's rules hold: it compares the digest of every blob, keeps what a lease
//! or a label names, and asks our daemon for snapshots as for any client.
//!
//! This crate must not read images (the discover stage does), talk to a registry, or decide which images move.

mod error;
mod ingest;
mod lease;
mod session;
mod snapshots;
mod unpack;

pub use error::ClientError;
pub use ingest::Ingest;
pub use session::Session;
pub use unpack::{Got, unpack};

#[cfg(test)]
mod tests;

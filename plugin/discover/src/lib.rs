//! Which image a Prepare is about, and where its layers can be pulled from.
//!
//! First stage of a layer's way: takes a namespace, a chainID and the labels of the request, and gives an
//! [`Image`](chunked_registry::Image) whose config commits to that chainID. Labels are hints (anyone who
//! builds an image can forge them); the proof is a manifest and a config that containerd's content store
//! already holds, hashed again here, from which the chainID is computed. The registry to ask comes from the
//! `containerd.io/distribution.source.*` labels that containerd itself put on the manifest when it fetched
//! it; a host that only a request's label names is never used.
//!
//! This crate reads from containerd and must not write to it, talk to a registry, or see credentials.

mod cache;
mod calls;
mod candidates;
mod containerd;
mod documents;
mod error;
mod every;
mod find;
mod found;
mod hints;
mod origin;
mod scan;
mod sources;
mod stored;

pub use containerd::{Containerd, Options};
pub use error::{DiscoverError, ErrorKind, NoSource};
pub use every::Held;
pub use found::{Found, NoRegistry, Source};
pub use stored::{Content, StoredBlob};

#[cfg(test)]
mod tests;

//! The documents of images: indexes, manifests and configs (OCI image-spec 1.x, docker image manifest v2 schema 2).
//!
//! This is the one place that knows how they are written and what is made of odd ones. They are read as Go reads them
//! for containerd and docker ([`Object`]): `null` is as good as absent, the last of two equal keys counts. Pure: bytes
//! in, bytes out. A document that nothing changes in is never written anew, so that its digest stays.

mod choose;
mod document;
pub mod media;
mod object;

pub use choose::{Choice, Library, NoChoice, choose};
pub use document::{Config, Descriptor, Document, DocumentError, Index, Manifest, Other, Parsed};
pub(crate) use object::Object;

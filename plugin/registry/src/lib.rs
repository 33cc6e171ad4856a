//! Registries: references, authentication, image documents, blobs and byte ranges.
//!
//! First stage that touches the network: takes a [`Reference`], gives a proven [`Image`] and [`Blob`]s whose
//! byte ranges can be asked for. Hides authentication, redirects and what registries make of ranges.
//!
//! It must not: trust a length, digest or range a server names without checking it against what was asked;
//! send credentials to a host other than the one they are for; show secrets in errors, logs or `Debug`;
//! repeat requests for parts of blobs (the fetch stage does, by the [`Patience`] that is here); know what a layer
//! contains.

mod auth;
mod blob;
mod body;
mod client;
mod content_range;
mod duration;
mod error;
mod files;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod hosts;
mod image;
mod knowledge;
mod multipart;
pub mod oci;
mod options;
mod parts;
mod platform;
mod push;
mod reference;
mod retry;
mod transport;

pub use auth::Credentials;
pub use blob::{Blob, Ranges};
pub use body::Body;
pub use client::{Client, configured_hosts, credential_helpers};
pub use error::{ErrorKind, Failure, RegistryError};
pub use image::{Image, ImageError, Layer};
pub use knowledge::Network;
pub use options::ClientOptions;
pub use parts::Parts;
pub use platform::{Platform, PlatformError};
pub use push::Content;
pub use reference::{Reference, ReferenceError};
pub use retry::{Budget, Patience, Retry};
pub use transport::{Answer, ClientError, TrafficCounts};

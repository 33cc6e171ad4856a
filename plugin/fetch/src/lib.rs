//! Byte ranges of one blob as an ordered stream of segments, over a few connections.
//!
//! Takes the ranges of a plan and a [`Blob`](chunked_registry::Blob), gives every byte of every range exactly
//! once, in blob order, and nothing else. Hides broken connections (resumes at the byte where a body stopped),
//! overload (waits), and registries without ranges (one whole body, from which the wanted bytes are picked).
//! Measures the network while at it, and asks once for several ranges at a time whether a registry can do that.
//!
//! It must not: look into the bytes, check digests (every later stage does), hold more than
//! `connections` × `segment` bytes and four small requests, or than its share of the node's memory allows, or go on
//! once nobody listens.

mod error;
mod fetch;
mod here;
mod lanes;
mod memory;
mod meter;
mod probe;
mod ranges;
mod segments;
mod transfer;
mod whole;

pub use chunked_registry::Retry;
pub use error::FetchError;
pub use fetch::{FetchOptions, First, SMALL, Segment, fetch, fetch_all, fetch_first};
pub use here::{Here, Pieces, read_here, read_part};
pub use probe::{Probe, probe};
pub use segments::{Segments, StopOnDrop};

//! Byte ranges of one blob as an ordered stream of segments, over a few connections.
//!
//! Takes the ranges of a plan and a [`Blob`](chunked_registry::Blob), gives every byte of every range exactly
//! once, in blob order, and nothing else. Hides broken connections (resumes at the byte where a body stopped)
//! and registries without ranges (one whole body, from which the wanted bytes are picked).
//!
//! It must not: look into the bytes, check digests (every later stage does), hold more than
//! `connections` × `segment` bytes plus what its channel holds, or go on once nobody listens.

mod error;
mod fetch;
mod lanes;
mod patience;
mod ranges;
mod transfer;
mod whole;

pub use error::FetchError;
pub use fetch::{FetchOptions, Segment, fetch, fetch_all, fetch_only};

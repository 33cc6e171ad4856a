//! Byte ranges of a plan to an ordered stream of segments, over few connections.
//!
//! In the flow: after `plan`, before `assemble`. Ranges are cut into parts of bounded size, a few of which are
//! requested at once; what arrives is delivered in blob order, every byte of every range exactly once.
//!
//! It must not know what the bytes mean.

mod error;
mod part;
mod stream;

pub use error::FetchError;
pub use part::Segment;
pub use stream::{FetchOptions, fetch, fetch_all};

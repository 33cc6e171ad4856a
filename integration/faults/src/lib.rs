//! A registry that answers wrongly on purpose, images to serve from it, and a node that pulls them.
//!
//! Part of the tests, not of the product: `tests/table.rs` plays every wrong answer on every kind of request and
//! says for each what the pull must end in, and how many bytes it may cost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a crate of tests")]

mod answer;
mod image;
mod layer;
mod listener;
mod node;
mod registry;

pub use answer::{Answer, Multipart, Way};
pub use image::TestImage;
pub use layer::{Lies, TestLayer, noise};
pub use node::{Node, NodeOptions};
pub use registry::{Call, Kind, Registry, Served};

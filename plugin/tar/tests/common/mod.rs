//! What the tests and the example `against_go` share.
#![allow(dead_code, reason = "each user takes a part")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod build;
pub mod print;
pub mod random;
pub mod table;

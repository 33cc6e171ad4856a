//! One verb per file.

pub(crate) mod config;
pub(crate) mod pull;
pub(crate) mod serve;
pub(crate) mod status;

//! One verb per file.

pub(crate) mod adopt;
pub(crate) mod config;
pub(crate) mod convert;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod host;
pub(crate) mod inspect;
pub(crate) mod moving;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod pulls;
pub(crate) mod release;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod store_ls;
pub(crate) mod store_verify;

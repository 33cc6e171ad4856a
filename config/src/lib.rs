//! Settings of the daemon and the command line, and the files a user copies.
//!
//! Reads one TOML file into typed, bounded [`Settings`] before anything starts; a mistake is reported with
//! file, line and column. This crate reads that one file and nothing else: environment and command-line
//! options are the binary's business, and what a setting does is documented where it is used and in
//! `dist/chunked-snapshotter.toml`, which a test keeps equal to the defaults.

mod error;
mod settings;
mod value;

pub use error::{ConfigError, Conflict};
pub use settings::{
    Durability, Fallback, History, Host, HostPolicy, KeepBlobs, Level, Log, LogFormat, Metrics,
    MetricsSocket, ParseLevelError, Prefer, Pull, Registry, Reuse, ReuseDomain, ReuseLayers, Settings, Store,
};
pub use value::{format_duration, format_size, parse_duration, parse_size};

/// Where the daemon looks for its configuration unless told otherwise; no file there means the defaults.
pub const DEFAULT_PATH: &str = "/etc/chunked-snapshotter/config.toml";

/// The commented default file, as shipped.
pub const DEFAULT_FILE: &str = include_str!("../dist/chunked-snapshotter.toml");

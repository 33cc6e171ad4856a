//! The settings, with their defaults, and reading them.

mod cri;
mod host;
mod log;
mod metrics;
mod paths;
mod pull;
mod registry;
mod reuse;
mod store;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, Conflict};
use crate::value::format_size;

pub use cri::Cri;
pub use host::{Host, HostPolicy};
pub use log::{Level, Log, LogFormat, ParseLevelError};
pub use metrics::{History, Metrics, MetricsSocket};
pub use pull::{Durability, Fallback, Prefer, Pull};
pub use registry::Registry;
pub use reuse::{Reuse, ReuseDomain, ReuseLayers};
pub use store::{KeepBlobs, Store};

/// Longest file read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Everything that can be set. Keys a file leaves out have their default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Directory of all state: layers, snapshots, databases. Its path ends up in mount options.
    #[serde(deserialize_with = "paths::root")]
    pub root: PathBuf,
    /// Unix socket we serve on.
    #[serde(deserialize_with = "paths::socket")]
    pub address: PathBuf,
    /// containerd's own unix socket.
    #[serde(deserialize_with = "paths::socket")]
    pub containerd_address: PathBuf,
    /// What is logged, and how.
    pub log: Log,
    /// Talking to registries.
    pub registry: Registry,
    /// Making layers.
    pub pull: Pull,
    /// Keeping layers.
    pub store: Store,
    /// Which local content a pull may use.
    pub reuse: Reuse,
    /// Files of the host itself as a source.
    pub host: Host,
    /// Standing in front of containerd's image service.
    pub cri: Cri,
    /// Showing numbers and health.
    pub metrics: Metrics,
    /// Remembering pulls.
    pub history: History,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            root: "/var/lib/chunked-snapshotter".into(),
            address: "/run/chunked-snapshotter/chunked-snapshotter.sock".into(),
            containerd_address: "/run/containerd/containerd.sock".into(),
            log: Log::default(),
            registry: Registry::default(),
            pull: Pull::default(),
            store: Store::default(),
            reuse: Reuse::default(),
            host: Host::default(),
            cri: Cri::default(),
            metrics: Metrics::default(),
            history: History::default(),
        }
    }
}

impl Settings {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or has a mistake; see [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > MAX_FILE {
            return Err(ConfigError::TooLong { path: path.to_owned(), limit: MAX_FILE });
        }
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads settings from `text`; `name` is what errors call it.
    ///
    /// # Errors
    /// When the text has a mistake; see [`ConfigError`].
    pub fn parse(text: &str, name: &str) -> Result<Self, ConfigError> {
        let settings: Self = toml::from_str(text).map_err(|mistake| {
            let (line, column) = position(text, mistake.span().map_or(0, |span| span.start));
            ConfigError::Mistake { name: name.to_owned(), line, column, mistake: Box::new(mistake) }
        })?;
        settings.check().map_err(|conflict| ConfigError::Conflict { name: name.to_owned(), conflict })?;
        Ok(settings)
    }

    /// Checks that the settings go together. [`Settings::parse`] does; call it after changing some.
    ///
    /// # Errors
    /// The first [`Conflict`].
    pub fn check(&self) -> Result<(), Conflict> {
        if self.address == self.containerd_address {
            return Err(Conflict::SameSocket(self.address.clone()));
        }
        let metrics = self.metrics.socket.of(&self.address);
        if let Some(metrics) =
            metrics.filter(|path| [&self.address, &self.containerd_address].contains(&path))
        {
            return Err(Conflict::MetricsSocket(metrics));
        }
        if self.address.starts_with(&self.root) {
            return Err(Conflict::SocketInRoot { address: self.address.clone(), root: self.root.clone() });
        }
        let Registry { image_credential_provider_config, image_credential_provider_bin_dir, .. } =
            &self.registry;
        if image_credential_provider_config.is_some() != image_credential_provider_bin_dir.is_some() {
            return Err(Conflict::CredentialProviders);
        }
        let Pull { memory, segment, .. } = self.pull;
        if memory < 4 * segment {
            return Err(Conflict::Memory { memory: format_size(memory), segment: format_size(segment) });
        }
        if let Some(host) = self.host.roots.iter().find(|host| self.root.starts_with(host)) {
            return Err(Conflict::RootInHost { root: self.root.clone(), host: host.clone() });
        }
        let Host { min_size, max_size, .. } = self.host;
        if min_size > max_size {
            return Err(Conflict::HostSizes { min: format_size(min_size), max: format_size(max_size) });
        }
        Ok(())
    }
}

/// Line and column, both from 1, of the byte at `offset`.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).map_or(0, |line| line.chars().count());
    (before.matches('\n').count() + 1, column + 1)
}

#[cfg(test)]
mod tests;

//! Mistakes in a configuration file.

use std::path::PathBuf;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is longer than any configuration.
    #[error("configuration {path} is longer than {limit} bytes: is it the right file?")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Most bytes accepted.
        limit: u64,
    },
    /// Not TOML, an unknown key, a wrong type, or a value out of bounds.
    #[error("{name}:{line}:{column}: {}", mistake.message().trim_end())]
    Mistake {
        /// The file, or what else the text came from.
        name: String,
        /// Line, counted from 1.
        line: usize,
        /// Column in characters, counted from 1.
        column: usize,
        /// What is wrong.
        mistake: Box<toml::de::Error>,
    },
    /// Two settings, each right by itself, that do not go together.
    #[error("{name}: {conflict}")]
    Conflict {
        /// The file, or what else the text came from.
        name: String,
        /// What does not go together.
        conflict: Conflict,
    },
}

/// Settings that do not go together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The memory must hold what a layer's connections deliver.
    #[error(
        "[pull] memory = {memory:?} is less than four segments of {segment:?}: \
         make it larger, or segment smaller"
    )]
    Memory {
        /// `memory` as text.
        memory: String,
        /// `segment` as text.
        segment: String,
    },
    /// A plugin needs both its configuration and its executable.
    #[error(
        "[registry] image_credential_provider_config and image_credential_provider_bin_dir go together: \
         set both, as the kubelet's options of these names, or none"
    )]
    CredentialProviders,
    /// We would call ourselves.
    #[error(
        "address and containerd_address are the same socket, {0}: address is ours, the other is containerd's"
    )]
    SameSocket(PathBuf),
    /// The socket is taken.
    #[error(
        "[metrics] socket {0} is the socket of something else: give it one of its own, or write \"auto\""
    )]
    MetricsSocket(PathBuf),
    /// The socket would lie among the layers.
    #[error("address {address} lies below root {root}: put the socket into a directory of its own")]
    SocketInRoot {
        /// Our socket.
        address: PathBuf,
        /// Our state.
        root: PathBuf,
    },
    /// Layers would be taken for files of the host.
    #[error("root {root} lies below {host}, whose files are indexed: name other directories in [host] roots")]
    RootInHost {
        /// Our state.
        root: PathBuf,
        /// One of the host's roots.
        host: PathBuf,
    },
    /// No file can have such a length.
    #[error("[host] min_size = {min:?} is more than max_size = {max:?}")]
    HostSizes {
        /// `min_size` as text.
        min: String,
        /// `max_size` as text.
        max: String,
    },
}

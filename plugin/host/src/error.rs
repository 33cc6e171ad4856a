//! Why the host's files cannot be indexed.

use std::path::PathBuf;

/// A failure of a pass or of reading the index. None of them concerns a pull: without an index it fetches.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The index is switched off.
    #[error(
        "host files are switched off: set policy in section [host] of the configuration to \"package-owned\""
    )]
    Off,
    /// Another process or thread is at it.
    #[error(
        "a pass over the host's files is running already; `chunked-snapshotter host status` shows how far it is"
    )]
    Busy,
    /// The pass was told to stop.
    #[error("the pass was stopped; the next one goes on where it was")]
    Stopped,
    /// A file of our own failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The index itself failed.
    #[error("host index {path}: {source}; it is a cache, delete it and run `chunked-snapshotter host index`")]
    Database {
        /// The index.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
}

//! What is read from other parts of the daemon when somebody asks for the page.

use std::time::SystemTime;

/// A number for each of a few names.
pub type Named = Vec<(&'static str, u64)>;

/// Everything that is not counted here, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Readings {
    /// Version of the daemon.
    pub version: &'static str,
    /// Requests to registries, by how they were answered.
    pub answers: Named,
    /// Bytes of bodies that registries sent.
    pub received: u64,
    /// Requests that were made once more after a failure.
    pub retries: u64,
    /// Requests under way, and those that wait for their turn.
    pub requests: Named,
    /// Layers that containerd downloaded in our place, by reason.
    pub handed_over: Named,
    /// Layers being made, by what they are doing.
    pub jobs: Named,
    /// Bytes of memory that layers may hold together, and those that nobody holds.
    pub memory: (u64, u64),
    /// What the store holds; `None` until it was counted.
    pub store: Option<StoreReadings>,
    /// Free bytes of the store's filesystem.
    pub free: Option<u64>,
    /// Layers that were dropped because nobody needed them, and bytes that came to the disk with them.
    pub evicted: (u64, u64),
    /// When the store was read the last time, and problems that were found and not repaired then.
    pub scrub: Option<(SystemTime, u64)>,
    /// Pulls that the history has.
    pub history: u64,
    /// This process.
    pub process: Process,
}

/// What the store holds, as counted a moment ago.
#[derive(Debug, Clone)]
pub struct StoreReadings {
    /// When it was counted.
    pub counted: SystemTime,
    /// Bytes on the disk, by what they are for.
    pub bytes: Named,
    /// Inodes, by what they are for.
    pub inodes: Named,
    /// Layers that snapshots need, and others.
    pub layers: Named,
    /// Snapshots of every kind.
    pub snapshots: u64,
    /// Contents that a pull can find here: files and chunks of layers, files of the host.
    pub indexed: Named,
    /// Snapshots that containerd asked for and that cannot be rebuilt after the state database was lost.
    pub lost: u64,
}

/// What the kernel says of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Process {
    /// Processor time, in seconds.
    pub cpu: f64,
    /// Bytes of memory.
    pub resident: u64,
    /// Open files.
    pub files: u64,
    /// When it started, in seconds after the epoch.
    pub started: f64,
}

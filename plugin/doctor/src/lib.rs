//! Judges how containerd, this snapshotter and the machine are set up.
//!
//! Pure: takes [`Facts`], which the binary gathers, and gives [`Finding`]s and [`Fix`]es. It must not read files, ask
//! sockets, or change anything.

mod checks;
mod config;
mod facts;
mod finding;
mod fix;

pub use checks::examine;
pub use config::{ContainerdConfig, Version};
pub use facts::{Containerd, Daemon, Facts, Machine, Nerdctl, Ours, Prepared, Process, SeLinux, Space};
pub use finding::{Finding, Level};
pub use fix::{Fix, fixes};

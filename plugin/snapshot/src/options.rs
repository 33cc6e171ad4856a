//! How the service behaves.

use std::sync::Arc;

use crate::handover::{Fallback, HandOvers};
use crate::lost::LostSnapshots;
use crate::mounts::MountOptions;

/// How the service behaves.
#[derive(Debug, Clone, Default)]
pub struct ServiceOptions {
    /// Options of the mounts it returns.
    pub mounts: MountOptions,
    /// What becomes of layers that we cannot make.
    pub fallback: Fallback,
    /// Counts those that are handed over to containerd.
    pub handed_over: Arc<HandOvers>,
    /// Rebuilds snapshots whose rows are lost.
    pub lost: Arc<LostSnapshots>,
}

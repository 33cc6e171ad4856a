//! What of the host may be indexed.

use std::path::PathBuf;

use chunked_core::Digest;
use chunked_linux::Mounts;

use crate::filesystems::Filesystem;

/// Which files below the roots qualify.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Those that dpkg, rpm or apk installed: their content is public in most cases.
    PackageOwned,
    /// All that are readable by everybody.
    Any,
    /// None: nothing is indexed, and what is indexed is not used.
    Off,
}

/// What of the host may be indexed and used.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Which files qualify.
    pub policy: Policy,
    /// Directories to walk: absolute, none of them a symlink or reached through one.
    pub roots: Vec<PathBuf>,
    /// User ids whose files qualify.
    pub owners: Vec<u32>,
    /// Kinds of filesystems files may lie on.
    pub filesystems: Vec<Filesystem>,
    /// Whether what is mounted below a root belongs to it.
    pub mounts: Mounts,
    /// Least and greatest length of a file in bytes.
    pub sizes: (u64, u64),
    /// The directory that package databases are found in and that their paths start from: `/`.
    pub system: PathBuf,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            policy: Policy::PackageOwned,
            roots: vec!["/usr".into()],
            owners: vec![0],
            filesystems: Filesystem::DEFAULT.to_vec(),
            mounts: Mounts::One,
            sizes: (1, 1 << 30),
            system: "/".into(),
        }
    }
}

impl HostOptions {
    /// Tells these rules from others. Roots are left out: rows know theirs.
    pub(crate) fn fingerprint(&self) -> i64 {
        let Self { policy, roots: _, owners, filesystems, mounts, sizes, system } = self;
        let text = format!("1 {policy:?} {owners:?} {filesystems:?} {mounts:?} {sizes:?} {system:?}");
        let mut first = [0; 8];
        first.copy_from_slice(&Digest::of(text.as_bytes()).as_bytes()[..8]);
        i64::from_le_bytes(first)
    }
}

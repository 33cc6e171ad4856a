//! `[host]`: files of the host itself as a source.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::paths;
use crate::value;

/// Files of the host itself as a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Host {
    /// Which files are indexed and used.
    pub policy: HostPolicy,
    /// Directories below which files are indexed.
    #[serde(deserialize_with = "roots")]
    pub roots: Vec<PathBuf>,
    /// User ids whose files are indexed.
    pub owners: Vec<u32>,
    /// Kinds of filesystems files may lie on.
    #[serde(deserialize_with = "filesystems")]
    pub filesystems: Vec<String>,
    /// Whether what is mounted below a root, also by a bind mount, is indexed.
    pub other_mounts: bool,
    /// Least length of a file: 1 B to 1 TiB.
    #[serde(deserialize_with = "value::size::<1, 0x100_0000_0000, _>", serialize_with = "value::show_size")]
    pub min_size: u64,
    /// Greatest length of a file: 1 B to 1 TiB.
    #[serde(deserialize_with = "value::size::<1, 0x100_0000_0000, _>", serialize_with = "value::show_size")]
    pub max_size: u64,
    /// Bytes the daemon reads per second to index files: up to 1 TiB; 0 B means as fast as it goes.
    #[serde(deserialize_with = "value::size::<0, 0x100_0000_0000, _>", serialize_with = "value::show_size")]
    pub rate: u64,
    /// Time from the daemon's start to the first pass: up to 365 days.
    #[serde(
        deserialize_with = "value::duration::<0, 31_536_000_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub delay: Duration,
    /// Time between passes: 1 s to 365 days.
    #[serde(
        deserialize_with = "value::duration::<1_000, 31_536_000_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub interval: Duration,
}

/// Which host files are indexed and used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostPolicy {
    /// Those that dpkg, rpm or apk installed.
    #[default]
    PackageOwned,
    /// All that everybody may read.
    Any,
    /// None.
    Off,
}

/// Names of filesystems, as the indexer knows them: the first eight are the default.
const FILESYSTEMS: [&str; 10] =
    ["ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "erofs", "squashfs", "tmpfs", "overlay"];
/// Directories that hold secrets, private data, or no files at all.
const NEVER: [&str; 8] = ["/etc", "/home", "/root", "/run", "/proc", "/sys", "/dev", "/boot"];

impl Default for Host {
    fn default() -> Self {
        Self {
            policy: HostPolicy::default(),
            roots: vec!["/usr".into()],
            owners: vec![0],
            filesystems: FILESYSTEMS[..8].iter().map(ToString::to_string).collect(),
            other_mounts: false,
            min_size: 1,
            max_size: 1 << 30,
            rate: 64 << 20,
            delay: Duration::from_secs(60),
            interval: Duration::from_secs(6 * 3600),
        }
    }
}

fn roots<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for text in Vec::<String>::deserialize(from)? {
        let path = paths::checked(&text).map_err(D::Error::custom)?;
        if path.parent().is_none() || NEVER.iter().any(|never| path.starts_with(never)) {
            let never = NEVER.join(", ");
            return Err(D::Error::custom(format!(
                "host files below {text:?} are never indexed; nor are those below {never}"
            )));
        }
        if let Some(other) = roots.iter().find(|other| path.starts_with(other) || other.starts_with(&path)) {
            let other = other.display();
            return Err(D::Error::custom(format!("{text:?} and {other:?} overlap: leave one out")));
        }
        roots.push(path);
    }
    Ok(roots)
}

fn filesystems<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    match names.iter().find(|name| !FILESYSTEMS.contains(&name.as_str())) {
        None => Ok(names),
        Some(bad) => Err(D::Error::custom(format!(
            "{bad:?} is not a filesystem whose files can be indexed: write {}",
            FILESYSTEMS.join(", ")
        ))),
    }
}

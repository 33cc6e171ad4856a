//! `[store]`: how long layers are kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::value;

/// Keeping layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// How long a layer is kept at least after its last use when no snapshot points at it: up to 365 days. As
    /// long as it is kept it serves as a source of files, and is there at once when its image is pulled again.
    #[serde(
        deserialize_with = "value::duration::<0, 31_536_000_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub unused_grace: Duration,
    /// Bytes that layers older than this may occupy, all together, when no snapshot points at them: up to
    /// 1024 TiB. The least recently used go first.
    #[serde(
        deserialize_with = "value::size::<0, 0x4_0000_0000_0000, _>",
        serialize_with = "value::show_size"
    )]
    pub unused_bytes: u64,
    /// The same for inodes: up to 1 000 000 000.
    #[serde(deserialize_with = "value::count::<0, 1_000_000_000, _>")]
    pub unused_inodes: usize,
    /// Part of the filesystem's bytes and inodes, in per cent, that is to stay free: up to 90. When there is less,
    /// unused layers go although they are within their limits.
    #[serde(deserialize_with = "value::count::<0, 90, _>")]
    pub keep_free_percent: usize,
    /// Time from one reading of the whole store to the next, which finds and repairs what has rotted: up to 365 days; 0
    /// means never.
    #[serde(
        deserialize_with = "value::duration::<0, 31_536_000_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub scrub: Duration,
    /// Bytes per second that it reads, at the lowest priority: up to 1 TiB; 0 means as fast as it goes.
    #[serde(deserialize_with = "value::size::<0, 0x100_0000_0000, _>", serialize_with = "value::show_size")]
    pub scrub_rate: u64,
    /// Which blobs of layers go into containerd's content store, too.
    pub keep_blobs: KeepBlobs,
}

/// Which blobs of layers go into containerd's content store while we pull them. push, export and peers that serve blobs need them there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepBlobs {
    /// None.
    #[default]
    Never,
    /// Those that are read whole. What comes by ranges never is a whole blob.
    Whole,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            unused_grace: Duration::from_secs(600),
            unused_bytes: 10 << 30,
            unused_inodes: 1_000_000,
            keep_free_percent: 20,
            scrub: Duration::from_secs(30 * 86_400),
            scrub_rate: 32 << 20,
            keep_blobs: KeepBlobs::default(),
        }
    }
}

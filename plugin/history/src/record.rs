//! A record, as it stands in the file.

use serde::{Deserialize, Serialize};

/// Longest text kept of a reason or a name, in bytes.
const MAX_TEXT: usize = 600;

/// How the pull of an image ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It goes on.
    Running,
    /// All its layers are ready.
    Complete,
    /// containerd downloaded some of its layers in our place.
    HandedOver,
    /// It failed.
    Failed,
    /// Nobody asked for the rest of its layers, or the daemon ended.
    Abandoned,
}

impl Outcome {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Complete => "complete",
            Self::HandedOver => "handed-over",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// How a layer came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Not yet, or nobody knows.
    #[default]
    Unknown,
    /// It was here.
    Present,
    /// Another image's pull made it at the same time.
    Shared,
    /// It did not.
    Failed,
    /// containerd downloaded it in our place.
    HandedOver,
    /// By ranges of its blob.
    Chunked,
    /// The whole blob.
    Whole,
}

impl Way {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Present => "present",
            Self::Shared => "shared",
            Self::Failed => "failed",
            Self::HandedOver => "handed-over",
            Self::Chunked => "chunked",
            Self::Whole => "whole",
        }
    }
}

/// Bytes of a blob that were not fetched, by what the node had instead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReusedBytes {
    /// Files of layers in the store.
    pub layer: u64,
    /// Parts of large files of layers in the store.
    pub chunk: u64,
    /// Files that another layer was fetching at the same time.
    pub in_flight: u64,
    /// What an earlier try of the same layer left.
    pub leftover: u64,
    /// Files of the host.
    pub host: u64,
    /// What the layer has twice.
    pub repeat: u64,
}

/// Seconds of a layer's stages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerSeconds {
    /// Waiting for its turn.
    pub waiting: f64,
    /// Reading its table of contents.
    pub metadata: f64,
    /// Planning.
    pub plan: f64,
    /// Fetching, writing and hashing.
    pub transfer: f64,
    /// Making it durable.
    pub commit: f64,
}

/// What became of a layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LayerRecord {
    /// Digest of its blob.
    pub blob: String,
    /// Its DiffID.
    pub diff_id: String,
    /// Bytes of its blob.
    pub size: u64,
    /// How it came.
    pub way: Way,
    /// Why it came in this way and not by ranges.
    pub reason: Option<String>,
    /// Bytes received from a registry.
    pub fetched: u64,
    /// Of these, bytes in place of something local that was of no use.
    pub fetched_again: u64,
    /// Bytes read from containerd's content store.
    pub from_content_store: u64,
    /// Bytes that were not fetched.
    pub reused: ReusedBytes,
    /// Bytes of files that were fetched although the node has them, because the reuse policy does not allow their use.
    /// `None`: not looked for.
    pub withheld: Option<u64>,
    /// Regular files with content.
    pub files: u64,
    /// Of these, files that were not fetched for their own sake.
    pub files_reused: u64,
    /// Bytes that its tree occupies on the disk.
    pub tree_bytes: u64,
    /// Of these, bytes that the disk held already.
    pub tree_bytes_shared: u64,
    /// Seconds of its stages.
    pub seconds: LayerSeconds,
}

/// The pull of an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PullRecord {
    /// Counts up; later pulls have greater numbers.
    pub number: u64,
    /// When its first layer was wanted, in milliseconds after the epoch.
    pub began: u64,
    /// When it ended; of one that goes on, when something happened last.
    pub ended: u64,
    /// The image's name.
    pub image: String,
    /// Digest of its manifest.
    pub manifest: String,
    /// Who asked, as far as is known.
    pub client: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was handed over, or failed.
    pub reason: Option<String>,
    /// Seconds to find out which image the first layer is of.
    #[serde(default)]
    pub resolve_seconds: f64,
    /// Its layers, lowest first.
    pub layers: Vec<LayerRecord>,
}

impl PullRecord {
    /// Seconds from its beginning to its end.
    pub fn seconds(&self) -> f64 {
        std::time::Duration::from_millis(self.ended.saturating_sub(self.began)).as_secs_f64()
    }
}

/// `text` on one line, cut where it is too long.
pub(crate) fn short(text: &str) -> String {
    let mut short = String::new();
    for c in text.chars() {
        if short.len() + c.len_utf8() > MAX_TEXT {
            short.push('…');
            break;
        }
        short.push(if c.is_control() { ' ' } else { c });
    }
    short
}

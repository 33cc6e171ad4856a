//! What became of a layer, and what is being done about it.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chunked_core::{Digest, ObjectDigest};
use chunked_plan::Summary;
use chunked_store::LayerPin;
use serde::{Deserialize, Serialize};

/// How a layer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// It was in the store.
    Present,
    /// By ranges of a zstd:chunked blob.
    Chunked,
    /// The whole blob.
    Whole,
}

/// Wall time of the stages of one layer, in seconds. `transfer` is fetch, assemble and verify, which overlap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Seconds {
    /// Waiting for a place among the layers that are made, and for memory.
    pub waiting: f64,
    /// Reading TOC and tar-split.
    pub metadata: f64,
    /// Index look-ups and planning.
    pub plan: f64,
    /// Fetching, writing and hashing.
    pub transfer: f64,
    /// Making it durable and visible.
    pub commit: f64,
}

/// Bytes of a layer's blob that were not fetched for its own sake, by what the node had instead, as planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Reused {
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
    /// What the layer has twice: it came once.
    pub repeat: u64,
}

/// What became of a layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerReport {
    /// Digest of its blob.
    pub blob: ObjectDigest,
    /// Its DiffID, recomputed unless it was present.
    pub diff_id: Digest,
    /// How it came.
    pub mode: Mode,
    /// Why it came whole, if it did.
    pub reason: Option<String>,
    /// Size of the blob in bytes.
    pub bytes_total: u64,
    /// Bytes received from the registry, TOC and tar-split included.
    pub bytes_fetched: u64,
    /// Bytes of the blob that were not needed, because their content was here.
    pub bytes_reused: u64,
    /// `bytes_reused` by source.
    pub reused: Reused,
    /// Bytes received in place of local files that could not be used, or of wrong bytes; part of `bytes_fetched`.
    pub bytes_fetched_again: u64,
    /// Bytes read from containerd's content store.
    pub bytes_from_content_store: u64,
    /// Bytes of files that were fetched although the node has them, because the registry's reuse domain does not allow their
    /// use. `None`: not looked for.
    pub bytes_withheld: Option<u64>,
    /// Bytes that its tree occupies on the disk; 0 if it was present.
    pub tree_bytes: u64,
    /// Of these, bytes that the disk held already, for other layers or the host.
    pub tree_bytes_shared: u64,
    /// Manifest of the image whose pull made it.
    pub made_for: ObjectDigest,
    /// Regular files with content.
    pub files: u64,
    /// Of those, files that were not fetched for their own sake.
    pub files_reused: u64,
    /// What was asked for and why, of a layer by ranges: the plan's numbers, the network it reckoned with.
    pub plan: Option<Summary>,
    /// Of those, taken from the host.
    pub files_from_host: u64,
    /// Bytes of the blob that were not needed because the host had their content; part of `bytes_reused`.
    pub bytes_from_host: u64,
    /// Wall time.
    pub seconds: Seconds,
    /// The layer, kept from being cleaned up.
    #[serde(skip)]
    pub pin: LayerPin,
}

impl LayerReport {
    /// Of a layer that the store has, after `fetched` bytes were fetched in vain.
    pub(crate) fn present(
        layer: &chunked_registry::Layer,
        made_for: ObjectDigest,
        fetched: u64,
        pin: LayerPin,
    ) -> Self {
        Self {
            blob: layer.blob,
            diff_id: layer.diff_id,
            mode: Mode::Present,
            reason: None,
            bytes_total: layer.size,
            bytes_fetched: fetched,
            bytes_reused: layer.size,
            reused: Reused::default(),
            bytes_fetched_again: 0,
            bytes_from_content_store: 0,
            bytes_withheld: None,
            tree_bytes: 0,
            tree_bytes_shared: 0,
            made_for,
            files: 0,
            files_reused: 0,
            plan: None,
            files_from_host: 0,
            bytes_from_host: 0,
            seconds: Seconds::default(),
            pin,
        }
    }
}

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Phase {
    /// For its turn.
    Waiting,
    /// Reading TOC and tar-split, planning.
    Planning,
    /// Fetching, writing, hashing.
    Transferring,
    /// Making it durable.
    Committing,
}

impl Phase {
    /// For texts: "while ...".
    pub(crate) fn doing(self) -> &'static str {
        match self {
            Self::Waiting => "waiting for its turn",
            Self::Planning => "reading its table of contents and planning",
            Self::Transferring => "fetching and unpacking it",
            Self::Committing => "putting it into the store",
        }
    }
}

/// A job's counters, shared with who shows them.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    phase: AtomicU8,
    pub(crate) wanted: AtomicU64,
    pub(crate) fetched: AtomicU64,
    pub(crate) reused: AtomicU64,
    /// Part of `fetched`: in place of something that was of no use.
    pub(crate) again: AtomicU64,
    /// How long the job waited for its turn, in microseconds.
    pub(crate) waited: AtomicU64,
    /// See [`LayerReport::bytes_withheld`].
    pub(crate) withheld: OnceLock<u64>,
}

impl Counters {
    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Waiting,
            1 => Phase::Planning,
            2 => Phase::Transferring,
            _ => Phase::Committing,
        }
    }

    /// The job's turn came.
    pub(crate) fn waited(&self, time: Duration) {
        self.waited.store(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    pub(crate) fn add_fetched(&self, bytes: usize) {
        self.fetched.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A running job, for progress bars and `status`.
#[derive(Debug, Clone, Serialize)]
pub struct JobStatus {
    /// Blob of the layer.
    pub blob: ObjectDigest,
    /// Its DiffID.
    pub diff_id: Digest,
    /// Size of the blob in bytes.
    pub bytes_total: u64,
    /// Bytes to fetch, once planned.
    pub bytes_wanted: u64,
    /// Bytes fetched so far.
    pub bytes_fetched: u64,
    /// Bytes found locally.
    pub bytes_reused: u64,
    /// What it is doing.
    pub phase: Phase,
}

pub(crate) fn status(layer: &chunked_registry::Layer, counters: &Arc<Counters>) -> JobStatus {
    JobStatus {
        blob: layer.blob,
        diff_id: layer.diff_id,
        bytes_total: layer.size,
        bytes_wanted: counters.wanted.load(Ordering::Relaxed),
        bytes_fetched: counters.fetched.load(Ordering::Relaxed),
        bytes_reused: counters.reused.load(Ordering::Relaxed),
        phase: counters.phase(),
    }
}

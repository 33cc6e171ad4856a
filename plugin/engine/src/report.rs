//! What became of a layer, and what is being done about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

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
    /// Reading TOC and tar-split.
    pub metadata: f64,
    /// Index look-ups and planning.
    pub plan: f64,
    /// Fetching, writing and hashing.
    pub transfer: f64,
    /// Making it durable and visible.
    pub commit: f64,
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
    pub(crate) fn present(layer: &chunked_registry::Layer, fetched: u64, pin: LayerPin) -> Self {
        Self {
            blob: layer.blob,
            diff_id: layer.diff_id,
            mode: Mode::Present,
            reason: None,
            bytes_total: layer.size,
            bytes_fetched: fetched,
            bytes_reused: layer.size,
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

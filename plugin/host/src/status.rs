//! What is indexed, and how far a pass is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::rules::Skip;

/// What a pass did. Times are seconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassReport {
    /// When it began.
    pub started: u64,
    /// When it ended; absent while it runs, or if it was interrupted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub finished: Option<u64>,
    /// Directories looked at.
    pub directories: u64,
    /// Files that qualify.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of these, files that were read because they were new or had changed.
    pub hashed_files: u64,
    /// Their bytes.
    pub hashed_bytes: u64,
    /// Files that left the index.
    pub removed: u64,
    /// Package databases that were read.
    pub packages: Vec<String>,
    /// About how many files there are to look at; 0 when nothing is known about it.
    pub expected: u64,
    /// What was passed over, by reason.
    pub skipped: BTreeMap<String, u64>,
}

/// What is indexed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HostStatus {
    /// False when the policy is "off".
    pub enabled: bool,
    /// Files that can be found now.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the index itself.
    pub index_bytes: u64,
    /// A pass is running now.
    pub running: bool,
    /// The running, or else the latest pass; none before the first.
    pub pass: Option<PassReport>,
}

/// A pass's counters, shared with who shows them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    report: Mutex<PassReport>,
    /// Counted apart: these change for each file and each buffer.
    files: AtomicU64,
    bytes: AtomicU64,
    hashed_bytes: AtomicU64,
}

impl Progress {
    /// The numbers so far.
    pub fn report(&self) -> PassReport {
        let mut report = self.0.report.lock().clone();
        report.files = self.0.files.load(Ordering::Relaxed);
        report.bytes = self.0.bytes.load(Ordering::Relaxed);
        report.hashed_bytes = self.0.hashed_bytes.load(Ordering::Relaxed);
        report
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut PassReport)) {
        change(&mut self.0.report.lock());
    }

    pub(crate) fn skip(&self, reason: Skip) {
        *self.0.report.lock().skipped.entry(reason.name().to_owned()).or_insert(0) += 1;
    }

    pub(crate) fn admit(&self, bytes: u64) {
        self.0.files.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.0.hashed_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

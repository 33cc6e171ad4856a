//! Which stored blobs may be the manifest we look for, judged by their labels alone.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chunked_core::{ObjectDigest, labels};
use chunked_proto::containerd::services::content::v1::Info;

use crate::documents::MAX_MANIFEST;
use crate::hints::Hints;
use crate::origin::{Origin, origins};

/// Label prefix of an index: its manifests.
const GC_REF_MANIFEST: &str = "containerd.io/gc.ref.content.m.";
/// A manifest younger than this may still wait for its config.
const FRESH: Duration = Duration::from_secs(60);
/// Blobs of unknown kind that are worth reading.
const MAX_UNKNOWN: usize = 256;

/// A blob that may be a manifest.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub digest: ObjectDigest,
    pub origins: Vec<Origin>,
    /// Last change of the blob or its labels, after the epoch.
    changed: Duration,
}

impl Candidate {
    /// True when the blob came moments ago, so that what it refers to may still be on its way.
    pub(crate) fn is_fresh(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        now.saturating_sub(self.changed) < FRESH
    }
}

/// The content of a namespace, as far as it concerns manifests.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Blobs labelled as manifests.
    pub manifests: Vec<Candidate>,
    /// Small blobs without any telling label.
    pub unknown: Vec<Candidate>,
    /// Indexes by the manifests they list.
    indexes: HashMap<ObjectDigest, Vec<ObjectDigest>>,
    /// Snapshotters that have an image, by its config.
    snapshotters: HashMap<ObjectDigest, Vec<String>>,
}

impl Listing {
    /// Sorts one blob in.
    pub(crate) fn add(&mut self, info: &Info) {
        let Ok(digest) = info.digest.parse() else { return };
        let labels = &info.labels;
        if labels.contains_key(labels::GC_REF_CONFIG) {
            self.manifests.push(candidate(digest, info));
            return;
        }
        let mut index = false;
        for (_, child) in labels.iter().filter(|(key, _)| key.starts_with(GC_REF_MANIFEST)) {
            index = true;
            if let Ok(child) = child.parse() {
                self.indexes.entry(child).or_default().push(digest);
            }
        }
        let snapshotters: Vec<String> = labels
            .keys()
            .filter_map(|key| key.strip_prefix(labels::GC_REF_SNAPSHOT_PREFIX))
            .map(str::to_owned)
            .collect();
        let unpacked = !snapshotters.is_empty() || labels.contains_key(labels::UNCOMPRESSED);
        if !snapshotters.is_empty() {
            self.snapshotters.insert(digest, snapshotters);
        }
        let small = usize::try_from(info.size).is_ok_and(|size| size <= MAX_MANIFEST);
        if small && !index && !unpacked {
            self.unknown.push(candidate(digest, info));
        }
    }

    /// Puts the likeliest first: what the hints name, then what changed last.
    pub(crate) fn sort(&mut self, hints: &Hints) {
        let named = |candidate: &Candidate| {
            hints.image.as_ref().is_some_and(|name| candidate.origins.iter().any(|o| o.is_of(name)))
        };
        let key = |c: &Candidate| std::cmp::Reverse((hints.manifest == Some(c.digest), named(c), c.changed));
        self.manifests.sort_by_cached_key(key);
        self.unknown.sort_by_cached_key(key);
        self.unknown.truncate(MAX_UNKNOWN);
    }

    /// The snapshotters that an image with this config was unpacked into, by name.
    pub(crate) fn snapshotters_of(&self, config: &ObjectDigest) -> Vec<String> {
        let mut names = self.snapshotters.get(config).cloned().unwrap_or_default();
        names.sort_unstable();
        names
    }

    /// The indexes that list `manifest`.
    pub(crate) fn indexes_of(&self, manifest: &ObjectDigest) -> &[ObjectDigest] {
        self.indexes.get(manifest).map_or(&[], Vec::as_slice)
    }
}

fn candidate(digest: ObjectDigest, info: &Info) -> Candidate {
    let changed = info.updated_at.or(info.created_at).map_or(Duration::ZERO, |at| {
        // A time before 1970 (Go's zero time is one) counts as very old.
        Duration::new(u64::try_from(at.seconds).unwrap_or(0), u32::try_from(at.nanos).unwrap_or(0))
    });
    Candidate { digest, origins: origins(&info.labels), changed }
}

//! What a request's labels suggest. Nothing here is proof: image authors can set every one of them.

use std::collections::HashMap;

use chunked_core::{ObjectDigest, labels};
use chunked_registry::Reference;

/// Longest image reference looked at, in bytes.
const MAX_REFERENCE: usize = 1024;

/// Suggestions that were well formed.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    /// Manifest to look at first.
    pub manifest: Option<ObjectDigest>,
    /// Name the image may be pulled under.
    pub image: Option<Reference>,
}

impl Hints {
    pub(crate) fn from_labels(from: &HashMap<String, String>) -> Self {
        let manifest = from.get(labels::CRI_MANIFEST_DIGEST).and_then(|text| text.parse().ok());
        let image = from
            .get(labels::CRI_IMAGE_REF)
            .filter(|text| text.len() <= MAX_REFERENCE)
            .and_then(|text| text.parse().ok());
        Self { manifest, image }
    }
}

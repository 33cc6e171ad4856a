//! What refers to an image from outside: signatures, SBOMs, attestations pushed beside it.

use chunked_core::ObjectDigest;
use serde_json::Value;

use crate::document::Descriptor;

/// Suffixes of the tags by which cosign finds what belongs to an image.
pub(crate) const COSIGN: [&str; 3] = ["sig", "att", "sbom"];
/// Most referrers of one image that are looked at.
pub(crate) const MAX: usize = 1000;

/// Something that refers to an image.
#[derive(Debug, Clone)]
pub(crate) struct Referrer {
    pub descriptor: Descriptor,
    /// The tag that names it, for those that are found by their names only (cosign).
    pub tag: Option<String>,
}

/// The tag that lists the referrers of `subject` where there is no API for it, and that cosign builds on: of a digest
/// at most 64 digits (distribution spec, "Referrers Tag Schema").
pub(crate) fn tag(subject: &ObjectDigest) -> String {
    format!("{}-{:.64}", subject.algorithm().name(), subject.to_hex())
}

/// What a referrer is, for a person: its artifact type, else its media type.
pub(crate) fn kind(referrer: &Referrer) -> String {
    let Descriptor { media_type, rest, .. } = &referrer.descriptor;
    let named = rest.get("artifactType").and_then(Value::as_str).filter(|kind| !kind.is_empty());
    match (&referrer.tag, named) {
        (Some(tag), _) => format!("cosign {}", tag.rsplit('.').next().unwrap_or_default()),
        (None, Some(kind)) => kind.chars().filter(|c| !c.is_control()).take(100).collect(),
        (None, None) => media_type.chars().filter(|c| !c.is_control()).take(100).collect(),
    }
}

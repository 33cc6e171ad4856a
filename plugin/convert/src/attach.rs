//! What belongs to an image without being part of it.
//!
//! A conversion gives an image a new digest, and what was said about the old digest stays true of that one only.
//!
//! - **Attestations** that an index holds (BuildKit's SBOMs and provenance) are carried over: their descriptor is
//!   re-pointed to the new manifest, so that tools find them. Their statements stay as they are, byte for byte, and
//!   name the source's digest, which the new manifest names in an annotation. A verifier that compares a
//!   statement's subject with the new digest will refuse it, rightly.
//! - **Referrers** (signatures, and whatever has a `subject`) cannot be re-pointed without being written anew, which
//!   would break the signatures on them. They are carried over where the digest they are about stayed, and dropped
//!   by name where it changed.

use std::collections::BTreeMap;

use chunked_core::ObjectDigest;

use crate::document::{Descriptor, Document, Parsed};
use crate::referrers::{self, Referrer};
use crate::report::Attachment;

/// BuildKit's annotation: which manifest of the index an entry is about.
const SUBJECT: &str = "vnd.docker.reference.digest";
/// BuildKit's annotation: what an entry is.
const KIND: &str = "vnd.docker.reference.type";

/// The manifest that an entry of an index is about; `None` for images.
pub(crate) fn subject(entry: &Descriptor) -> Option<&str> {
    entry.annotations.get(SUBJECT).map(String::as_str)
}

/// The entry for the new index, if the attestation is carried over, and what to tell about it. `renamed` has the
/// new digest of every image of the index.
pub(crate) fn carry(
    entry: &Descriptor,
    renamed: &BTreeMap<ObjectDigest, ObjectDigest>,
    drop: bool,
) -> (Option<Descriptor>, Attachment) {
    let old = subject(entry).and_then(|text| text.parse::<ObjectDigest>().ok());
    let new = old.and_then(|old| renamed.get(&old)).copied().filter(|_| !drop);
    let kind = entry.annotations.get(KIND).map_or("attestation", String::as_str);
    let note = match (old, new) {
        _ if drop => "dropped, as asked for".to_owned(),
        (_, None) => "dropped: the manifest it is about is not in the new index".to_owned(),
        (Some(old), Some(new)) if old == new => "carried over as it is".to_owned(),
        _ => "carried over, its entry re-pointed to the new manifest; its statements still name the old one"
            .to_owned(),
    };
    let report = Attachment {
        digest: entry.digest,
        kind: kind.chars().filter(|c| !c.is_control()).take(100).collect(),
        subject: old,
        new_subject: new,
        carried: new.is_some(),
        note,
    };
    let entry = new.map(|new| {
        let mut entry = entry.clone();
        entry.annotations.insert(SUBJECT.to_owned(), new.to_string());
        entry
    });
    (entry, report)
}

/// An entry that went with its image when platforms were chosen.
pub(crate) fn left_out(entry: &Descriptor) -> Attachment {
    let old = subject(entry).and_then(|text| text.parse::<ObjectDigest>().ok());
    let kind = entry.annotations.get(KIND).map_or("attestation", String::as_str);
    Attachment {
        digest: entry.digest,
        kind: kind.chars().filter(|c| !c.is_control()).take(100).collect(),
        subject: old,
        new_subject: None,
        carried: false,
        note: "dropped: with one platform chosen there is no index to hold it".to_owned(),
    }
}

/// An entry of an index that is no document of a kind that is known: nobody knows what else belongs to it.
pub(crate) fn no_document(entry: &Descriptor) -> Attachment {
    Attachment {
        digest: entry.digest,
        kind: entry.media_type.chars().filter(|c| !c.is_control()).take(100).collect(),
        subject: None,
        new_subject: None,
        carried: false,
        note: "dropped: it is neither an image nor an index".to_owned(),
    }
}

/// What to tell about a referrer.
pub(crate) fn referrer(referrer: &Referrer, subject: ObjectDigest, carried: bool) -> Attachment {
    let note = if carried {
        "carried over: the image it is about is unchanged"
    } else {
        "dropped: it is about the source's digest, and is there still; sign or attest the new image"
    };
    Attachment {
        digest: referrer.descriptor.digest,
        kind: referrers::kind(referrer),
        subject: Some(subject),
        new_subject: carried.then_some(subject),
        carried,
        note: note.to_owned(),
    }
}

/// What an artifact is.
pub(crate) fn kind(artifact: &Document) -> String {
    let Parsed::Manifest(manifest) = &artifact.parsed else { return artifact.media_type().to_owned() };
    let named = manifest.rest.get("artifactType").and_then(serde_json::Value::as_str);
    named.unwrap_or(&manifest.config.media_type).chars().filter(|c| !c.is_control()).take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attestations_follow_their_image_or_are_named() {
        let (old, new, other) =
            (ObjectDigest::of(b"old"), ObjectDigest::of(b"new"), ObjectDigest::of(b"other"));
        let mut entry = Descriptor::of("m", b"attestation");
        entry.annotations.insert(SUBJECT.to_owned(), old.to_string());
        entry.annotations.insert(KIND.to_owned(), "attestation-manifest".to_owned());
        let renamed = BTreeMap::from([(old, new)]);
        let (carried, report) = carry(&entry, &renamed, false);
        assert_eq!(subject(&carried.unwrap()), Some(new.to_string().as_str()));
        assert!(report.carried && report.note.contains("re-pointed"), "{report:?}");

        let (carried, report) = carry(&entry, &BTreeMap::from([(old, old)]), false);
        assert_eq!(carried, Some(entry.clone()), "{report:?}");

        for (renamed, drop) in [(BTreeMap::from([(other, new)]), false), (renamed, true)] {
            let (carried, report) = carry(&entry, &renamed, drop);
            assert!(carried.is_none() && !report.carried && report.note.contains("dropped"), "{report:?}");
            assert_eq!((report.subject, report.kind.as_str()), (Some(old), "attestation-manifest"));
        }
    }
}

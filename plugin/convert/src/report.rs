//! What a conversion did.

use chunked_core::{Digest, ObjectDigest};
use serde::Serialize;

/// Why most layers are left alone.
pub(crate) const ALREADY: &str = "it is zstd:chunked already";

/// What became of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is zstd:chunked now.
    Converted,
    /// The format cannot express it; it is an ordinary zstd layer now.
    Recompressed,
    /// It stayed as it was.
    Kept,
}

/// How a blob came to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Delivery {
    /// It was there.
    Present,
    /// The registry took it from the source's repository.
    Mounted,
    /// Its bytes were sent.
    Sent,
    /// It lives elsewhere: a foreign layer.
    None,
}

/// One layer of the source.
#[derive(Debug, Clone, Serialize)]
pub struct LayerReport {
    /// Digest of the decompressed tar, which no conversion changes.
    pub diff_id: Digest,
    /// Digest of the source's blob.
    pub source_blob: ObjectDigest,
    /// Its length in bytes.
    pub source_size: u64,
    /// Its media type.
    pub source_media_type: String,
    /// What became of it.
    pub action: Action,
    /// Why it is not zstd:chunked now, or why it was left alone.
    pub reasons: Vec<String>,
    /// Digest of the destination's blob.
    pub blob: ObjectDigest,
    /// Its length in bytes.
    pub size: u64,
    /// How it came there.
    pub delivery: Delivery,
    /// Files with content, and chunks they are cut into; of converted layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Seconds of reading, checking and writing anew.
    pub convert_seconds: f64,
    /// Seconds of sending.
    pub send_seconds: f64,
}

/// What is in a converted layer.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Content {
    /// Bytes of the tar.
    pub tar_size: u64,
}

/// One image of the source.
#[derive(Debug, Clone, Serialize)]
pub struct ImageReport {
    /// Its platform, if the source says.
    pub platform: Option<String>,
    /// Digest of the source's manifest.
    pub source_manifest: ObjectDigest,
    /// Digest of its manifest now; the same if nothing in it changed.
    pub manifest: ObjectDigest,
    /// Docker schema 2 became OCI.
    pub from_docker: bool,
    /// Its layers, lowest first.
    pub layers: Vec<LayerReport>,
}

/// What became of an attestation, a referrer, or another document that is no image.
#[derive(Debug, Clone, Serialize)]
pub struct Attachment {
    /// Its digest.
    pub digest: ObjectDigest,
    /// What it is.
    pub kind: String,
    /// Digest of the source's manifest that it is about, if it is about one.
    pub subject: Option<ObjectDigest>,
    /// Digest of the manifest it is about now; `None` when it was dropped or is about nothing.
    pub new_subject: Option<ObjectDigest>,
    /// Whether it is at the destination.
    pub carried: bool,
    /// What was done with it and why.
    pub note: String,
}

/// A whole conversion.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The source, as given.
    pub source: String,
    /// The destination, as given.
    pub destination: String,
    /// Digest by which the source is known: of its manifest or index; of its config if it has neither.
    pub source_digest: ObjectDigest,
    /// Digest of the destination's manifest or index.
    pub digest: ObjectDigest,
    /// Images, in the order of the index.
    pub images: Vec<ImageReport>,
    /// Attestations, referrers and other documents.
    pub attachments: Vec<Attachment>,
    /// What else a user should know.
    pub notes: Vec<String>,
    /// Bytes of different source blobs.
    pub source_bytes: u64,
    /// Bytes of different destination blobs.
    pub bytes: u64,
    /// Wall time in seconds.
    pub seconds: f64,
}

impl Report {
    /// Every layer of every image.
    pub fn layers(&self) -> impl Iterator<Item = &LayerReport> {
        self.images.iter().flat_map(|image| &image.layers)
    }

    /// True when something could not be converted or was not carried over.
    pub fn incomplete(&self) -> bool {
        self.layers().any(|layer| layer.action == Action::Recompressed || not_chunked(layer))
            || self.attachments.iter().any(|attachment| !attachment.carried)
    }
}

/// Kept although it is a layer that could have been chunked.
fn not_chunked(layer: &LayerReport) -> bool {
    layer.action == Action::Kept && layer.reasons.iter().any(|reason| reason != ALREADY)
}

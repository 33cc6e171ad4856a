//! The wire form of indexes, manifests and configs (OCI image-spec, docker image manifest v2 schema 2).

use std::collections::BTreeMap;

use chunked_core::Digest;
use serde::Deserialize;

use super::ImageError;

/// A reference to a blob or a document.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Descriptor {
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// An image manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

/// One entry of an index.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct IndexEntry {
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    pub digest: Digest,
    #[serde(default)]
    pub platform: Option<IndexPlatform>,
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// The platform of an index entry.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct IndexPlatform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub variant: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<IndexEntry>,
}

#[derive(Deserialize)]
struct Config {
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

/// Only as much as tells the kinds of documents apart.
#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(rename = "schemaVersion", default)]
    schema_version: u64,
    #[serde(borrow, default, rename = "fsLayers")]
    fs_layers: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    manifests: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    layers: Option<&'a serde_json::value::RawValue>,
    #[serde(borrow, default)]
    config: Option<&'a serde_json::value::RawValue>,
}

/// A document that the manifest endpoint can give.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Vec<IndexEntry>),
    Manifest(Manifest),
}

impl Document {
    /// Tells index and manifest apart by their members, not by a media type that a server or a third party
    /// chose: a document with the members of both is refused (CVE-2021-41190).
    pub(crate) fn parse(bytes: &[u8], digest: &Digest) -> Result<Self, ImageError> {
        let shape: Shape<'_> = json("manifest", bytes, digest)?;
        let not_an_image =
            |reason: &str| ImageError::NotAnImage { digest: *digest, reason: reason.to_owned() };
        if shape.schema_version == 1 || shape.fs_layers.is_some() {
            return Err(ImageError::Schema1 { digest: *digest });
        }
        let image = shape.layers.is_some() || shape.config.is_some();
        match (shape.manifests.is_some(), image) {
            (true, false) => json::<Index>("index", bytes, digest).map(|index| Self::Index(index.manifests)),
            (false, true) => json("manifest", bytes, digest).map(Self::Manifest),
            (true, true) => Err(not_an_image("it has the members of both an index and a manifest")),
            (false, false) => Err(not_an_image("it has neither layers nor manifests")),
        }
    }
}

/// An image's manifest; indexes and artifacts are errors.
pub(crate) fn image_manifest(bytes: &[u8], digest: &Digest) -> Result<Manifest, ImageError> {
    let manifest = match Document::parse(bytes, digest)? {
        Document::Manifest(manifest) => manifest,
        Document::Index(_) => {
            return Err(ImageError::NotAnImage { digest: *digest, reason: "it is an index".to_owned() });
        }
    };
    match manifest.config.media_type.as_str() {
        "application/vnd.oci.image.config.v1+json"
        | "application/vnd.docker.container.image.v1+json"
        // Some old pushers.
        | "application/octet-stream" => Ok(manifest),
        other => {
            let other: String = other.chars().take(200).collect();
            Err(ImageError::NotAnImage { digest: *digest, reason: format!("its config is of type {other:?}") })
        }
    }
}

/// The DiffIDs of an image config, lowest layer first.
pub(crate) fn diff_ids(config: &[u8], digest: &Digest) -> Result<Vec<Digest>, ImageError> {
    json::<Config>("config", config, digest).map(|config| config.rootfs.diff_ids)
}

fn json<'a, T: Deserialize<'a>>(
    document: &'static str,
    bytes: &'a [u8],
    digest: &Digest,
) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::Malformed {
        document,
        digest: *digest,
        reason: error.to_string().chars().take(300).collect(),
    })
}

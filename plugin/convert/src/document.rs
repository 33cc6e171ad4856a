//! Manifests and indexes as they are rewritten: what is understood, and everything else kept as it came.
//!
//! Pure: bytes in, bytes out. A document that nothing changes in is never written anew, so that its digest stays.

use std::collections::BTreeMap;

use chunked_core::Digest;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::media;

/// Most layers of a manifest, and most entries of an index.
const MAX_ENTRIES: usize = 4096;

/// A reference to a blob or a document (OCI image-spec, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// What it is.
    #[serde(rename = "mediaType", default)]
    pub media_type: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Notes for tools.
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Members that mean nothing to a conversion: `platform`, `urls`, `artifactType`…
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Descriptor {
    /// Of `bytes`, with nothing else to say.
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: Digest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            rest: Map::new(),
        }
    }
}

/// `null` as the default: some writers put it for an empty map.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    #[serde(rename = "schemaVersion")]
    pub schema_version: u64,
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An image index, or a docker manifest list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Index {
    #[serde(rename = "schemaVersion")]
    pub schema_version: u64,
    #[serde(rename = "mediaType", default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    pub manifests: Vec<Descriptor>,
    #[serde(default, deserialize_with = "or_none", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a document's bytes are.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parsed {
    Index(Index),
    Manifest(Manifest),
}

/// A document as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub bytes: Vec<u8>,
    pub digest: Digest,
    pub parsed: Parsed,
}

#[derive(Deserialize)]
struct Shape {
    #[serde(default)]
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    config: Option<serde::de::IgnoredAny>,
    #[serde(rename = "fsLayers", default)]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Tells index and manifest apart by their members, not by what a server calls them; a document with the
    /// members of both is refused (CVE-2021-41190).
    pub(crate) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let digest = Digest::of(&bytes);
        let shape: Shape = serde_json::from_slice(&bytes).map_err(|error| text(&error))?;
        if shape.fs_layers.is_some() {
            return Err("it is docker schema 1, which has no digests of layer contents; \
                 push the image again with a current client"
                .to_owned());
        }
        let image = shape.layers.is_some() || shape.config.is_some();
        let parsed = match (shape.manifests.is_some(), image) {
            (true, false) => {
                let mut index: Index = serde_json::from_slice(&bytes).map_err(|error| text(&error))?;
                if index.media_type.is_empty() {
                    media::INDEX.clone_into(&mut index.media_type);
                }
                Parsed::Index(index)
            }
            (false, true) => {
                let mut manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| text(&error))?;
                if manifest.media_type.is_empty() {
                    media::MANIFEST.clone_into(&mut manifest.media_type);
                }
                Parsed::Manifest(manifest)
            }
            (true, true) => return Err("it has the members of both an index and a manifest".to_owned()),
            (false, false) => return Err("it has neither layers nor manifests".to_owned()),
        };
        let entries = match &parsed {
            Parsed::Index(index) => index.manifests.len(),
            Parsed::Manifest(manifest) => manifest.layers.len(),
        };
        if entries > MAX_ENTRIES {
            return Err(format!("it has {entries} entries, at most {MAX_ENTRIES} are allowed"));
        }
        Ok(Self { bytes, digest, parsed })
    }

    /// Its media type, as it says or by its shape.
    pub(crate) fn media_type(&self) -> &str {
        match &self.parsed {
            Parsed::Index(index) => &index.media_type,
            Parsed::Manifest(manifest) => &manifest.media_type,
        }
    }

    /// A descriptor of it.
    pub(crate) fn descriptor(&self) -> Descriptor {
        Descriptor::of(self.media_type(), &self.bytes)
    }

    /// The document that `index` or `manifest` is.
    pub(crate) fn write(parsed: Parsed) -> Result<Self, serde_json::Error> {
        let bytes = match &parsed {
            Parsed::Index(index) => serde_json::to_vec(index)?,
            Parsed::Manifest(manifest) => serde_json::to_vec(manifest)?,
        };
        Ok(Self { digest: Digest::of(&bytes), bytes, parsed })
    }
}

fn text(error: &serde_json::Error) -> String {
    let text: String = error.to_string().chars().take(300).collect();
    format!("it cannot be read: {text}")
}

/// The DiffIDs of an image config, lowest layer first.
pub(crate) fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, String> {
    #[derive(Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(Deserialize)]
    struct RootFs {
        diff_ids: Vec<Digest>,
    }
    serde_json::from_slice::<Config>(config)
        .map(|config| config.rootfs.diff_ids)
        .map_err(|error| text(&error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_understood_is_kept() {
        let digest = Digest::of(b"x");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media::MANIFEST, "artifactType": "a/b",
            "config": {"mediaType": media::CONFIG, "digest": digest, "size": 1, "annotations": null},
            "layers": [{"mediaType": "l", "digest": digest, "size": 2, "urls": ["u"], "annotations": {"k": "v"}}],
            "subject": {"mediaType": "m", "digest": digest, "size": 3},
        });
        let document = Document::parse(manifest.to_string().into_bytes()).unwrap();
        let Parsed::Manifest(parsed) = &document.parsed else { panic!("not a manifest") };
        assert_eq!(parsed.layers[0].annotations["k"], "v");
        let written = Document::write(document.parsed.clone()).unwrap();
        let mut again: Value = serde_json::from_slice(&written.bytes).unwrap();
        again["config"]["annotations"] = Value::Null;
        assert_eq!(again, manifest);
        assert_eq!(Document::write(document.parsed).unwrap().bytes, written.bytes);
    }

    #[test]
    fn shapes_decide_and_ambiguity_is_refused() {
        let d = json!({"digest": Digest::of(b"x"), "size": 1});
        let parse = |value: Value| Document::parse(value.to_string().into_bytes());
        let index = parse(json!({"schemaVersion": 2, "manifests": [d]})).unwrap();
        assert_eq!(index.media_type(), media::INDEX);
        let manifest = parse(json!({"schemaVersion": 2, "config": d, "layers": []})).unwrap();
        assert_eq!(manifest.media_type(), media::MANIFEST);
        for (bad, reason) in [
            (json!({"schemaVersion": 2, "manifests": [], "layers": [], "config": d}), "both"),
            (json!({"schemaVersion": 2}), "neither"),
            (json!({"schemaVersion": 1, "fsLayers": []}), "schema 1"),
            (json!("x"), "cannot be read"),
        ] {
            assert!(parse(bad).unwrap_err().contains(reason), "{reason}");
        }
    }

    #[test]
    fn diff_ids_are_digests() {
        let config = json!({"rootfs": {"type": "layers", "diff_ids": [Digest::of(b"1")]}}).to_string();
        assert_eq!(diff_ids(config.as_bytes()).unwrap(), [Digest::of(b"1")]);
        assert!(diff_ids(br#"{"rootfs": {"diff_ids": ["md5:1"]}}"#).is_err());
    }
}

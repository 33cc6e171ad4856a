//! Manifests, indexes and configs: what is understood, and everything else kept as it came.

use std::collections::BTreeMap;

use chunked_core::{Digest, ObjectDigest};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Object, media};
use crate::platform::Platform;

/// Most layers of a manifest, and most entries of an index.
const MAX_ENTRIES: usize = 4096;

/// A document that cannot be used. The caller knows which one it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Not JSON of the right shape.
    #[error("it cannot be read: {0}")]
    Malformed(String),
    /// A manifest of docker's first schema.
    #[error(
        "it is docker schema 1, which has no digests of layer contents; push the image again with a current client"
    )]
    Schema1,
    /// Neither manifest nor index, or claims to be both.
    #[error("it is not the manifest of a container image: {0}")]
    NotAnImage(String),
    /// A digest by another algorithm than those of [`ObjectDigest`] where its content is needed.
    #[error("it names {0}: only sha256 and sha512 digests are supported")]
    Algorithm(String),
    /// A DiffID by another algorithm than SHA-256.
    #[error("it has the DiffID {0}: only sha256 is supported for DiffIDs, as in containerd")]
    DiffIdAlgorithm(String),
}

/// A reference to a blob or a document (OCI image-spec, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Descriptor {
    /// What it is.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Digest of its bytes.
    pub digest: ObjectDigest,
    /// Its length in bytes.
    pub size: u64,
    /// Notes for tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Members that mean nothing to us: `urls`, `artifactType`, `platform` (see [`Descriptor::platform`])…
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An image manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Manifest {
    /// 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u64,
    /// What it calls itself; an OCI manifest when it does not say.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// The image's config, or what an artifact has in its place.
    pub config: Descriptor,
    /// Layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Notes for tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An image index, or a docker manifest list.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Index {
    /// 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u64,
    /// What it calls itself; an OCI index when it does not say.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Its entries, as far as they are named by algorithms that are supported.
    pub manifests: Vec<Descriptor>,
    /// Entries that are named by another algorithm. Written behind the others.
    #[serde(skip)]
    pub others: Vec<Other>,
    /// Notes for tools.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Everything else.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// An entry of an index whose digest is by an algorithm that is not supported.
#[derive(Debug, Clone, PartialEq)]
pub struct Other {
    /// Its digest, as it stands.
    pub digest: String,
    /// The platform that it is for.
    pub platform: Option<Platform>,
    /// All of it.
    value: Value,
}

/// What is read of an image's config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Digests of the layers' tars, lowest first.
    pub diff_ids: Vec<Digest>,
    /// The platform that the image is for, if it says.
    pub platform: Option<Platform>,
}

/// Either kind of document.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// Lists documents.
    Index(Index),
    /// One image, or an artifact.
    Manifest(Manifest),
}

/// A document as it was read.
#[derive(Debug, Clone)]
pub struct Document {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What it is known by: the digest it was asked for by, or the SHA-256 of the bytes.
    pub digest: ObjectDigest,
    /// What they say.
    pub parsed: Parsed,
}

impl Descriptor {
    /// Of `bytes`, with nothing else to say.
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: ObjectDigest::of(bytes),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
            rest: Map::new(),
        }
    }

    /// The platform that an index gives it; `None` without one that says anything. BuildKit's attestations are for
    /// `unknown/unknown`.
    pub fn platform(&self) -> Option<Platform> {
        let platform = self.rest.get("platform")?.to_string();
        Object::parse(&platform).ok().and_then(|object| named(&object))
    }

    fn parse(raw: &RawValue) -> Result<Self, DocumentError> {
        let object = Object::parse(raw.get()).map_err(|error| malformed(&error))?;
        let digest: String = object.get("digest").map_err(|error| malformed(&error))?;
        let digest = match digest.parse::<ObjectDigest>() {
            Ok(digest) => digest,
            Err(_) if is_digest(&digest) => return Err(DocumentError::Algorithm(digest)),
            Err(error) => return Err(DocumentError::Malformed(error.to_string())),
        };
        let read = || {
            Ok(Self {
                media_type: object.get("mediaType")?,
                digest,
                size: object.get("size")?,
                annotations: object.get("annotations")?,
                rest: object.others(&["mediaType", "digest", "size", "annotations"])?,
            })
        };
        read().map_err(|error: serde_json::Error| malformed(&error))
    }
}

/// True for the text of a digest, of whatever algorithm (OCI image-spec, "Digests").
fn is_digest(text: &str) -> bool {
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    text.len() <= 300
        && text
            .split_once(':')
            .is_some_and(|(algorithm, encoded)| word(algorithm, b"+._-") && word(encoded, b"=_-"))
}

/// The platform that an object with `os`, `architecture` and `variant` names. Without an operating system it is this
/// one's, as in containerd; without an architecture it names none.
fn named(object: &Object<'_>) -> Option<Platform> {
    let word = |name| object.get::<String>(name).unwrap_or_default();
    let (os, architecture, variant) = (word("os"), word("architecture"), word("variant"));
    (!architecture.is_empty()).then(|| Platform::new(&os, &architecture, Some(&variant)))
}

impl Config {
    /// Reads an image's config.
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let text = String::from_utf8_lossy(bytes);
        let object = Object::parse(&text).map_err(|error| malformed(&error))?;
        let rootfs = match object.raw("rootfs") {
            Some(raw) => Object::parse(raw.get()).and_then(|rootfs| rootfs.get::<Vec<String>>("diff_ids")),
            None => Ok(Vec::new()),
        };
        let parse = |text: String| match text.parse() {
            Ok(digest) => Ok(digest),
            Err(_) if is_digest(&text) => Err(DocumentError::DiffIdAlgorithm(text)),
            Err(error) => Err(DocumentError::Malformed(format!("a DiffID is {error}"))),
        };
        let diff_ids = rootfs.map_err(|error| malformed(&error))?.into_iter().map(parse);
        Ok(Self { diff_ids: diff_ids.collect::<Result<_, _>>()?, platform: named(&object) })
    }
}

impl Document {
    /// Reads a document. Tells index and manifest apart by their members, not by what a server or a third party calls
    /// them; a document with the members of both is refused (CVE-2021-41190).
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn parse(bytes: Vec<u8>) -> Result<Self, DocumentError> {
        let text = String::from_utf8_lossy(&bytes);
        let object = Object::parse(&text).map_err(|error| malformed(&error))?;
        let parsed = parse(&object)?;
        let entries = match &parsed {
            Parsed::Index(index) => index.manifests.len(),
            Parsed::Manifest(manifest) => manifest.layers.len(),
        };
        if entries > MAX_ENTRIES {
            let reason = format!("it has {entries} entries, at most {MAX_ENTRIES} are allowed");
            return Err(DocumentError::NotAnImage(reason));
        }
        Ok(Self { digest: ObjectDigest::of(&bytes), bytes, parsed })
    }

    /// The document that was asked for by the digest `name`, which the caller has compared with `bytes`.
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn named(name: ObjectDigest, bytes: Vec<u8>) -> Result<Self, DocumentError> {
        Ok(Self { digest: name, ..Self::parse(bytes)? })
    }

    /// Its media type, as it says or by its shape.
    pub fn media_type(&self) -> &str {
        match &self.parsed {
            Parsed::Index(index) => &index.media_type,
            Parsed::Manifest(manifest) => &manifest.media_type,
        }
    }

    /// A descriptor of it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor { digest: self.digest, ..Descriptor::of(self.media_type(), &self.bytes) }
    }

    /// The document that `parsed` becomes.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn write(parsed: Parsed) -> Result<Self, serde_json::Error> {
        let bytes = match &parsed {
            Parsed::Index(index) if !index.others.is_empty() => {
                let mut written = serde_json::to_value(index)?;
                if let Some(entries) = written.get_mut("manifests").and_then(Value::as_array_mut) {
                    entries.extend(index.others.iter().map(|other| other.value.clone()));
                }
                serde_json::to_vec(&written)?
            }
            Parsed::Index(index) => serde_json::to_vec(index)?,
            Parsed::Manifest(manifest) => serde_json::to_vec(manifest)?,
        };
        Ok(Self { digest: ObjectDigest::of(&bytes), bytes, parsed })
    }
}

impl Index {
    /// An OCI index of nothing.
    pub fn empty() -> Self {
        Self {
            schema_version: 2,
            media_type: media::INDEX.to_owned(),
            manifests: Vec::new(),
            others: Vec::new(),
            annotations: BTreeMap::new(),
            rest: Map::new(),
        }
    }

    /// Reads an index that is one by where it was found: the `index.json` of a layout.
    ///
    /// # Errors
    ///
    /// [`DocumentError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let text = String::from_utf8_lossy(bytes);
        index(&Object::parse(&text).map_err(|error| malformed(&error))?)
    }
}

impl Manifest {
    /// Refuses what is not the manifest of a container image: signatures, charts, models and other artifacts.
    ///
    /// # Errors
    ///
    /// [`DocumentError::NotAnImage`].
    pub fn of_image(&self) -> Result<(), DocumentError> {
        if media::is_image_config(&self.config.media_type) {
            return Ok(());
        }
        let named = self.rest.get("artifactType").and_then(Value::as_str).unwrap_or(&self.config.media_type);
        let named: String = named.chars().filter(|c| !c.is_control()).take(200).collect();
        Err(DocumentError::NotAnImage(format!(
            "it is an artifact of type {named:?}, for which there are other tools"
        )))
    }
}

fn parse(object: &Object<'_>) -> Result<Parsed, DocumentError> {
    let version: Option<u64> = object.get("schemaVersion").map_err(|error| malformed(&error))?;
    let media_type: String = object.get("mediaType").map_err(|error| malformed(&error))?;
    if version == Some(1) || object.raw("fsLayers").is_some() {
        return Err(DocumentError::Schema1);
    }
    let (lists, has_config, has_layers) =
        (object.raw("manifests").is_some(), object.raw("config").is_some(), object.raw("layers").is_some());
    let contradiction = "it has the members of both an index and a manifest";
    match (lists, has_config || has_layers) {
        (true, true) => Err(DocumentError::NotAnImage(contradiction.to_owned())),
        (true, false) if media::is_manifest(&media_type) => {
            Err(DocumentError::NotAnImage(contradiction.to_owned()))
        }
        (false, true) if media::is_index(&media_type) => {
            Err(DocumentError::NotAnImage(contradiction.to_owned()))
        }
        (true, false) => index(object).map(Parsed::Index),
        (false, false) if media::is_index(&media_type) => index(object).map(Parsed::Index),
        (false, true) if has_config => manifest(object).map(Parsed::Manifest),
        (false, true) => Err(DocumentError::NotAnImage("it has layers and no config".to_owned())),
        (false, false) => Err(DocumentError::NotAnImage("it has neither layers nor manifests".to_owned())),
    }
}

fn index(object: &Object<'_>) -> Result<Index, DocumentError> {
    let (mut manifests, mut others) = (Vec::new(), Vec::new());
    for raw in object.list("manifests").map_err(|error| malformed(&error))? {
        match Descriptor::parse(raw) {
            Ok(descriptor) => manifests.push(descriptor),
            Err(DocumentError::Algorithm(digest)) => {
                let entry = Object::parse(raw.get()).map_err(|error| malformed(&error))?;
                let platform = entry.raw("platform").and_then(|raw| named(&Object::parse(raw.get()).ok()?));
                let value = serde_json::from_str(raw.get()).map_err(|error| malformed(&error))?;
                others.push(Other { digest, platform, value });
            }
            Err(error) => return Err(error),
        }
    }
    let read = || {
        Ok(Index {
            schema_version: object.get::<Option<u64>>("schemaVersion")?.unwrap_or(2),
            media_type: or(object.get("mediaType")?, media::INDEX),
            manifests,
            others,
            annotations: object.get("annotations")?,
            rest: object.others(&[
                "schemaVersion",
                "mediaType",
                "manifests",
                "annotations",
                "config",
                "layers",
            ])?,
        })
    };
    read().map_err(|error: serde_json::Error| malformed(&error))
}

fn manifest(object: &Object<'_>) -> Result<Manifest, DocumentError> {
    let config = object.raw("config").map(Descriptor::parse).transpose()?;
    let config = config.ok_or_else(|| DocumentError::NotAnImage("it has no config".to_owned()))?;
    let layers = object.list("layers").map_err(|error| malformed(&error))?;
    let layers = layers.into_iter().map(Descriptor::parse).collect::<Result<_, _>>()?;
    let read = || {
        Ok(Manifest {
            schema_version: object.get::<Option<u64>>("schemaVersion")?.unwrap_or(2),
            media_type: or(object.get("mediaType")?, media::MANIFEST),
            config,
            layers,
            annotations: object.get("annotations")?,
            rest: object.others(&[
                "schemaVersion",
                "mediaType",
                "config",
                "layers",
                "annotations",
                "manifests",
            ])?,
        })
    };
    read().map_err(|error: serde_json::Error| malformed(&error))
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text }
}

fn malformed(error: &serde_json::Error) -> DocumentError {
    DocumentError::Malformed(error.to_string().chars().filter(|c| !c.is_control()).take(300).collect())
}

#[cfg(test)]
mod tests;

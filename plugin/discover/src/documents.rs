//! Manifest and config of one image, read by digest from containerd's content store.

use chunked_core::{Digest, ObjectDigest, chain_id};
use chunked_registry::oci::{Config, Document, Parsed};

use crate::calls::{Blob, Namespace};
use crate::containerd::Containerd;
use crate::error::DiscoverError;

/// Longest manifest, in bytes: what registries accept.
pub(crate) const MAX_MANIFEST: usize = 4 << 20;
/// Longest config, in bytes.
const MAX_CONFIG: usize = 8 << 20;
/// Most layers of an image.
const MAX_LAYERS: usize = 1024;

/// Two documents whose bytes have the digests they were asked for by.
#[derive(Debug)]
pub(crate) struct Documents {
    pub manifest: Vec<u8>,
    pub config_digest: ObjectDigest,
    pub config: Vec<u8>,
    /// ChainIDs the config gives, lowest layer first.
    pub chains: Vec<Digest>,
}

/// What became of reading an image's documents.
#[derive(Debug)]
pub(crate) enum Outcome {
    Image(Documents),
    /// The manifest is not in this namespace.
    NoManifest,
    /// The manifest is here, its config not.
    NoConfig(ObjectDigest),
    /// Not the manifest of an image: an index, an artifact, a layer.
    Other,
    /// The bytes stored under `digest` are others.
    Corrupt {
        digest: ObjectDigest,
        actual: ObjectDigest,
    },
}

impl Containerd {
    /// Reads `manifest` and the config it names.
    pub(crate) async fn documents(
        &self,
        namespace: &Namespace,
        digest: &ObjectDigest,
    ) -> Result<Outcome, DiscoverError> {
        let manifest = match self.read(namespace, digest, MAX_MANIFEST).await? {
            Blob::Bytes(bytes) => bytes,
            Blob::Missing => return Ok(Outcome::NoManifest),
            Blob::TooLong => return Ok(Outcome::Other),
            Blob::Corrupt { actual } => return Ok(Outcome::Corrupt { digest: *digest, actual }),
        };
        let parsed = Document::parse(manifest).ok().map(|document| (document.bytes, document.parsed));
        let Some((manifest, Parsed::Manifest(parsed))) = parsed else { return Ok(Outcome::Other) };
        let config_digest = parsed.config.digest;
        let config = match self.read(namespace, &config_digest, MAX_CONFIG).await? {
            Blob::Bytes(bytes) => bytes,
            Blob::Missing => return Ok(Outcome::NoConfig(config_digest)),
            Blob::TooLong => return Ok(Outcome::Other),
            Blob::Corrupt { actual } => return Ok(Outcome::Corrupt { digest: config_digest, actual }),
        };
        let Some(chains) = chains(&config) else { return Ok(Outcome::Other) };
        Ok(Outcome::Image(Documents { manifest, config_digest, config, chains }))
    }
}

/// The chainIDs of an image config; `None` when it is not one.
fn chains(config: &[u8]) -> Option<Vec<Digest>> {
    let Config { diff_ids, .. } = Config::parse(config).ok()?;
    if diff_ids.len() > MAX_LAYERS {
        return None;
    }
    let mut chains: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff_id in &diff_ids {
        chains.push(chain_id(chains.last(), diff_id));
    }
    Some(chains)
}

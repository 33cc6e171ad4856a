//! An image proven from its two documents: manifest and config.

use std::collections::BTreeMap;

use chunked_core::{Digest, ObjectDigest, chain_id};

use crate::oci::media::{self, LayerKind};
use crate::oci::{Config, Descriptor, Document, DocumentError, Parsed};
use crate::reference::Reference;

/// Most layers of an image. overlayfs takes 500 lower directories at most.
const MAX_LAYERS: usize = 1024;
/// Longest blob of a layer, in bytes: 1 TiB.
const MAX_LAYER_SIZE: u64 = 1 << 40;

/// An image whose config's digest is the one its manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Where its blobs are.
    pub reference: Reference,
    /// Digest of `manifest`.
    pub manifest_digest: ObjectDigest,
    /// Digest of `config`.
    pub config_digest: ObjectDigest,
    /// The manifest, verbatim.
    pub manifest: Vec<u8>,
    /// The config, verbatim.
    pub config: Vec<u8>,
    /// Layers, lowest first.
    pub layers: Vec<Layer>,
}

/// One layer: what the manifest says about its blob, what the config says about its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the (compressed) blob.
    pub blob: ObjectDigest,
    /// Length of the blob in bytes.
    pub size: u64,
    /// Media type as the manifest spells it.
    pub media_type: String,
    /// Annotations of the descriptor.
    pub annotations: BTreeMap<String, String>,
    /// Digest of the uncompressed tar, from the config.
    pub diff_id: Digest,
    /// ChainID of this layer on those below it.
    pub chain_id: Digest,
}

/// Documents that do not make an image we can pull.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// One of them cannot be used.
    #[error("{document} {digest}: {source}")]
    Document {
        /// Which document.
        document: &'static str,
        /// Its digest.
        digest: ObjectDigest,
        /// What is wrong with it.
        source: DocumentError,
    },
    /// The config is not the one the manifest names.
    #[error("config has digest {found}, manifest {manifest} names {expected}")]
    ConfigDigest {
        /// Digest of the manifest.
        manifest: ObjectDigest,
        /// What it names.
        expected: ObjectDigest,
        /// What was given.
        found: ObjectDigest,
    },
    /// Manifest and config disagree about the number of layers, or it is beyond the limit.
    #[error("manifest {manifest} has {layers} layers, its config {diff_ids} DiffIDs (at most {MAX_LAYERS})")]
    LayerCount {
        /// Digest of the manifest.
        manifest: ObjectDigest,
        /// Layers of the manifest.
        layers: usize,
        /// DiffIDs of the config.
        diff_ids: usize,
    },
    /// A layer whose blob may only be had from somewhere else.
    #[error("layer {layer} is foreign ({media_type}): registries do not hold it")]
    Foreign {
        /// Digest of the blob.
        layer: ObjectDigest,
        /// Its media type.
        media_type: String,
    },
    /// A layer in a format we do not know.
    #[error("layer {layer} has the unknown media type {media_type:?}")]
    MediaType {
        /// Digest of the blob.
        layer: ObjectDigest,
        /// Its media type.
        media_type: String,
    },
    /// A layer that is too long.
    #[error("layer {layer} has {size} bytes, at most {MAX_LAYER_SIZE} are allowed")]
    TooLong {
        /// Digest of the blob.
        layer: ObjectDigest,
        /// Its length in bytes.
        size: u64,
    },
}

impl Image {
    /// Reads a manifest (OCI image-spec 1.x or docker schema 2) and its config. Does no I/O.
    ///
    /// The caller vouches for the manifest and its digest; everything else is proven from it.
    ///
    /// # Errors
    ///
    /// [`ImageError`] when the config is another one, when the two disagree about layers, or when a layer is
    /// of a kind that cannot be pulled.
    pub fn from_documents(
        reference: Reference,
        (manifest_digest, manifest): (ObjectDigest, &[u8]),
        config: &[u8],
    ) -> Result<Self, ImageError> {
        let bad = |source| ImageError::Document { document: "manifest", digest: manifest_digest, source };
        let parsed = match Document::parse(manifest.to_vec()).map_err(bad)?.parsed {
            Parsed::Manifest(parsed) => parsed,
            Parsed::Index(_) => return Err(bad(DocumentError::NotAnImage("it is an index".to_owned()))),
        };
        parsed.of_image().map_err(bad)?;
        let config_digest = parsed.config.digest.algorithm().digest(config);
        if config_digest != parsed.config.digest {
            return Err(ImageError::ConfigDigest {
                manifest: manifest_digest,
                expected: parsed.config.digest,
                found: config_digest,
            });
        }
        let bad = |source| ImageError::Document { document: "config", digest: config_digest, source };
        let Config { diff_ids, .. } = Config::parse(config).map_err(bad)?;
        if parsed.layers.len() != diff_ids.len() || diff_ids.len() > MAX_LAYERS {
            return Err(ImageError::LayerCount {
                manifest: manifest_digest,
                layers: parsed.layers.len(),
                diff_ids: diff_ids.len(),
            });
        }
        Ok(Self {
            reference,
            manifest_digest,
            config_digest,
            manifest: manifest.to_vec(),
            config: config.to_vec(),
            layers: layers(parsed.layers, &diff_ids)?,
        })
    }
}

fn layers(descriptors: Vec<Descriptor>, diff_ids: &[Digest]) -> Result<Vec<Layer>, ImageError> {
    let mut layers: Vec<Layer> = Vec::with_capacity(diff_ids.len());
    for (descriptor, diff_id) in descriptors.into_iter().zip(diff_ids) {
        check(&descriptor)?;
        let chain_id = chain_id(layers.last().map(|below| &below.chain_id), diff_id);
        layers.push(Layer {
            blob: descriptor.digest,
            size: descriptor.size,
            media_type: descriptor.media_type,
            annotations: descriptor.annotations,
            diff_id: *diff_id,
            chain_id,
        });
    }
    Ok(layers)
}

fn check(descriptor: &Descriptor) -> Result<(), ImageError> {
    let Descriptor { digest: layer, size, .. } = *descriptor;
    if size > MAX_LAYER_SIZE {
        return Err(ImageError::TooLong { layer, size });
    }
    let media_type: String = descriptor.media_type.chars().take(200).collect();
    match media::layer_kind(&media_type) {
        LayerKind::Tar => Ok(()),
        LayerKind::Foreign => Err(ImageError::Foreign { layer, media_type }),
        LayerKind::Other => Err(ImageError::MediaType { layer, media_type }),
    }
}

#[cfg(test)]
mod tests;

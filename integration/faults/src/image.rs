//! Manifest and config around layers.

use bytes::Bytes;
use chunked_core::Digest;
use serde_json::json;

use crate::layer::TestLayer;

const OCI: &str = "application/vnd.oci.image";

/// An image as a registry has it.
#[derive(Debug, Clone)]
pub struct TestImage {
    /// The manifest.
    pub manifest: Bytes,
    /// The config.
    pub config: Bytes,
    /// Lowest first.
    pub layers: Vec<TestLayer>,
}

impl TestImage {
    /// An image of these layers.
    pub fn new(layers: Vec<TestLayer>) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = config.to_string();
        let described = layers.iter().map(|layer| {
            json!({"mediaType": format!("{OCI}.layer.v1.tar+zstd"), "digest": layer.digest.to_string(),
                "size": layer.blob.len(), "annotations": layer.annotations})
        });
        let manifest = json!({"schemaVersion": 2, "mediaType": Self::MEDIA_TYPE,
            "config": {"mediaType": format!("{OCI}.config.v1+json"), "digest": Digest::of(config.as_bytes()).to_string(),
                "size": config.len()},
            "layers": described.collect::<Vec<_>>()});
        Self { manifest: manifest.to_string().into(), config: config.into(), layers }
    }

    /// Of `manifest`.
    pub const MEDIA_TYPE: &'static str = "application/vnd.oci.image.manifest.v1+json";

    /// Digest of the config.
    pub fn config_digest(&self) -> Digest {
        Digest::of(&self.config)
    }
}

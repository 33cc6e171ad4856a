//! Media types: what documents and layers are, and what docker's become in an OCI image.

/// OCI image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image config.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// What every converted layer is.
pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// An uncompressed layer.
pub use chunked_core::media::LAYER_TAR;
/// A docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// A docker manifest list.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// A docker image config.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The OCI media type of the same thing.
pub fn oci(media_type: &str) -> &str {
    match media_type {
        DOCKER_MANIFEST => MANIFEST,
        DOCKER_INDEX => INDEX,
        DOCKER_CONFIG => CONFIG,
        "application/vnd.docker.image.rootfs.diff.tar" => LAYER_TAR,
        "application/vnd.docker.image.rootfs.diff.tar.gzip" => "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd" => LAYER_ZSTD,
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => {
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
        }
        other => other,
    }
}

/// True for documents that list others.
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, INDEX | DOCKER_INDEX)
}

/// True for documents of one image, or of one artifact in an image's shape.
pub fn is_manifest(media_type: &str) -> bool {
    matches!(media_type, MANIFEST | DOCKER_MANIFEST)
}

/// True for documents that name others, by their media type or for want of one.
pub fn is_document(media_type: &str) -> bool {
    media_type.is_empty() || is_index(media_type) || is_manifest(media_type)
}

/// True for the config of a container image; artifacts have others. Some old pushers did not know better.
pub fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, CONFIG | DOCKER_CONFIG | "application/octet-stream" | "")
}

/// What can be done with a layer of this media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerKind {
    /// A tar, compressed or not.
    Tar,
    /// Registries do not hold it; it is named by URLs.
    Foreign,
    /// Something else: encrypted, or not a layer at all.
    Other,
}

/// Sorts a layer by its media type.
pub fn layer_kind(media_type: &str) -> LayerKind {
    match oci(media_type) {
        LAYER_TAR | LAYER_ZSTD | "application/vnd.oci.image.layer.v1.tar+gzip" => LayerKind::Tar,
        other if other.contains(".nondistributable.") || other.contains(".foreign.") => LayerKind::Foreign,
        _ => LayerKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_sorted() {
        for (media_type, kind) in [
            ("application/vnd.oci.image.layer.v1.tar", LayerKind::Tar),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", LayerKind::Tar),
            ("application/vnd.oci.image.layer.v1.tar+zstd", LayerKind::Tar),
            ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", LayerKind::Foreign),
            ("application/vnd.oci.image.layer.nondistributable.v1.tar", LayerKind::Foreign),
            ("application/vnd.oci.image.layer.v1.tar+gzip+encrypted", LayerKind::Other),
            ("application/vnd.in-toto+json", LayerKind::Other),
        ] {
            assert_eq!(layer_kind(media_type), kind, "{media_type}");
        }
    }
}

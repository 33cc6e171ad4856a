//! What a layer's media type says about its bytes.

/// OCI's media type of an uncompressed layer.
pub const LAYER_TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// True for layers that are read as a tar, whatever their bytes look like.
///
/// containerd's rule (core/images, `DiffCompression`): OCI's type without a suffix means a tar; for any other, docker's
/// type without a suffix among them, the first bytes tell how the layer is compressed.
pub fn is_bare_tar(media_type: &str) -> bool {
    media_type == LAYER_TAR
}

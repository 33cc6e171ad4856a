//! Names of labels and annotations, as containerd, OCI and the zstd:chunked writers spell them.

/// Snapshot label: the chainID (or other name) a remote Prepare is about.
pub const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";
/// Snapshot label: normalised image reference. A hint: image authors can forge it.
pub const CRI_IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
/// Snapshot label: digest of the image's manifest. A hint.
pub const CRI_MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
/// Snapshot label: digest of this layer's blob. A hint.
pub const CRI_LAYER_DIGEST: &str = "containerd.io/snapshot/cri.layer-digest";
/// Content label prefix: `containerd.io/distribution.source.<host>` = comma-separated repositories.
pub const DISTRIBUTION_SOURCE_PREFIX: &str = "containerd.io/distribution.source.";
/// Content label on a manifest: its config's digest.
pub const GC_REF_CONFIG: &str = "containerd.io/gc.ref.content.config";
/// Content label prefix on a config: `containerd.io/gc.ref.snapshot.<snapshotter>` = the chainID of its highest layer there.
pub const GC_REF_SNAPSHOT_PREFIX: &str = "containerd.io/gc.ref.snapshot.";
/// Content label on a layer's blob: its DiffID.
pub const UNCOMPRESSED: &str = "containerd.io/uncompressed";

/// Layer annotation of zstd:chunked: digest of the compressed TOC. Its presence makes a layer chunked.
pub const ZSTD_CHUNKED_CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// Layer annotation: `offset:compressed:uncompressed:type` of the TOC.
pub const ZSTD_CHUNKED_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// Layer annotation: `offset:compressed:uncompressed` of the tar-split.
pub const ZSTD_CHUNKED_TARSPLIT: &str = "io.github.containers.zstd-chunked.tarsplit-position";
/// Layer annotation of eStargz and of stargz-snapshotter's zstd variant.
pub const STARGZ_TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// Layer annotation of old zstd:chunked generations (A, A').
pub const OLD_ZSTD_CHUNKED_CHECKSUM: &str = "io.containers.zstd-chunked.manifest-checksum";
/// Layer annotation of old zstd:chunked blobs (June 2023 to May 2024): digest of the tar-split. Only for looking at them.
pub const ZSTD_CHUNKED_TARSPLIT_CHECKSUM: &str = "io.github.containers.zstd-chunked.tarsplit-checksum";

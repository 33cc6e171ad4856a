//! Names of labels and annotations, as containerd, OCI and the zstd:chunked writers spell them.

use std::collections::HashMap;

use crate::Digest;

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
/// Content label prefix on a manifest: `containerd.io/gc.ref.content.l.<index>` = the digest of a layer's blob.
pub const GC_REF_LAYER_PREFIX: &str = "containerd.io/gc.ref.content.l.";
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

/// The labels that containerd's clients give to the blob of a layer: the repository that it came from, on `host` (whose port the label
/// lacks), and its DiffID.
pub fn of_layer(host: &str, repository: &str, diff_id: &Digest) -> HashMap<String, String> {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    HashMap::from([
        (format!("{DISTRIBUTION_SOURCE_PREFIX}{name}"), repository.to_owned()),
        (UNCOMPRESSED.to_owned(), diff_id.to_string()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layers_labels_name_the_host_without_its_port() {
        let diff_id = Digest::of(b"tar");
        for (host, name) in
            [("r.example", "r.example"), ("r.example:5000", "r.example"), ("[::1]:5000", "::1")]
        {
            let labels = of_layer(host, "team/app", &diff_id);
            assert_eq!(labels[&format!("{DISTRIBUTION_SOURCE_PREFIX}{name}")], "team/app");
            assert_eq!(labels[UNCOMPRESSED], diff_id.to_string());
        }
    }
}

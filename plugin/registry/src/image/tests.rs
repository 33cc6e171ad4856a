use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn reference() -> Reference {
    "r.example/app:v1".parse().unwrap()
}

fn image_of(manifest: &[u8], config: &[u8]) -> Result<Image, ImageError> {
    Image::from_documents(reference(), (ObjectDigest::of(manifest), manifest), config)
}

fn config(diff_ids: &[Digest]) -> Vec<u8> {
    json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
        .to_string()
        .into_bytes()
}

fn manifest(config: &[u8], layers: &[Value]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest::of(config), "size": config.len(),
        },
        "layers": layers,
    })
}

fn layer(name: &str, media_type: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(name.as_bytes()), "size": 10, "annotations": {"a": name}})
}

const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

#[test]
fn proves_layers_and_chains() {
    let diffs = [Digest::of(b"diff 0"), Digest::of(b"diff 1")];
    let config = config(&diffs);
    for docker in [false, true] {
        let gzip = if docker { "application/vnd.docker.image.rootfs.diff.tar.gzip" } else { ZSTD };
        let mut document = manifest(&config, &[layer("0", gzip), layer("1", gzip)]);
        if docker {
            document["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json".into();
            document["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
        }
        let document = document.to_string();
        let image = image_of(document.as_bytes(), &config).unwrap();
        assert_eq!(image.manifest_digest, Digest::of(document.as_bytes()));
        assert_eq!(image.layers[0].chain_id, diffs[0]);
        assert_eq!(image.layers[1].chain_id, chain_id(Some(&diffs[0]), &diffs[1]));
        assert_eq!(image.layers[1].annotations["a"], "1");
        assert_eq!(image.layers[1].size, 10);
    }
}

#[test]
fn refuses_with_the_reason() {
    let diff = [Digest::of(b"diff")];
    let good = config(&diff);
    let one = |media_type: &str| manifest(&good, &[layer("0", media_type)]);
    let mut artifact = one(ZSTD);
    artifact["config"]["mediaType"] = "application/vnd.oci.empty.v1+json".into();
    let mut both = one(ZSTD);
    both["manifests"] = json!([]);
    let mut long = one(ZSTD);
    long["layers"][0]["size"] = (1_u64 << 41).into();
    let mut negative = one(ZSTD);
    negative["layers"][0]["size"] = (-1).into();
    let many: Vec<Value> = (0..2).map(|_| layer("0", ZSTD)).collect();
    for (document, text) in [
        (json!({"schemaVersion": 1, "fsLayers": []}), "schema 1"),
        (json!({"schemaVersion": 2, "manifests": []}), "it is an index"),
        (json!({"schemaVersion": 2}), "neither"),
        (json!("text"), "cannot be read"),
        (artifact, "oci.empty"),
        (both, "both"),
        (long, "at most"),
        (negative, "cannot be read"),
        (manifest(&good, &many), "2 layers"),
        (manifest(b"other", &[layer("0", ZSTD)]), "names"),
        (one("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"), "foreign"),
        (one("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "foreign"),
        (one("application/vnd.oci.image.layer.v1.tar+gzip+encrypted"), "unknown media type"),
    ] {
        let error = image_of(document.to_string().as_bytes(), &good).unwrap_err();
        assert!(error.to_string().contains(text), "{document}: {error}");
    }
}

#[test]
fn layers_are_bounded() {
    let diffs = vec![Digest::of(b"diff"); MAX_LAYERS + 1];
    let config = config(&diffs);
    let layers: Vec<Value> = diffs.iter().map(|_| layer("0", ZSTD)).collect();
    let document = manifest(&config, &layers).to_string();
    let error = image_of(document.as_bytes(), &config).unwrap_err();
    assert!(matches!(error, ImageError::LayerCount { .. }), "{error}");
}

proptest! {
    #[test]
    fn never_panics(manifest in any::<Vec<u8>>(), config in any::<Vec<u8>>()) {
        let _ = image_of(&manifest, &config);
    }
}

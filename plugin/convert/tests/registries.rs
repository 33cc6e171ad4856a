//! Conversions between registries that answer inside the test's process.
#![allow(clippy::unwrap_used, reason = "tests; clippy knows only functions marked as such")]

#[path = "../../registry/tests/support/receiver.rs"]
mod receiver;

use std::io::Write;

use axum::http::Method;
use chunked_convert::{
    Action, ConvertError, Delivery, Location, Options, Progress, Report, SOURCE_DIGEST, convert,
};
use chunked_core::{Digest, ObjectDigest};
use chunked_registry::{Client, ClientOptions};
use receiver::{Act, Receiver};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";

fn tar(name: &str, content: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
    builder.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Puts an image with these layers into the repository `from`; gives its manifest's digest and length.
fn image(
    registry: &Receiver,
    tag: &str,
    docker: bool,
    tars: &[Vec<u8>],
    architecture: &str,
) -> (ObjectDigest, usize) {
    let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
    let config =
        json!({"os": "linux", "architecture": architecture, "rootfs": {"diff_ids": diff_ids}}).to_string();
    let layer_type = if docker {
        "application/vnd.docker.image.rootfs.diff.tar.gzip"
    } else {
        "application/vnd.oci.image.layer.v1.tar+gzip"
    };
    let layers: Vec<Value> = tars
        .iter()
        .map(|tar| {
            let blob = gzip(tar);
            let size = blob.len();
            json!({"mediaType": layer_type, "digest": registry.put_blob("from", blob), "size": size})
        })
        .collect();
    let (media_type, config_type) =
        if docker { (DOCKER, "application/vnd.docker.container.image.v1+json") } else { (MANIFEST, CONFIG) };
    let size = config.len();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type, "layers": layers,
        "config": {"mediaType": config_type, "digest": registry.put_blob("from", config), "size": size},
    });
    let text = manifest.to_string();
    (registry.put_manifest("from", tag, media_type, text.clone()), text.len())
}

async fn run(
    registry: &Receiver,
    source: &str,
    target: &str,
    options: &Options,
) -> Result<Report, ConvertError> {
    let client = ClientOptions { docker_config: Some("/nonexistent".into()), ..ClientOptions::default() };
    let client = Client::new(client).unwrap();
    let place = |name: &str| Location::Registry(registry.reference(name));
    convert(&client, &place(source), &place(target), options, &Progress::default()).await
}

fn document(registry: &Receiver, repository: &str, name: &str) -> Value {
    serde_json::from_slice(&registry.manifest(repository, name).unwrap().1).unwrap()
}

#[tokio::test]
async fn docker_becomes_oci_and_says_where_it_is_from() {
    let registry = Receiver::start().await;
    registry.want_tokens();
    let (tars, options) = ([tar("a", b"aaaa"), tar("b", &[7; 200_000])], Options::default());
    let (source, _) = image(&registry, "v1", true, &tars, "amd64");
    let report = run(&registry, "from:v1", "to:v1", &options).await.unwrap();
    assert!(report.images[0].from_docker && report.notes[0].contains("OCI"), "{report:?}");
    let manifest = document(&registry, "to", "v1");
    assert_eq!(
        (manifest["mediaType"].as_str(), manifest["config"]["mediaType"].as_str()),
        (Some(MANIFEST), Some(CONFIG))
    );
    assert_eq!(manifest["annotations"][SOURCE_DIGEST], source.to_string());
    for (layer, tar) in manifest["layers"].as_array().unwrap().iter().zip(&tars) {
        let blob = registry.blob("to", &layer["digest"].as_str().unwrap().parse().unwrap()).unwrap();
        assert_eq!(zstd::decode_all(&*blob).unwrap(), *tar);
        assert!(layer["annotations"][CHECKSUM].is_string(), "{layer}");
    }
    // The name came last.
    let puts: Vec<String> = registry
        .seen()
        .iter()
        .filter(|seen| seen.method == Method::PUT)
        .map(|seen| seen.path.clone())
        .collect();
    assert!(puts.last().unwrap().ends_with("/manifests/v1"), "{puts:?}");

    // What is chunked is mounted as it is, then it is there; and nothing is read of it.
    let before = registry.seen().len();
    let again = run(&registry, "to:v1", "third:v1", &options).await.unwrap();
    assert_eq!(again.digest, report.digest);
    assert!(again.layers().all(|l| (l.action, l.delivery) == (Action::Kept, Delivery::Mounted)), "{again:?}");
    let again = run(&registry, "to:v1", "third:v1", &options).await.unwrap();
    assert!(again.layers().all(|l| l.delivery == Delivery::Present) && !again.incomplete(), "{again:?}");
    for layer in report.layers() {
        let read = |seen: &receiver::Seen| {
            seen.method == Method::GET && seen.path.ends_with(&layer.blob.to_string())
        };
        assert!(!registry.seen()[before..].iter().any(read));
    }
    // A registry that does not mount gets the bytes.
    registry.without_mounts();
    let sent = run(&registry, "to:v1", "fourth:v1", &options).await.unwrap();
    assert!(sent.layers().all(|l| (l.action, l.delivery) == (Action::Kept, Delivery::Sent)), "{sent:?}");
    assert_eq!(sent.digest, report.digest);
}

#[tokio::test]
async fn an_index_with_all_that_hangs_on_it() {
    let registry = Receiver::start().await;
    let shared = tar("shared", b"both have it");
    let amd64 = image(&registry, "a", false, &[shared.clone(), tar("a", b"a")], "amd64");
    let arm64 = image(&registry, "b", false, &[shared, tar("b", b"b")], "arm64");
    let attestation = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": registry.put_blob("from", "{}"), "size": 2}, "layers": []})
    .to_string();
    let about = registry.put_manifest("from", "x", MANIFEST, attestation.clone());
    let entry = |(digest, size): (ObjectDigest, usize), architecture: &str| {
        json!({"mediaType": MANIFEST, "digest": digest, "size": size,
        "platform": {"os": "linux", "architecture": architecture}})
    };
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        entry(amd64, "amd64"), entry(arm64, "arm64"),
        {"mediaType": MANIFEST, "digest": about, "size": attestation.len(), "platform": {"os": "unknown", "architecture": "unknown"},
         "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": arm64.0}},
    ]});
    registry.put_manifest("from", "multi", INDEX, index.to_string());
    let report = run(&registry, "from:multi", "to:multi", &Options::default()).await.unwrap();
    let new = document(&registry, "to", "multi");
    let digest = |at: usize| new["manifests"][at]["digest"].as_str().unwrap().to_owned();
    assert_eq!(new["manifests"][2]["annotations"]["vnd.docker.reference.digest"], digest(1));
    assert_eq!(digest(2), about.to_string());
    assert_ne!(digest(1), arm64.0.to_string());
    assert_eq!(new["manifests"][1]["platform"]["architecture"], "arm64");
    assert!(report.attachments[0].carried && report.images.len() == 2, "{report:?}");
    let first = |at: usize| document(&registry, "to", &digest(at))["layers"][0].clone();
    assert_eq!(first(0), first(1), "a layer of both is one blob");

    // Converted again, nothing changes: the index stays byte for byte.
    let again = run(&registry, "to:multi", "to:again", &Options::default()).await.unwrap();
    assert_eq!(again.digest, report.digest);

    let options = Options { platforms: vec!["linux/arm64".parse().unwrap()], ..Options::default() };
    let one = run(&registry, "from:multi", "to:one", &options).await.unwrap();
    assert_eq!(one.digest.to_string(), digest(1), "the image of the index is the image alone");
    assert!(!one.attachments[0].carried && one.incomplete(), "{one:?}");
    let options = Options { platforms: vec!["linux/s390x".parse().unwrap()], ..Options::default() };
    let error = run(&registry, "from:multi", "to:none", &options).await.unwrap_err();
    assert!(error.to_string().contains("linux/arm64"), "{error}");
}

#[tokio::test]
async fn what_is_not_what_it_should_be_is_refused() {
    let registry = Receiver::start().await;
    let good = tar("a", &[1; 50_000]);
    image(&registry, "v1", false, std::slice::from_ref(&good), "amd64");
    let before = run(&registry, "from:v1", "to:v1", &Options::default()).await.unwrap().digest;
    let blob = gzip(&good);

    // Other bytes of the same length, and bytes that are right but longer.
    let forged = gzip(&tar("a", &[2; 50_000]));
    registry.forge_blob("from", &ObjectDigest::of(&blob), forged[..forged.len().min(blob.len())].to_vec());
    let error = run(&registry, "from:v1", "to:v1", &Options::default()).await.unwrap_err();
    assert!(error.to_string().contains(&ObjectDigest::of(&blob).to_string()), "{error}");

    // A config that promises another content.
    registry.put_blob("from", blob.clone());
    let config = json!({"rootfs": {"diff_ids": [ObjectDigest::of(b"another")]}}).to_string();
    let size = config.len();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": registry.put_blob("from", config), "size": size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": ObjectDigest::of(&blob), "size": blob.len()}]});
    registry.put_manifest("from", "lying", MANIFEST, manifest.to_string());
    let error = run(&registry, "from:lying", "to:v1", &Options::default()).await.unwrap_err();
    assert!(matches!(error, ConvertError::DiffId { .. }), "{error}");

    // A registry that takes no manifests.
    registry.script(|_, seen| match seen.path.contains("/manifests/") && seen.method == Method::PUT {
        true => Act::Refuse(403),
        false => Act::Ordinary,
    });
    let error =
        run(&registry, "from:v1", "to:v1", &Options { level: 1, ..Options::default() }).await.unwrap_err();
    assert!(error.to_string().contains("docker login"), "{error}");
    assert_eq!(
        ObjectDigest::of(&registry.manifest("to", "v1").unwrap().1),
        before,
        "its name still means the old image"
    );
}

#[tokio::test]
async fn artifacts_and_foreign_layers_pass() {
    let registry = Receiver::start().await;
    let artifact = json!({"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/example",
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": registry.put_blob("from", "{}"), "size": 2},
        "layers": [{"mediaType": "text/plain", "digest": registry.put_blob("from", "text"), "size": 4}]});
    let digest = registry.put_manifest("from", "artifact", MANIFEST, artifact.to_string());
    let report = run(&registry, "from:artifact", "to:artifact", &Options::default()).await.unwrap();
    assert_eq!((report.digest, report.attachments[0].kind.as_str()), (digest, "application/example"));
    assert!(registry.blob("to", &ObjectDigest::of(b"text")).is_some());

    let foreign = ObjectDigest::of(b"somewhere else");
    let config =
        json!({"os": "windows", "architecture": "amd64", "rootfs": {"diff_ids": [foreign]}}).to_string();
    let size = config.len();
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": registry.put_blob("from", config), "size": size},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "digest": foreign, "size": 9,
            "urls": ["https://example.invalid/layer"]}]});
    let digest = registry.put_manifest("from", "windows", MANIFEST, manifest.to_string());
    let report = run(&registry, "from:windows", "to:windows", &Options::default()).await.unwrap();
    assert_eq!(report.digest, digest);
    assert_eq!(report.layers().next().unwrap().delivery, Delivery::None);
}

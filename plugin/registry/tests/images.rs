//! From references to proven images, and who may have them.
#![allow(clippy::unwrap_used, reason = "tests; clippy knows only functions marked as such")]

#[path = "support/registry.rs"]
mod registry;

use chunked_core::{Algorithm, Digest, ObjectDigest};
use chunked_registry::{Client, ClientOptions, ErrorKind, Failure, Image, Platform, RegistryError};
use registry::{Access, Registry, client, options};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn platform() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn manifest(config: &[u8], docker: bool) -> String {
    let (kind, config_type, layer_type) = if docker {
        (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        )
    } else {
        (MANIFEST, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar+zstd")
    };
    json!({
        "schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": config_type, "digest": ObjectDigest::of(config), "size": config.len()},
        "layers": [{"mediaType": layer_type, "digest": ObjectDigest::of(b"layer"), "size": 5}],
    })
    .to_string()
}

fn config(name: &str) -> Vec<u8> {
    json!({"author": name, "rootfs": {"diff_ids": [Digest::of(b"diff")]}}).to_string().into_bytes()
}

/// Puts an image under `tag` and its digest; gives the digest.
fn put(registry: &Registry, tag: &str, docker: bool) -> ObjectDigest {
    let config = config(tag);
    let manifest = manifest(&config, docker);
    registry.blob(config);
    let digest = ObjectDigest::of(manifest.as_bytes());
    registry.document(tag, MANIFEST, manifest.clone());
    registry.document(&digest.to_string(), MANIFEST, manifest);
    digest
}

async fn pull(registry: &Registry, client: &Client, name: &str) -> Result<Image, RegistryError> {
    client.pull_image(&registry.reference(name), &platform()).await
}

#[tokio::test]
async fn by_tag_by_digest_and_of_both_kinds() {
    let registry = Registry::start().await;
    for docker in [false, true] {
        let digest = put(&registry, "v1", docker);
        let image = pull(&registry, &client(), "team/app:v1").await.unwrap();
        assert_eq!(image.manifest_digest, digest);
        assert_eq!(image.layers[0].diff_id, Digest::of(b"diff"));
        let same = pull(&registry, &client(), &format!("team/app:other@{digest}")).await.unwrap();
        assert_eq!(same.manifest, image.manifest);
    }
    let error = pull(&registry, &client(), "team/app").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("latest"), "{error}");
}

#[tokio::test]
async fn by_sha512() {
    let registry = Registry::start().await;
    let config = config("v1");
    let config_name = Algorithm::Sha512.digest(&config);
    let mut document: Value = serde_json::from_str(&manifest(&config, false)).unwrap();
    document["config"]["digest"] = config_name.to_string().into();
    registry.forge(config_name, config.clone());
    let name = Algorithm::Sha512.digest(document.to_string().as_bytes());
    registry.document(&name.to_string(), MANIFEST, document.to_string());
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": MANIFEST, "digest": name, "size": 1,
        "platform": {"os": "linux", "architecture": "amd64"}}]});
    registry.document("v1", INDEX, index.to_string());
    for asked in ["app:v1".to_owned(), format!("app@{name}")] {
        let image = pull(&registry, &client(), &asked).await.unwrap();
        assert_eq!((image.manifest_digest, image.config_digest), (name, config_name));
    }
    registry.forge(config_name, "{}");
    let error = pull(&registry, &client(), "app:v1").await.unwrap_err();
    assert!(error.to_string().contains("its digest is sha512:"), "{error}");
}

#[tokio::test]
async fn picks_the_platform_from_an_index() {
    let registry = Registry::start().await;
    let amd64 = put(&registry, "amd64", false);
    let entry = |digest: ObjectDigest, architecture: &str| json!({"mediaType": MANIFEST, "digest": digest, "size": 1, "platform": {"os": "linux", "architecture": architecture}});
    let index = |entries: Vec<Value>| json!({"schemaVersion": 2, "manifests": entries}).to_string();
    let inner = index(vec![entry(ObjectDigest::of(b"arm"), "arm64"), entry(amd64, "amd64")]);
    registry.document("multi", INDEX, inner.clone());
    let image = pull(&registry, &client(), "app:multi").await.unwrap();
    assert_eq!(image.manifest_digest, amd64);

    // An index in an index is followed, an endless row of them is not.
    let digest = ObjectDigest::of(inner.as_bytes());
    registry.document(&digest.to_string(), INDEX, inner);
    registry.document("nested", INDEX, index(vec![json!({"mediaType": INDEX, "digest": digest, "size": 1})]));
    assert_eq!(pull(&registry, &client(), "app:nested").await.unwrap().manifest_digest, amd64);

    registry.document("arm", INDEX, index(vec![entry(ObjectDigest::of(b"arm"), "arm64")]));
    let error = pull(&registry, &client(), "app:arm").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error.to_string().contains("linux/amd64") && error.to_string().contains("linux/arm64"),
        "{error}"
    );
}

#[tokio::test]
async fn altered_documents_are_refused() {
    let registry = Registry::start().await;
    let digest = put(&registry, "v1", false);
    registry.forge(ObjectDigest::of(&config("v1")), "{}");
    let error = pull(&registry, &client(), "app:v1").await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("its digest is"), "{error}");

    registry.document(&digest.to_string(), MANIFEST, manifest(&config("other"), false));
    let error = pull(&registry, &client(), &format!("app@{digest}")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("its digest is"), "{error}");

    registry.document("long", MANIFEST, vec![b' '; (4 << 20) + 1]);
    let error = pull(&registry, &client(), "app:long").await.unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");

    registry.document(
        "old",
        "application/vnd.docker.distribution.manifest.v1+json",
        r#"{"schemaVersion": 1}"#,
    );
    let error = pull(&registry, &client(), "app:old").await.unwrap_err();
    assert!(error.to_string().contains("schema 1"), "{error}");
}

fn with_config(text: &str) -> (tempfile::TempDir, Client) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("config.json"), text).unwrap();
    let docker_config = Some(directory.path().to_path_buf());
    (directory, Client::new(ClientOptions { docker_config, ..options() }).unwrap())
}

#[tokio::test]
async fn one_anonymous_token_for_the_whole_image() {
    let registry = Registry::start().await;
    put(&registry, "v1", false);
    registry.access(Access::Bearer(None));
    let client = client();
    pull(&registry, &client, "team/app:v1").await.unwrap();
    let seen = registry.seen();
    let tokens: Vec<_> = seen.iter().filter(|seen| seen.path == "/token").collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].query, "service=test+registry&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(seen.iter().filter(|seen| seen.status == 401).count(), 1);

    // Another repository needs its own token; a revoked one is renewed once.
    pull(&registry, &client, "team/other:v1").await.unwrap();
    registry.revoke();
    pull(&registry, &client, "team/app:v1").await.unwrap();
    assert_eq!(registry.seen().iter().filter(|seen| seen.path == "/token").count(), 3);
}

#[tokio::test]
async fn concurrent_requests_share_a_token() {
    let registry = Registry::start().await;
    put(&registry, "v1", false);
    registry.access(Access::Bearer(None));
    let client = client();
    let pulls = (0..8).map(|_| pull(&registry, &client, "team/app:v1"));
    for image in futures_util::future::join_all(pulls).await {
        image.unwrap();
    }
    assert_eq!(registry.seen().iter().filter(|seen| seen.path == "/token").count(), 1);
}

#[tokio::test]
async fn credentials_of_the_docker_configuration() {
    let registry = Registry::start().await;
    put(&registry, "v1", false);
    let host = registry.reference("x").host;
    // dXNlcjpwYXNz = user:pass
    let password = json!({"auths": {&host: {"auth": "dXNlcjpwYXNz"}}}).to_string();
    let identity = json!({"auths": {&host: {"identitytoken": "refresh"}}}).to_string();
    let other = json!({"auths": {"r.example": {"auth": "dXNlcjpwYXNz"}}}).to_string();
    for (access, text, works) in [
        (Access::Basic("user:pass"), &password, true),
        (Access::Basic("user:pass"), &other, false),
        (Access::Basic("user:other"), &password, false),
        (Access::Basic("user:pass"), &identity, false),
        (Access::Bearer(Some("user:pass")), &password, true),
        (Access::Bearer(Some("user:other")), &password, false),
        (Access::Bearer(Some("refresh")), &identity, true),
        (Access::Bearer(Some("user:pass")), &other, false),
    ] {
        registry.access(access.clone());
        let (_directory, client) = with_config(text);
        match pull(&registry, &client, "app:v1").await {
            Ok(_) => assert!(works, "{access:?} {text}"),
            Err(error) => {
                assert!(!works, "{access:?} {text}: {error}");
                assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
                assert!(error.to_string().contains("docker login"), "{error}");
                let shown = format!("{error} {error:?} {client:?}");
                for secret in ["pass\"", "dXNlcjpwYXNz", "refresh\""] {
                    assert!(!shown.contains(secret), "{shown}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_login_while_running_counts() {
    let registry = Registry::start().await;
    put(&registry, "v1", false);
    registry.access(Access::Basic("user:pass"));
    let (directory, client) = with_config("{}");
    assert_eq!(pull(&registry, &client, "app:v1").await.unwrap_err().kind(), ErrorKind::Denied);
    let text = json!({"auths": {registry.reference("x").host: {"auth": "dXNlcjpwYXNz"}}}).to_string();
    std::fs::write(directory.path().join("config.json"), text).unwrap();
    pull(&registry, &client, "app:v1").await.unwrap();
}

#[tokio::test]
async fn refusals_end() {
    let registry = Registry::start().await;
    put(&registry, "v1", false);
    registry.access(Access::Never);
    let error = pull(&registry, &client(), "app:v1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(registry.seen().len(), 3, "asked, got a token, asked again");
}

#[tokio::test]
async fn nobody_there_is_told_at_once() {
    let registry = Registry::start().await;
    let reference = registry.reference("app:v1");
    drop(registry);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let error = client().pull_image(&reference, &platform()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Unreachable && error.is_permanent(), "{error}");
    assert!(error.holds_for_repository() && !error.to_string().contains("error sending request"), "{error}");
}

#[tokio::test]
async fn who_was_there_a_moment_ago_may_come_back() {
    let registry = Registry::start().await;
    put(&registry, "v1", false);
    let client = client();
    pull(&registry, &client, "app:v1").await.unwrap();
    let reference = registry.reference("app:v1");
    drop(registry);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let error = client.pull_image(&reference, &platform()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Transient && !error.is_permanent(), "{error}");
}

#[tokio::test]
async fn https_is_set_up_and_named_in_errors() {
    // RFC 2606: this name never resolves.
    let reference = "registry.invalid/app:v1".parse().unwrap();
    let error = client().pull_image(&reference, &platform()).await.unwrap_err();
    // Machines without CA certificates cannot even try, and say so.
    let expected = matches!(error.failure(), Failure::Unreachable(_) | Failure::Stalled(_) | Failure::Tls(_));
    assert!(expected && error.to_string().contains("registry.invalid"), "{error:?}");
}

//! Mirrors of containerd's host configuration, with servers that fail in every way.
#![allow(clippy::unwrap_used, reason = "tests; clippy knows only functions marked as such")]

#[path = "support/registry.rs"]
mod registry;

use chunked_core::{ByteRange, Digest, ObjectDigest};
use chunked_registry::{Blob, Client, ClientOptions, Credentials, ErrorKind, Platform, RegistryError};
use registry::{Access, Quirk, Registry, options};
use serde_json::json;

const SIZE: u64 = 300_000;
const RANGE: ByteRange = ByteRange { start: 1000, end: 201_000 };
/// user:pass
const PASSWORD: &str = "dXNlcjpwYXNz";

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|n| n.to_le_bytes()[usize::from(n % 3 == 0)]).collect()
}

/// A registry with mirrors, and a client that knows them from its `certs.d`.
struct Setup {
    upstream: Registry,
    mirrors: Vec<Registry>,
    directory: tempfile::TempDir,
}

impl Setup {
    async fn new(mirrors: usize) -> Self {
        let upstream = Registry::start().await;
        let mut all = Vec::new();
        for _ in 0..mirrors {
            all.push(Registry::start().await);
        }
        let setup = Self { upstream, mirrors: all, directory: tempfile::tempdir().unwrap() };
        let tables = setup.mirrors.iter().map(|mirror| format!("[host.'{}']\n", mirror.url()));
        setup.hosts_toml(&tables.collect::<String>());
        setup
    }

    fn host(&self) -> String {
        self.upstream.reference("app").host
    }

    fn hosts_toml(&self, text: &str) {
        let directory = self.directory.path().join(self.host());
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("hosts.toml"), text).unwrap();
    }

    fn client(&self) -> Client {
        let config_path = vec![self.directory.path().to_path_buf()];
        let docker_config = Some(self.directory.path().join("config.json"));
        Client::new(ClientOptions { config_path, docker_config, ..options() }).unwrap()
    }

    /// The blob, which all of them have.
    fn blob(&self, client: &Client) -> Blob {
        let digest = self.upstream.blob(content());
        for mirror in &self.mirrors {
            mirror.blob(content());
        }
        client.blob(&self.upstream.reference("team/app"), digest, SIZE)
    }

    /// Requests for blobs: each mirror's, then the registry's.
    fn requests(&self) -> Vec<usize> {
        let mirrors = self.mirrors.iter().map(Registry::blob_requests);
        mirrors.chain([self.upstream.blob_requests()]).collect()
    }
}

async fn read(blob: &Blob, range: ByteRange) -> Result<(), RegistryError> {
    let mut body = blob.get(range).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = body.chunk().await {
        bytes.extend_from_slice(&chunk?);
    }
    let served = body.range();
    let (start, end) = (usize::try_from(served.start).unwrap(), usize::try_from(served.end).unwrap());
    assert_eq!(bytes, &content()[start..end]);
    Ok(())
}

#[tokio::test]
async fn the_first_mirror_serves_and_is_told_for_whom() {
    let setup = Setup::new(2).await;
    let blob = setup.blob(&setup.client());
    read(&blob, RANGE).await.unwrap();
    assert_eq!(setup.requests(), [1, 0, 0]);
    let seen = setup.mirrors[0].seen();
    assert_eq!(seen[0].query, format!("ns={}", setup.host().replace(':', "%3A")));
    assert_eq!(seen[0].range, Some(RANGE));
}

#[tokio::test]
async fn each_failure_leads_to_the_next_host() {
    for (quirk, later) in [
        // A host that fails is passed over; one that lacks the blob is not asked for it again.
        (Quirk::Status(404), [1, 2, 0]),
        (Quirk::Status(403), [1, 2, 0]),
        (Quirk::Status(500), [1, 2, 0]),
        (Quirk::Status(503), [1, 2, 0]),
        (Quirk::Status(429), [1, 2, 0]),
        (Quirk::Status(501), [1, 2, 0]),
        (Quirk::Status(416), [1, 2, 0]),
        (Quirk::Encoded, [1, 2, 0]),
        (Quirk::Redirect("ftp://x.example/".to_owned()), [1, 2, 0]),
        (Quirk::Redirect("http://127.0.0.1:1/".to_owned()), [1, 2, 0]),
    ] {
        let setup = Setup::new(2).await;
        let blob = setup.blob(&setup.client());
        let script = quirk.clone();
        setup.mirrors[0].script(move |_, _| script.clone());
        for _ in 0..2 {
            read(&blob, RANGE).await.unwrap();
        }
        assert_eq!(setup.requests(), later, "{quirk:?}");
    }
}

#[tokio::test]
async fn a_mirror_that_is_down_costs_one_attempt() {
    let mut setup = Setup::new(2).await;
    let blob = setup.blob(&setup.client());
    drop(setup.mirrors.remove(0));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    for _ in 0..5 {
        read(&blob, RANGE).await.unwrap();
    }
    assert_eq!(setup.requests(), [5, 0]);
}

#[tokio::test]
async fn a_body_that_breaks_counts_against_its_mirror() {
    for quirk in [Quirk::BreakAfter(50_000), Quirk::StallAfter(50_000)] {
        let setup = Setup::new(1).await;
        let blob = setup.blob(&setup.client());
        let script = quirk.clone();
        setup.mirrors[0].script(move |_, _| script.clone());
        let error = read(&blob, RANGE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transient);
        read(&blob, RANGE).await.unwrap();
        assert_eq!(setup.requests(), [1, 1], "{quirk:?}");
    }
}

#[tokio::test]
async fn a_mirror_without_ranges_still_serves_whole_blobs() {
    let setup = Setup::new(1).await;
    let blob = setup.blob(&setup.client());
    setup.mirrors[0].script(|_, range| if range.is_some() { Quirk::Status(501) } else { Quirk::None });
    read(&blob, RANGE).await.unwrap();
    let mut whole = blob.get_all().await.unwrap();
    while let Some(chunk) = whole.chunk().await {
        chunk.unwrap();
    }
    assert_eq!(setup.requests(), [2, 1]);
}

#[tokio::test]
async fn the_registrys_own_answer_counts_most() {
    let setup = Setup::new(1).await;
    let client = setup.client();
    setup.blob(&client);
    setup.mirrors[0].script(|_, _| Quirk::Status(500));
    let missing = ObjectDigest::of(b"missing");
    let blob = client.blob(&setup.upstream.reference("team/app"), missing, 10);
    setup.mirrors[0].forge(missing, "x");
    let error = blob.get_all().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let (text, mirror) = (error.to_string(), setup.mirrors[0].reference("x").host);
    let own = text.find(&setup.host()).unwrap();
    let also = text.find("also tried").unwrap();
    assert!(own < also && also < text.find(&mirror).unwrap() && text.contains("500"), "{text}");
}

#[tokio::test]
async fn what_a_mirror_said_is_told_also_when_it_is_not_asked_again() {
    let setup = Setup::new(1).await;
    let client = setup.client();
    setup.mirrors[0].access(Access::Never);
    let blob = client.blob(&setup.upstream.reference("team/app"), ObjectDigest::of(b"missing"), 10);
    let mirror = setup.mirrors[0].reference("x").host;
    for _ in 0..3 {
        let text = blob.get_all().await.unwrap_err().to_string();
        assert_eq!(text.matches("401").count(), 1, "{text}");
        assert_eq!(text.matches(&mirror).count(), 1, "{text}");
    }
    assert_eq!(setup.mirrors[0].seen().len(), 3, "asked, got a token, asked again; and then let alone");
}

#[tokio::test]
async fn credentials_and_headers_go_to_their_own_host_only() {
    let setup = Setup::new(1).await;
    let (upstream, mirror) = (setup.host(), setup.mirrors[0].reference("x").host);
    setup.hosts_toml(&format!(
        "[host.'{}']\n[host.'{}'.header]\nX-Key = 'MIRROR-SECRET'\n",
        setup.mirrors[0].url(),
        setup.mirrors[0].url()
    ));
    let auths = json!({"auths": {&upstream: {"auth": PASSWORD}}}).to_string();
    std::fs::write(setup.directory.path().join("config.json"), auths).unwrap();
    setup.upstream.access(Access::Basic("user:pass"));
    // A mirror that asks for the password does not get that of the registry.
    setup.mirrors[0].access(Access::Basic("user:pass"));
    let blob = setup.blob(&setup.client());
    read(&blob, RANGE).await.unwrap();
    assert_eq!(setup.requests(), [0, 1]);
    for seen in setup.mirrors[0].seen() {
        assert_eq!(seen.authorization, None);
        assert_eq!(seen.headers["x-key"], "MIRROR-SECRET");
    }
    assert!(setup.upstream.seen().iter().all(|seen| !seen.headers.contains_key("x-key")));

    // With credentials of its own it serves.
    let auths = json!({"auths": {&upstream: {"auth": "eDp5"}, &mirror: {"auth": PASSWORD}}}).to_string();
    std::fs::write(setup.directory.path().join("config.json"), auths).unwrap();
    let blob = setup.blob(&setup.client());
    read(&blob, RANGE).await.unwrap();
    assert_eq!(setup.requests(), [1, 1]);

    // A redirect takes neither along.
    let storage = Registry::start().await;
    let digest = storage.blob(content());
    let to = format!("{}/v2/x/blobs/{digest}", storage.url());
    setup.mirrors[0].script(move |_, _| Quirk::Redirect(to.clone()));
    read(&blob, RANGE).await.unwrap();
    let seen = storage.seen();
    assert_eq!(seen.len(), 1);
    assert!(seen[0].authorization.is_none() && !seen[0].headers.contains_key("x-key"));
}

#[tokio::test]
async fn credentials_of_a_request_go_to_its_registry_only_and_to_no_other_client() {
    let setup = Setup::new(1).await;
    setup.hosts_toml(&format!("[host.'{}']\n", setup.mirrors[0].url()));
    setup.upstream.access(Access::Basic("user:pass"));
    setup.mirrors[0].access(Access::Basic("user:pass"));
    let client = setup.client();
    let given = client.with_credentials(&setup.host(), Credentials::password("user", "pass"));
    assert_ne!(client.number(), given.number());
    assert_eq!(given.number(), given.clone().number());
    read(&setup.blob(&given), RANGE).await.unwrap();
    assert!(setup.mirrors[0].seen().iter().all(|seen| seen.authorization.is_none()));
    // The client it came from has neither the credentials nor what they brought.
    assert_eq!(read(&setup.blob(&client), RANGE).await.unwrap_err().kind(), ErrorKind::Denied);
    // Nor does another registry get them.
    let other = client.with_credentials("registry.example", Credentials::password("user", "pass"));
    assert_eq!(read(&setup.blob(&other), RANGE).await.unwrap_err().kind(), ErrorKind::Denied);
    // Nor whom the registry redirects to.
    let storage = Registry::start().await;
    let to = format!("{}/v2/x/blobs/{}", storage.url(), storage.blob(content()));
    setup.upstream.script(move |_, _| Quirk::Redirect(to.clone()));
    read(&setup.blob(&given), RANGE).await.unwrap();
    assert!(storage.seen().iter().all(|seen| seen.authorization.is_none()));
    assert_eq!(storage.seen().len(), 1);
}

/// Config and manifest of an image whose layer has this blob.
fn image_of(layer: &[u8]) -> (String, String) {
    let config = json!({"rootfs": {"diff_ids": [Digest::of(b"diff")]}}).to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": ObjectDigest::of(config.as_bytes()), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": ObjectDigest::of(layer), "size": 5}],
    });
    (config, manifest.to_string())
}

fn put(registry: &Registry, tag: &str) -> ObjectDigest {
    let (config, manifest) = image_of(b"layer");
    registry.blob(config);
    let digest = ObjectDigest::of(manifest.as_bytes());
    let kind = "application/vnd.oci.image.manifest.v1+json";
    registry.document(tag, kind, manifest.clone());
    registry.document(&digest.to_string(), kind, manifest);
    digest
}

fn asked_for(registry: &Registry, part: &str) -> usize {
    registry.seen().iter().filter(|seen| seen.path.contains(part)).count()
}

#[tokio::test]
async fn tags_are_resolved_only_where_that_is_allowed() {
    let setup = Setup::new(1).await;
    put(&setup.upstream, "v1");
    put(&setup.mirrors[0], "v1");
    let platform = Platform::new("linux", "amd64", None);
    for (capabilities, at_mirror) in [("['pull']", 0), ("['pull', 'resolve']", 1)] {
        setup.hosts_toml(&format!("[host.'{}']\ncapabilities = {capabilities}", setup.mirrors[0].url()));
        let client = setup.client();
        client.pull_image(&setup.upstream.reference("app:v1"), &platform).await.unwrap();
        assert_eq!(asked_for(&setup.mirrors[0], "/manifests/v1"), at_mirror, "{capabilities}");
    }
    assert_eq!(setup.mirrors[0].blob_requests(), 2, "the config comes from the mirror either way");
    setup.hosts_toml(&format!("server = '{}'\ncapabilities = ['push']", setup.upstream.url()));
    let error = setup.client().pull_image(&setup.upstream.reference("app:v1"), &platform).await.unwrap_err();
    assert!(error.to_string().contains("capability \"resolve\""), "{error}");
}

#[tokio::test]
async fn wrong_documents_of_a_mirror_come_from_the_registry() {
    let platform = Platform::new("linux", "amd64", None);
    let kind = "application/vnd.oci.image.manifest.v1+json";
    // Another image is as good a manifest as the right one, but for its digest.
    for manifest in [r#"{"schemaVersion": 2}"#.to_owned(), image_of(b"bait").1] {
        let setup = Setup::new(1).await;
        let digest = put(&setup.upstream, "v1");
        put(&setup.mirrors[0], "v1");
        setup.mirrors[0].document(&digest.to_string(), kind, manifest);
        let reference = setup.upstream.reference(&format!("app@{digest}"));
        let image = setup.client().pull_image(&reference, &platform).await.unwrap();
        assert_eq!((image.manifest_digest, image.layers[0].blob), (digest, ObjectDigest::of(b"layer")));
    }
    let setup = Setup::new(1).await;
    let digest = put(&setup.upstream, "v1");
    put(&setup.mirrors[0], "v1");
    setup.mirrors[0].forge(ObjectDigest::of(image_of(b"layer").0.as_bytes()), "{}");
    let client = setup.client();
    let image =
        client.pull_image(&setup.upstream.reference(&format!("app@{digest}")), &platform).await.unwrap();
    assert_eq!(image.manifest_digest, digest);
    // So does a blob whose bytes turned out wrong later.
    let blob = setup.blob(&client);
    read(&blob, RANGE).await.unwrap();
    assert!(blob.distrust_mirrors().await);
    let before = setup.upstream.blob_requests();
    read(&blob, RANGE).await.unwrap();
    assert_eq!(setup.upstream.blob_requests(), before + 1);
    assert!(!blob.distrust_mirrors().await, "nobody else is left to blame");
}

#[tokio::test]
async fn mistakes_fail_the_pull_with_their_place() {
    let setup = Setup::new(0).await;
    setup.hosts_toml("server = 'https://r.example'\n[host.'m.example']\ncapabilities = ['pul']\n");
    let blob = setup.blob(&setup.client());
    let error = blob.get_all().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(text.contains("/hosts.toml:3:17: unknown capability \"pul\""), "{text}");
}

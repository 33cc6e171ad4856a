//! What users read when something goes wrong: each thing once, in words, with what to do.
#![allow(clippy::unwrap_used, reason = "tests; clippy knows only functions marked as such")]

#[path = "support/registry.rs"]
mod registry;

use std::collections::BTreeMap;

use chunked_core::{ByteRange, Causes, ObjectDigest};
use chunked_registry::{Client, ClientOptions, Platform, RegistryError};
use registry::{Access, Quirk, Registry, options};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What is wrong with a text; `None` when nothing is.
fn fault(text: &str) -> Option<String> {
    // Causes, mirrors and advice are parted by these.
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    // A port's colon parts nothing.
    let parts = text.split(": ").flat_map(|part| part.split([';', '(', ')']));
    for part in parts.map(str::trim).filter(|part| part.len() > 12) {
        *seen.entry(part).or_default() += 1;
    }
    if let Some((part, _)) = seen.iter().find(|(_, times)| **times > 1) {
        return Some(format!("{part:?} is said twice"));
    }
    let debug = text.as_bytes().windows(2).any(|two| two[0].is_ascii_alphanumeric() && two[1] == b'(');
    if debug || text.contains(" { ") || text.contains("Some(") || text.contains("\\\"") {
        return Some("it shows how we name things".to_owned());
    }
    if text.contains("error sending request") || text.contains("client error") {
        return Some("it names layers of the HTTP library".to_owned());
    }
    (text.contains('\n') || text.ends_with(['.', ':', ' '])).then(|| "it is not one plain line".to_owned())
}

#[test]
fn faults_are_found() {
    for bad in [
        "layer x: the body ended early: the body ended early",
        "invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))",
        "registry r: Transport { reason }",
        "error sending request: client error (Connect)",
        "two\nlines",
    ] {
        assert!(fault(bad).is_some(), "{bad}");
    }
    assert_eq!(fault("registry r.example: blob a@sha256:1: HTTP 404 Not Found"), None);
}

struct Setup {
    upstream: Registry,
    mirror: Registry,
    directory: tempfile::TempDir,
}

impl Setup {
    async fn new() -> Self {
        let (upstream, mirror) = (Registry::start().await, Registry::start().await);
        let directory = tempfile::tempdir().unwrap();
        let setup = Self { upstream, mirror, directory };
        setup.hosts_toml(&format!("[host.'{}']\n", setup.mirror.url()));
        setup
    }

    fn hosts_toml(&self, text: &str) {
        let host = self.directory.path().join(self.upstream.reference("x").host);
        std::fs::create_dir_all(&host).unwrap();
        std::fs::write(host.join("hosts.toml"), text).unwrap();
    }

    fn client(&self) -> Client {
        let config_path = vec![self.directory.path().to_path_buf()];
        Client::new(ClientOptions { config_path, ..options() }).unwrap()
    }
}

async fn image(client: &Client, registry: &Registry, name: &str) -> RegistryError {
    let platform = Platform::new("linux", "amd64", None);
    client.pull_image(&registry.reference(name), &platform).await.unwrap_err()
}

async fn blob(client: &Client, registry: &Registry, digest: ObjectDigest) -> RegistryError {
    let blob = client.blob(&registry.reference("team/app"), digest, 5000);
    let mut body = match blob.get(ByteRange { start: 10, end: 4000 }).await {
        Ok(body) => body,
        Err(error) => return error,
    };
    loop {
        if let Err(error) = body.chunk().await.unwrap() {
            return error;
        }
    }
}

/// Documents that make no image, by what is wrong with them.
fn documents() -> Vec<(&'static str, Value)> {
    let d = |name: &str| json!({"digest": ObjectDigest::of(name.as_bytes()), "size": 3, "mediaType": "x"});
    let sha384 = format!("sha384:{}", "a".repeat(96));
    vec![
        ("text", json!("x")),
        ("neither", json!({"schemaVersion": 2})),
        ("old", json!({"schemaVersion": 1})),
        ("both", json!({"manifests": [], "config": d("c")})),
        ("artifact", json!({"config": d("c"), "layers": [], "artifactType": "application/spdx+json"})),
        ("sha384", json!({"config": {"digest": sha384, "size": 3}})),
        (
            "platform",
            json!({"manifests": [{"digest": ObjectDigest::of(b"a"), "size": 1, "mediaType": MANIFEST,
            "platform": {"os": "linux", "architecture": "s390x"}}]}),
        ),
        ("empty", json!({"manifests": []})),
        (
            "no-config",
            json!({"config": {"digest": ObjectDigest::of(b"gone"), "size": 3,
            "mediaType": "application/vnd.oci.image.config.v1+json"}, "layers": []}),
        ),
    ]
}

#[tokio::test]
async fn errors_say_each_thing_once() {
    let setup = Setup::new().await;
    let mut errors: Vec<(String, RegistryError)> = Vec::new();
    for (name, document) in documents() {
        setup.upstream.document(name, MANIFEST, document.to_string());
        errors.push((name.to_owned(), image(&setup.client(), &setup.upstream, &format!("app:{name}")).await));
    }
    let digest = setup.upstream.blob(vec![7; 5000]);
    setup.mirror.blob(vec![7; 5000]);
    for quirk in [
        Quirk::Status(401),
        Quirk::Status(403),
        Quirk::Status(404),
        Quirk::Status(416),
        Quirk::Status(500),
        Quirk::Status(501),
        Quirk::WrongRange,
        Quirk::NoContentRange,
        Quirk::OffBy(-1),
        Quirk::BreakAfter(100),
        Quirk::StallAfter(100),
        Quirk::Encoded,
        Quirk::Redirect("ftp://x.example/".to_owned()),
        Quirk::Redirect("http://127.0.0.1:1/".to_owned()),
    ] {
        for registry in [&setup.upstream, &setup.mirror] {
            let script = quirk.clone();
            registry.script(move |_, _| script.clone());
        }
        let client = setup.client();
        for _ in 0..3 {
            errors.push((format!("{quirk:?}"), blob(&client, &setup.upstream, digest).await));
        }
    }
    for access in [Access::Never, Access::Basic("user:pass"), Access::Bearer(Some("user:pass"))] {
        setup.upstream.access(access.clone());
        setup.mirror.access(access.clone());
        errors.push((format!("{access:?}"), blob(&setup.client(), &setup.upstream, digest).await));
    }
    setup.hosts_toml("server = 'https://r.example'\ncapabilities = ['pul']\n");
    errors.push(("hosts.toml".to_owned(), blob(&setup.client(), &setup.upstream, digest).await));
    setup.hosts_toml(&format!("server = '{}'\n", setup.upstream.url().replace("http:", "https:")));
    errors.push(("no TLS".to_owned(), blob(&setup.client(), &setup.upstream, digest).await));
    setup.hosts_toml("server = 'http://127.0.0.1:1'\n");
    errors.push(("nobody".to_owned(), blob(&setup.client(), &setup.upstream, digest).await));
    let bad: Vec<String> = errors
        .iter()
        .filter_map(|(what, error)| {
            let text = Causes(error).to_string();
            Some(format!("{what}: {}\n  {text}", fault(&text)?))
        })
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(errors.len() > 50);
}

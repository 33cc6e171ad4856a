//! Look-ups in a fake containerd.

mod fake;
mod speed;
mod trouble;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use chunked_core::{Digest, ObjectDigest, labels};
use chunked_registry::Image;

use self::fake::{Documents, Fake};
use crate::{Containerd, DiscoverError, ErrorKind, Found, NoSource, Options};

const K8S: &str = "k8s.io";

impl Fake {
    fn connect(&self) -> Containerd {
        // No memory of answers unless a test is about it.
        self.connect_with(Options { answer_lifetime: Duration::ZERO, ..Options::default() })
    }

    fn connect_with(&self, options: Options) -> Containerd {
        Containerd::with_options(&self.socket, options)
    }
}

fn hints(manifest: Option<ObjectDigest>, name: Option<&str>) -> HashMap<String, String> {
    let manifest = manifest.map(|digest| (labels::CRI_MANIFEST_DIGEST.to_owned(), digest.to_string()));
    let name = name.map(|name| (labels::CRI_IMAGE_REF.to_owned(), name.to_owned()));
    manifest.into_iter().chain(name).collect()
}

async fn find(containerd: &Containerd, chain: &Digest) -> Result<Found, DiscoverError> {
    containerd.find(Some(K8S), chain, &HashMap::new()).await
}

fn place(image: &Image) -> String {
    format!("{}/{}", image.reference.host, image.reference.repository)
}

fn places(found: &Found) -> Vec<String> {
    let others = found.alternatives.iter().map(|source| place(&source.image));
    std::iter::once(place(&found.image)).chain(others).collect()
}

#[tokio::test]
async fn a_chain_is_found_without_labels() {
    let fake = Fake::start();
    let image = Documents::of(&["a", "b", "c"], "");
    fake.pulled(K8S, &Documents::of(&["x", "y"], ""), &[("docker.io", "library/other")], 5);
    fake.pulled(K8S, &image, &[("docker.io", "library/app")], 10);
    let containerd = fake.connect();
    for (index, chain) in image.chains.iter().enumerate() {
        let found = find(&containerd, chain).await.unwrap();
        assert_eq!(found.index, index);
        assert_eq!(found.image.manifest_digest, image.manifest_digest());
        assert_eq!(found.image.layers[index].chain_id, *chain);
        assert_eq!(places(&found), ["docker.io/library/app"]);
        assert!(found.port_assumed, "no name vouches for the port");
    }
    let unknown = find(&containerd, &Digest::of(b"nobody has this")).await.unwrap_err();
    assert!(matches!(unknown.no_source(), Some(NoSource::NoImage { manifests: 2 })));
}

#[tokio::test]
async fn every_image_is_listed_once() {
    let fake = Fake::start();
    let (one, two) = (Documents::of(&["a", "b"], ""), Documents::of(&["a", "c"], ""));
    fake.pulled(K8S, &one, &[("docker.io", "library/one")], 5);
    fake.pulled(K8S, &two, &[("docker.io", "library/two")], 5);
    fake.pulled("default", &one, &[("docker.io", "library/one")], 5);
    fake.put(K8S, b"no manifest", &[], SystemTime::now());
    let mut expected = vec![one.chains[1], two.chains[1]];
    expected.sort_unstable();
    assert_eq!(fake.connect().top_chains().await.unwrap(), expected);
}

#[tokio::test]
async fn a_true_label_saves_the_listing() {
    let fake = Fake::start();
    let image = Documents::of(&["a", "b"], "");
    fake.pulled(K8S, &image, &[("r.example", "team/app"), ("docker.io", "me/app")], 10);
    let labels = hints(Some(image.manifest_digest()), Some("r.example:5000/team/app:v1"));
    let found = fake.connect().find(Some(K8S), &image.chains[1], &labels).await.unwrap();
    assert_eq!(found.index, 1);
    assert_eq!(places(&found), ["r.example:5000/team/app", "docker.io/me/app"]);
    assert!(!found.port_assumed, "the name vouches for it");
    assert!(found.alternatives.iter().all(|source| source.port_assumed));
    assert_eq!(fake.counts.lists.load(Ordering::Relaxed), 0);
    assert_eq!(fake.counts.image_lists.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn forged_labels_change_nothing() {
    let fake = Fake::start();
    let image = Documents::of(&["a", "b"], "");
    let other = Documents::of(&["x"], "");
    fake.pulled(K8S, &image, &[("docker.io", "library/app")], 10);
    fake.pulled(K8S, &other, &[("evil.example", "bait")], 1);
    let absent = ObjectDigest::of(b"no such manifest");
    let containerd = fake.connect();
    for labels in [
        hints(None, Some("evil.example/library/app:v1")),
        hints(None, Some("docker.io.evil.example/library/app:v1")),
        hints(Some(other.manifest_digest()), Some("evil.example/bait:v1")),
        hints(Some(absent), Some("evil.example/bait:v1")),
        hints(Some(ObjectDigest::of(&image.config)), None),
        HashMap::from([(labels::CRI_MANIFEST_DIGEST.to_owned(), "sha256:short".to_owned())]),
        HashMap::from([(labels::CRI_IMAGE_REF.to_owned(), "x".repeat(100_000))]),
    ] {
        let found = containerd.find(Some(K8S), &image.chains[0], &labels).await.unwrap();
        assert_eq!(found.image.manifest_digest, image.manifest_digest(), "{labels:?}");
        assert_eq!(places(&found), ["docker.io/library/app"], "{labels:?}");
    }
}

#[tokio::test]
async fn of_images_that_share_layers_the_newest_comes_first() {
    let fake = Fake::start();
    let old = Documents::of(&["base", "old"], "gzip");
    let new = Documents::of(&["base", "new"], "zstd");
    fake.pulled(K8S, &old, &[("docker.io", "library/old")], 1000);
    let containerd = fake.connect();
    let found = find(&containerd, &old.chains[0]).await.unwrap();
    assert_eq!(places(&found), ["docker.io/library/old"]);

    fake.pulled(K8S, &new, &[("docker.io", "library/new")], 5);
    let found = find(&containerd, &old.chains[0]).await.unwrap();
    assert_eq!(places(&found), ["docker.io/library/new", "docker.io/library/old"]);
    assert_eq!(found.image.layers[0].blob, ObjectDigest::of(b"base zstd"));
    assert_eq!(found.alternatives[0].image.layers[0].blob, ObjectDigest::of(b"base gzip"));

    let found = find(&containerd, &old.chains[1]).await.unwrap();
    assert_eq!(places(&found), ["docker.io/library/old"], "the upper layer belongs to one of them");

    let named = hints(None, Some("docker.io/library/old:v1"));
    let found = containerd.find(Some(K8S), &old.chains[0], &named).await.unwrap();
    assert_eq!(place(&found.image), "docker.io/library/old", "a name decides between true sources");
}

#[tokio::test]
async fn namespaces_are_kept_apart() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.pulled("team", &image, &[("docker.io", "library/app")], 10);
    let containerd = fake.connect_with(Options::default());
    assert!(containerd.find(Some("team"), &image.chains[0], &HashMap::new()).await.is_ok());
    let elsewhere = find(&containerd, &image.chains[0]).await.unwrap_err();
    assert_eq!(elsewhere.kind(), ErrorKind::NoSource);
    let anywhere = containerd.find(None, &image.chains[0], &HashMap::new()).await.unwrap();
    assert_eq!(place(&anywhere.image), "docker.io/library/app");
    let bad = containerd.find(Some("a\nb"), &image.chains[0], &HashMap::new()).await.unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::NoSource);
}

#[tokio::test]
async fn manifests_without_gc_labels_are_found_too() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    let now = SystemTime::now();
    let source = (format!("{}docker.io", labels::DISTRIBUTION_SOURCE_PREFIX), "library/app".to_owned());
    fake.put(K8S, &image.config, std::slice::from_ref(&source), now);
    fake.put(K8S, &image.manifest, &[source], now);
    fake.put(K8S, b"\x28\xb5\x2f\xfd a small layer", &[], now);
    fake.put(K8S, b"{}", &[], now);
    let found = find(&fake.connect(), &image.chains[0]).await.unwrap();
    assert_eq!(place(&found.image), "docker.io/library/app");
}

#[tokio::test]
async fn an_index_links_a_name_to_its_manifest() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.pulled(K8S, &image, &[("r.example", "app,copy")], 10);
    let child = ("containerd.io/gc.ref.content.m.0".to_owned(), image.manifest_digest().to_string());
    let index = fake.put(K8S, b"{\"manifests\":[]}", &[child], SystemTime::now());
    fake.name(K8S, "r.example:7000/copy:v1", index);
    fake.name(K8S, "sha256:not-a-name", index);
    let found = find(&fake.connect(), &image.chains[0]).await.unwrap();
    assert_eq!(place(&found.image), "r.example:7000/copy");
}

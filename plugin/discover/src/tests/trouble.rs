//! Content that is missing, altered or too long, and a containerd that does not answer.

use tokio_stream::StreamExt as _;

use super::*;
use crate::NoRegistry;

#[tokio::test]
async fn an_imported_image_has_no_registry() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.pulled(K8S, &image, &[], 100);
    fake.name(K8S, "r.example/team/app:v1", image.manifest_digest());
    let labels = hints(Some(image.manifest_digest()), Some("r.example/team/app:v1"));
    for labels in [HashMap::new(), labels] {
        let found = fake.connect().find(Some(K8S), &image.chains[0], &labels).await.unwrap();
        assert_eq!(found.no_registry, Some(NoRegistry::Imported));
        assert!(place(&found.image).ends_with(".invalid/image"), "{}", place(&found.image));
        // Another image that has the layer, and a registry, goes first.
        let twin = Documents::of(&["a", "c"], "twin");
        fake.pulled(K8S, &twin, &[("docker.io", "library/twin")], 2000);
        let found = fake.connect().find(Some(K8S), &image.chains[0], &labels).await.unwrap();
        assert_eq!((place(&found.image).as_str(), &found.no_registry), ("docker.io/library/twin", &None));
        fake.remove(&twin.manifest_digest());
    }
}

#[tokio::test]
async fn a_registry_whose_port_nothing_names_is_not_asked() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.pulled(K8S, &image, &[("10.0.0.1", "team/app")], 100);
    let found = find(&fake.connect(), &image.chains[0]).await.unwrap();
    assert_eq!(found.no_registry, Some(NoRegistry::UnknownPort { host: "10.0.0.1".to_owned() }));
    assert_eq!(places(&found), ["10.0.0.1/team/app"]);
    let known_hosts = vec!["10.0.0.1:5000".to_owned()];
    let containerd = fake.connect_with(Options { known_hosts, ..Options::default() });
    let found = find(&containerd, &image.chains[0]).await.unwrap();
    assert_eq!((places(&found), found.no_registry), (vec!["10.0.0.1:5000/team/app".to_owned()], None));
}

#[tokio::test]
async fn a_stored_blob_is_read_by_ranges() {
    let fake = Fake::start();
    let bytes: Vec<u8> = (0..=255).cycle().take(3 << 20).collect();
    let digest = fake.put(K8S, &bytes, &[], SystemTime::now());
    let content = fake.connect().content_of(K8S).unwrap();
    let size = bytes.len() as u64;
    assert!(content.find(digest, size - 1).await.unwrap().is_none(), "not the blob of the manifest");
    assert!(content.find(ObjectDigest::of(b"absent"), 6).await.unwrap().is_none());
    assert!(fake.connect().content_of("other").unwrap().find(digest, size).await.unwrap().is_none());
    let blob = content.find(digest, size).await.unwrap().unwrap();
    for (start, end) in [(0, size), (5, 6), (1 << 20, (2 << 20) + 7), (size - 1, size)] {
        let pieces: Vec<_> = blob.read(chunked_core::ByteRange { start, end }).collect().await;
        let read: Vec<u8> = pieces.into_iter().flat_map(Result::unwrap).collect();
        let range = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
        assert!(read == bytes[range], "{start}..{end}");
    }
    fake.remove(&digest);
    let mut pieces = Box::pin(blob.read(chunked_core::ByteRange { start: 0, end: 1 }));
    assert!(pieces.next().await.unwrap().is_err(), "collected in the meantime");
}

#[tokio::test]
async fn altered_content_is_never_used() {
    for part in ["manifest", "config"] {
        let fake = Fake::start();
        let image = Documents::of(&["a", "b"], "");
        fake.pulled(K8S, &image, &[("docker.io", "library/app")], 10);
        let altered =
            if part == "config" { ObjectDigest::of(&image.config) } else { image.manifest_digest() };
        fake.stored.lock().blobs.get_mut(&(K8S.to_owned(), altered)).unwrap().bytes.push(b' ');
        let by_hint = hints(Some(image.manifest_digest()), None);
        for labels in [HashMap::new(), by_hint] {
            let error = fake.connect().find(Some(K8S), &image.chains[0], &labels).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Integrity, "{part}: {error}");
            assert!(error.to_string().contains(&altered.to_string()), "{part}: {error}");
        }
        // Another image with the layer still serves.
        let twin = Documents::of(&["a", "c"], "twin");
        fake.pulled(K8S, &twin, &[("docker.io", "library/twin")], 20);
        let found = find(&fake.connect(), &image.chains[0]).await.unwrap();
        assert_eq!(places(&found), ["docker.io/library/twin"], "{part}");
    }
}

#[tokio::test]
async fn altered_content_of_another_image_stops_nothing() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.pulled(K8S, &image, &[("docker.io", "library/app")], 3600);
    let containerd = fake.connect();
    assert!(find(&containerd, &image.chains[0]).await.is_ok());
    let config = (K8S.to_owned(), ObjectDigest::of(&image.config));
    fake.stored.lock().blobs.get_mut(&config).unwrap().bytes.push(b' ');
    let unrelated = find(&containerd, &Digest::of(b"imported")).await.unwrap_err();
    assert_eq!(unrelated.kind(), ErrorKind::NoSource, "{unrelated}");
    let known = find(&containerd, &image.chains[0]).await.unwrap_err();
    assert_eq!(known.kind(), ErrorKind::Integrity, "{known}");
}

#[tokio::test]
async fn a_config_that_comes_late_is_waited_for() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.pulled(K8S, &image, &[("docker.io", "library/app")], 0);
    fake.remove(&ObjectDigest::of(&image.config));
    let by_hint = hints(Some(image.manifest_digest()), None);
    for labels in [HashMap::new(), by_hint] {
        let stored = std::sync::Arc::clone(&fake.stored);
        let late = fake::StoredBlob {
            bytes: image.config.clone(),
            labels: HashMap::new(),
            changed: SystemTime::now(),
        };
        let key = (K8S.to_owned(), ObjectDigest::of(&image.config));
        let arrival = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stored.lock().blobs.insert(key, late);
        });
        let found = fake.connect().find(Some(K8S), &image.chains[0], &labels).await.unwrap();
        assert_eq!(place(&found.image), "docker.io/library/app");
        arrival.await.unwrap();
        fake.remove(&ObjectDigest::of(&image.config));
    }
}

#[tokio::test]
async fn a_config_that_never_comes_does_not_hold_the_call() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    // Another platform's manifest, fetched long ago: its config is not awaited at all.
    fake.pulled(K8S, &image, &[("docker.io", "library/app")], 3600);
    fake.remove(&ObjectDigest::of(&image.config));
    let begun = Instant::now();
    let error = find(&fake.connect(), &image.chains[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSource);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());

    let labels = hints(Some(image.manifest_digest()), None);
    let error = fake.connect().find(Some(K8S), &image.chains[0], &labels).await.unwrap_err();
    assert!(matches!(error.no_source(), Some(NoSource::NoConfig { .. })), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_unreachable_containerd_is_told_apart() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.stored.lock().stuck = true;
    let short = Duration::from_millis(200);
    let options = Options { call_timeout: short, list_timeout: short, ..Options::default() };
    let error = find(&fake.connect_with(options), &image.chains[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(matches!(error, DiscoverError::TimedOut { call: "Content.List", .. }), "{error}");

    let gone = Containerd::new(&fake.socket.with_extension("gone"));
    let begun = Instant::now();
    let error = find(&gone, &image.chains[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("containerd.gone"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn oversized_documents_are_not_read_to_the_end() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.pulled(K8S, &image, &[("docker.io", "library/app")], 10);
    let key = (K8S.to_owned(), image.manifest_digest());
    fake.stored.lock().blobs.get_mut(&key).unwrap().bytes.resize(5 << 20, b' ');
    let error = find(&fake.connect(), &image.chains[0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSource, "{error}");
}

//! Content that is missing, altered or too long, and a containerd that does not answer.

use super::*;

#[tokio::test]
async fn an_imported_image_has_no_source() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    fake.pulled(K8S, &image, &[], 100);
    fake.name(K8S, "r.example/team/app:v1", image.manifest_digest());
    let labels = hints(Some(image.manifest_digest()), Some("r.example/team/app:v1"));
    for labels in [HashMap::new(), labels] {
        let error = fake.connect().find(Some(K8S), &image.chains[0], &labels).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSource);
        assert!(matches!(error.no_source(), Some(NoSource::NoOrigin { .. })), "{error}");
    }
}

#[tokio::test]
async fn altered_content_is_never_used() {
    for part in ["manifest", "config"] {
        let fake = Fake::start();
        let image = Documents::of(&["a", "b"], "");
        fake.pulled(K8S, &image, &[("docker.io", "library/app")], 10);
        let altered = if part == "config" { Digest::of(&image.config) } else { image.manifest_digest() };
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
    let config = (K8S.to_owned(), Digest::of(&image.config));
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
    fake.remove(&Digest::of(&image.config));
    let by_hint = hints(Some(image.manifest_digest()), None);
    for labels in [HashMap::new(), by_hint] {
        let stored = std::sync::Arc::clone(&fake.stored);
        let late = fake::StoredBlob {
            bytes: image.config.clone(),
            labels: HashMap::new(),
            changed: SystemTime::now(),
        };
        let key = (K8S.to_owned(), Digest::of(&image.config));
        let arrival = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stored.lock().blobs.insert(key, late);
        });
        let found = fake.connect().find(Some(K8S), &image.chains[0], &labels).await.unwrap();
        assert_eq!(place(&found.image), "docker.io/library/app");
        arrival.await.unwrap();
        fake.remove(&Digest::of(&image.config));
    }
}

#[tokio::test]
async fn a_config_that_never_comes_does_not_hold_the_call() {
    let fake = Fake::start();
    let image = Documents::of(&["a"], "");
    // Another platform's manifest, fetched long ago: its config is not awaited at all.
    fake.pulled(K8S, &image, &[("docker.io", "library/app")], 3600);
    fake.remove(&Digest::of(&image.config));
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

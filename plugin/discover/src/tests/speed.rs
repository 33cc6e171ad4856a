//! Many blobs, many callers.

use super::*;

/// Two thousand blobs, four hundred of them manifests: the first look-up reads them, later ones do not.
#[tokio::test]
async fn a_big_store_is_searched_quickly() {
    let fake = Fake::start();
    let images: Vec<Documents> = (0..400).map(|i| Documents::of(&["base", &format!("{i}")], "s")).collect();
    for (image, ago) in images.iter().zip(100..) {
        fake.pulled(K8S, image, &[("docker.io", "library/app")], ago);
    }
    for i in 0..1200 {
        let unpacked = ("containerd.io/uncompressed".to_owned(), Digest::of(b"tar").to_string());
        fake.put(K8S, format!("layer {i}").as_bytes(), &[unpacked], SystemTime::now());
    }
    let containerd = fake.connect_with(Options::default());
    let oldest = images.last().unwrap();
    let begun = Instant::now();
    let found = find(&containerd, &oldest.chains[1]).await.unwrap();
    assert_eq!(found.image.manifest_digest, oldest.manifest_digest());
    let first = begun.elapsed();
    let reads = fake.counts.reads.load(Ordering::Relaxed);
    assert!(reads <= 2 * 400, "{reads} reads");

    let begun = Instant::now();
    assert!(find(&containerd, &images[10].chains[1]).await.is_ok());
    let second = begun.elapsed();
    assert!(
        fake.counts.reads.load(Ordering::Relaxed) - reads <= 2,
        "known by digest: only two documents again"
    );

    let lists = fake.counts.lists.load(Ordering::Relaxed);
    assert_eq!(find(&containerd, &oldest.chains[0]).await.unwrap().index, 0);
    assert_eq!(fake.counts.lists.load(Ordering::Relaxed), lists, "the layer below was remembered");

    println!("first {first:?}, second {second:?}");
    // Generous, for loaded machines: usually 150 ms and 20 ms.
    assert!(first < Duration::from_secs(5) && second < Duration::from_secs(1), "{first:?} {second:?}");
}

#[tokio::test]
async fn one_listing_serves_those_who_ask_at_once() {
    let fake = Fake::start();
    let names: Vec<String> = (0..20).map(|i| format!("layer {i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let image = Documents::of(&names, "");
    fake.pulled(K8S, &image, &[("docker.io", "library/app")], 10);
    let containerd = fake.connect_with(Options::default());
    let mut running = tokio::task::JoinSet::new();
    for chain in image.chains.clone() {
        let containerd = containerd.clone();
        running.spawn(async move { find(&containerd, &chain).await.unwrap() });
    }
    while let Some(found) = running.join_next().await {
        assert_eq!(found.unwrap().image.manifest_digest, image.manifest_digest());
    }
    assert_eq!(fake.counts.lists.load(Ordering::Relaxed), 1);
}

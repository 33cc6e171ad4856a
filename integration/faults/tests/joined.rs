//! Two images that claim the same layer: neither waits for the other's registry, nor fails over what the other says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chunked_engine::Mode;
use chunked_faults::{Answer, Kind, Node, NodeOptions, Registry, TestImage, TestLayer, Way, noise};
use chunked_registry::Reference;

/// Longer than any pull of a good registry takes here, on a slow machine too, and much shorter than the patience with a bad
/// one.
const SOON: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(600);

fn files(seed: u64, count: u64) -> BTreeMap<String, Vec<u8>> {
    (0..count).map(|n| (format!("f{n:03}"), noise(seed + n, 40_000))).collect()
}

/// A node that waits for silent registries longer than this test takes.
fn patient() -> Arc<Node> {
    Arc::new(Node::new(&NodeOptions { stall: PATIENCE, ..NodeOptions::default() }))
}

fn play(registry: &Registry, answer: &Answer) {
    for kind in [Kind::Toc, Kind::Range, Kind::Ranges, Kind::Whole] {
        registry.play(kind, std::slice::from_ref(answer), Way::ForEver);
    }
}

/// Begins a pull, and comes back once its layers are being made.
async fn begin(node: &Arc<Node>, reference: Reference) -> tokio::task::JoinHandle<Result<(), String>> {
    let pulling = Arc::clone(node);
    let pull =
        tokio::spawn(async move { pulling.pull(&reference).await.map(drop).map_err(|e| e.to_string()) });
    while node.engine.running().is_empty() && !pull.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    pull
}

/// While `evil` pulls an image that claims `layer`, `honest` pulls it from another registry: as if it were alone.
async fn beside(name: &str, layer: TestLayer, claimed: TestLayer, answer: Option<Answer>) {
    let (evil, honest) = (Registry::start().await, Registry::start().await);
    evil.add("evil", &TestImage::new(vec![claimed]));
    honest.add("app", &TestImage::new(vec![layer.clone()]));
    if let Some(answer) = &answer {
        play(&evil, answer);
    }
    let node = patient();
    let first = begin(&node, evil.reference("evil")).await;
    let started = Instant::now();
    let reports = tokio::time::timeout(SOON, node.pull(&honest.reference("app"))).await;
    let reports = reports.unwrap_or_else(|_| panic!("{name}: it waited for the other registry"));
    let reports = reports.unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(Node::difference(&reports[0], &layer), None, "{name}");
    assert!(honest.served().layer_bytes() > 0, "{name}: proven by its own registry's bytes");
    // The first that proves the DiffID serves both, also one that could go on waiting for ever.
    let first = tokio::time::timeout(SOON, first).await;
    let first = first.unwrap_or_else(|_| panic!("{name}: the evil one is still waiting")).unwrap();
    if matches!(answer, Some(Answer::Silent | Answer::StallAfter(_))) {
        assert_eq!(first, Ok(()), "{name}");
    }
    assert!(started.elapsed() < SOON);
    while !node.engine.running().is_empty() && started.elapsed() < SOON {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(node.engine.running().is_empty(), "{name}: no job is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_registry_is_neither_waited_for_nor_believed() {
    let good = TestLayer::chunked(&files(0, 50), usize::MAX);
    let other = TestLayer::chunked(&files(1000, 100), usize::MAX);
    let claimed = TestLayer { diff_id: good.diff_id, ..other };
    beside("other content", good.clone(), claimed.clone(), None).await;
    for (name, answer) in [
        ("stalls", Answer::StallAfter(10)),
        ("denied", Answer::Status(403)),
        ("silent", Answer::Silent),
        ("garbage", Answer::Garbage),
        ("gone", Answer::Status(404)),
        ("overloaded", Answer::RetryAfter(503, 60)),
    ] {
        beside(name, good.clone(), good.clone(), Some(answer.clone())).await;
        beside(name, good.clone(), claimed.clone(), Some(answer)).await;
    }
    let (good, claimed) = (TestLayer::plain(&files(0, 50)), TestLayer::plain(&files(1, 50)));
    let claimed = TestLayer { diff_id: good.diff_id, ..claimed };
    beside("plain, silent", good.clone(), good.clone(), Some(Answer::Silent)).await;
    beside("plain, other content", good, claimed, None).await;
}

/// Everybody pushes to the same large registries: another repository's blob, manifest and rights are not ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_is_another_repository_of_the_same_registry() {
    let good = TestLayer::chunked(&files(0, 50), usize::MAX);
    let other = TestLayer::chunked(&files(1000, 100), usize::MAX);
    let mut lies = good.clone();
    let checksum = "io.github.containers.zstd-chunked.manifest-checksum".to_owned();
    lies.annotations.insert(checksum, chunked_core::Digest::of(b"another TOC").to_string());
    for (name, claimed) in [
        ("other content", TestLayer { diff_id: good.diff_id, ..other }),
        ("lies about the TOC", lies),
        ("a blob that is not there", TestLayer { digest: chunked_core::Digest::of(b"none"), ..good.clone() }),
    ] {
        let registry = Registry::start().await;
        registry.add("evil", &TestImage::new(vec![claimed]));
        registry.add("app", &TestImage::new(vec![good.clone()]));
        let node = patient();
        let first = begin(&node, registry.reference("evil")).await;
        let reports = tokio::time::timeout(SOON, node.pull(&registry.reference("app"))).await;
        let reports = reports.unwrap_or_else(|_| panic!("{name}: too slow")).unwrap();
        assert_eq!(Node::difference(&reports[0], &good), None, "{name}");
        let _ = first.await.unwrap();
    }
}

/// A transfer that is shared within a registry fails for one repository: the other tries for itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_an_answer_only_in_its_own_repository() {
    let good = TestLayer::chunked(&files(0, 50), usize::MAX);
    let registry = Registry::start().await;
    registry.add("private", &TestImage::new(vec![good.clone()]));
    // Another config, so that it is another image.
    let own = TestLayer::chunked(&files(500, 1), usize::MAX);
    registry.add("public", &TestImage::new(vec![good.clone(), own]));
    registry.play(Kind::Toc, &[Answer::Status(403)], Way::ThenRight);
    registry.play(Kind::Whole, &[Answer::Status(403)], Way::ThenRight);
    let node = patient();
    let (first, second) = (registry.reference("private"), registry.reference("public"));
    let (first, second) = tokio::join!(node.pull(&first), node.pull(&second));
    let reports = second.map_err(|error| error.to_string());
    // Whichever began the transfer, at most that one was refused.
    assert!(first.is_ok() || reports.is_ok(), "{reports:?}");
    if let Ok(reports) = reports {
        assert_eq!(Node::difference(&reports[0], &good), None);
    }
}

/// One image's deadline and waiters are not another's, where they share a transfer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deadlines_are_counted_for_each_image() {
    let good = TestLayer::chunked(&files(0, 50), usize::MAX);
    let registry = Registry::start().await;
    registry.add("one", &TestImage::new(vec![good.clone()]));
    registry.add("two", &TestImage::new(vec![good.clone(), TestLayer::chunked(&files(9, 1), usize::MAX)]));
    registry.play(Kind::Toc, &[Answer::StallAfter(10)], Way::ThenRight);
    let options = NodeOptions {
        stall: Duration::from_secs(20),
        deadline: Some(Duration::from_secs(15)),
        ..NodeOptions::default()
    };
    let node = Arc::new(Node::new(&options));
    let started = Instant::now();
    let first = begin(&node, registry.reference("one")).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    // It joins the transfer that the first began, which goes on after 20 seconds, and has its own time until second 27.
    let second = begin(&node, registry.reference("two")).await;
    let error = first.await.unwrap().unwrap_err();
    assert!(error.contains("pull.deadline"), "{error}");
    let outcome = second.await.unwrap();
    assert_eq!(outcome, Ok(()), "its own time was not over");
    let took = started.elapsed();
    assert!(
        took > Duration::from_secs(18),
        "the transfer ended with the first image, after {took:?}, and began anew"
    );
}

/// Who gives up waiting ends his image's jobs, and nobody else's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandonment_is_counted_for_each_image() {
    let registry = Registry::start().await;
    registry.add("one", &TestImage::new(vec![TestLayer::chunked(&files(0, 50), usize::MAX)]));
    registry.add("two", &TestImage::new(vec![TestLayer::chunked(&files(99, 50), usize::MAX)]));
    play(&registry, &Answer::StallAfter(10));
    let options =
        NodeOptions { stall: PATIENCE, keep_running: Duration::from_millis(300), ..NodeOptions::default() };
    let node = Arc::new(Node::new(&options));
    let first = begin(&node, registry.reference("one")).await;
    let second = begin(&node, registry.reference("two")).await;
    while node.engine.running().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    first.abort();
    let started = Instant::now();
    while node.engine.running().len() == 2 {
        assert!(started.elapsed() < SOON, "the job nobody waits for goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(node.engine.running().len(), 1, "the other is still waited for");
    second.abort();
}

/// The same blob of the same registry still comes once, whatever the repository.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_agrees_is_shared() {
    let shared = TestLayer::chunked(&files(0, 50), usize::MAX);
    let registry = Registry::start().await;
    for n in 0..3 {
        let own = TestLayer::chunked(&files(1000 + 100 * n, 2), usize::MAX);
        registry.add(&format!("app{n}"), &TestImage::new(vec![shared.clone(), own]));
    }
    let node = patient();
    let references: Vec<_> = (0..3).map(|n| registry.reference(&format!("app{n}"))).collect();
    let pulls = references.iter().map(|reference| node.pull(reference));
    for reports in futures_util::future::join_all(pulls).await {
        let reports = reports.unwrap();
        assert_eq!(Node::difference(&reports[0], &shared), None);
        assert!(matches!(reports[0].mode, Mode::Chunked | Mode::Present));
    }
    let digest = shared.digest.to_string();
    let served = registry.served();
    let bytes: u64 = served.0.iter().filter(|call| call.name == digest).map(|call| call.bytes).sum();
    assert!(bytes <= shared.blob.len() as u64, "{bytes} of {}", shared.blob.len());
}

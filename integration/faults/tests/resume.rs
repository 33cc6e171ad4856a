//! What one try fetched, the next does not fetch again; what ten pulls share, comes once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;

use chunked_faults::{Answer, Kind, Node, NodeOptions, Registry, TestImage, TestLayer, Way, noise};

/// Requests that go well before nothing does.
const GOOD: usize = 20;

fn files(count: u64, len: usize) -> BTreeMap<String, Vec<u8>> {
    (0..count).map(|n| (format!("f{n:03}"), noise(n, len))).collect()
}

fn parts(root: &std::path::Path) -> usize {
    std::fs::read_dir(root.join("partial")).unwrap().count()
}

/// Ranges work `count` times, then nothing does.
fn break_after(registry: &Registry, count: usize) {
    let mut answers = vec![Answer::Right; count];
    answers.push(Answer::Status(403));
    registry.play(Kind::Range, &answers, Way::ForEver);
    registry.play(Kind::Whole, &[Answer::Status(403)], Way::ForEver);
}

fn mend(registry: &Registry) {
    registry.play(Kind::Range, &[], Way::ThenRight);
    registry.play(Kind::Whole, &[], Way::ThenRight);
}

async fn goes_on(files: BTreeMap<String, Vec<u8>>, chunk: usize, restart: bool) {
    let image = TestImage::new(vec![TestLayer::chunked(&files, chunk)]);
    let layer = &image.layers[0];
    let registry = Registry::start().await;
    registry.add("app", &image);
    let options = NodeOptions::default();
    // Requests grow with the measured network: on a quick machine a pull may now and then need no more than work.
    let (node, error) = 'failed: {
        for _ in 0..20 {
            let node = Node::new(&options);
            registry.reset();
            break_after(&registry, GOOD);
            if let Err(error) = node.pull(&registry.reference("app")).await {
                break 'failed (node, error);
            }
        }
        panic!("no pull failed");
    };
    assert!(error.to_string().contains("access denied"), "{error}");
    let first = registry.served().layer_bytes();
    let all = layer.blob.len() as u64;
    assert!(first > 4 << 20 && first < all, "{first} of {all}");
    assert_eq!((node.staging(), parts(&node.root())), (0, 1));
    let node = if restart { node.restarted(&options) } else { node };
    mend(&registry);
    registry.reset();
    let reports = node.pull(&registry.reference("app")).await.unwrap();
    assert_eq!(Node::difference(&reports[0], layer), None);
    let second = registry.served().layer_bytes();
    // Lost is only what the requests that were running had brought of a piece, or of one behind a gap.
    assert!(first + second < all + all / 4, "{first} and {second} of {all} bytes served");
    // Nothing is left of the first try, and what the second took over from it is its own.
    assert_eq!((node.staging(), parts(&node.root())), (0, 0));
    let stored = &node.engine.store().layers().unwrap()[0];
    assert_eq!(stored.own, stored.usage);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_try_after_a_restart_fetches_the_rest() {
    goes_on(files(300, 40_000), usize::MAX, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_at_once_in_the_same_process() {
    goes_on(files(300, 40_000), usize::MAX, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_one_in_the_middle_of_a_long_file() {
    goes_on(files(1, 12_000_000), 64 << 10, true).await;
}

/// What repeats something that never came is not waited for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn and_one_with_repeats() {
    let mut files = files(150, 40_000);
    files.extend((0..150).map(|n| (format!("g{n:03}"), noise(149 - n, 40_000))));
    let half = noise(1_000, 6_000_000);
    files.insert("e".into(), half[..3_000_000].to_vec());
    files.insert("long".into(), [&half[..], &half[..]].concat());
    goes_on(files, 64 << 10, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_in_it_is_fetched() {
    let image = TestImage::new(vec![TestLayer::chunked(&files(300, 40_000), usize::MAX)]);
    let registry = Registry::start().await;
    registry.add("app", &image);
    let node = Node::new(&NodeOptions::default());
    break_after(&registry, 20);
    node.pull(&registry.reference("app")).await.unwrap_err();
    mend(&registry);
    // As a power cut or an intruder leaves it: the length is right.
    let tree =
        std::fs::read_dir(node.root().join("partial")).unwrap().next().unwrap().unwrap().path().join("fs");
    for n in [0, 5, 17] {
        std::fs::write(tree.join(format!("f{n:03}")), vec![0; 40_000]).unwrap();
    }
    std::fs::remove_file(tree.join("f003")).unwrap();
    std::os::unix::fs::symlink("f004", tree.join("f003")).unwrap();
    let reports = node.pull(&registry.reference("app")).await.unwrap();
    assert_eq!(Node::difference(&reports[0], &image.layers[0]), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_proof_leaves_nothing() {
    let mut layer = TestLayer::chunked(&files(50, 40_000), usize::MAX);
    layer.diff_id = chunked_core::Digest::of(b"another layer");
    let image = TestImage::new(vec![layer]);
    let registry = Registry::start().await;
    registry.add("app", &image);
    let node = Node::new(&NodeOptions::default());
    let error = node.pull(&registry.reference("app")).await.unwrap_err();
    assert!(error.to_string().contains("DiffID check failed"), "{error}");
    assert_eq!((node.staging(), parts(&node.root())), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_pulls_at_once_share_every_byte() {
    let shared = TestLayer::chunked(&files(60, 40_000), usize::MAX);
    let registry = Registry::start().await;
    let mut unique = 0;
    for n in 0..10_u64 {
        let own = (0..5).map(|m| (format!("own{m}"), noise(10_000 + 10 * n + m, 20_000))).collect();
        let own = TestLayer::chunked(&own, usize::MAX);
        unique += own.blob.len() as u64;
        registry.add(&format!("app{n}"), &TestImage::new(vec![shared.clone(), own]));
    }
    let node = Node::new(&NodeOptions::default());
    let references: Vec<_> = (0..10).map(|n| registry.reference(&format!("app{n}"))).collect();
    let pulls = references.iter().map(|reference| node.pull(reference));
    for reports in futures_util::future::join_all(pulls).await {
        assert_eq!(Node::difference(&reports.unwrap()[0], &shared), None);
    }
    let served = registry.served();
    let digest = shared.digest.to_string();
    let bytes: u64 = served.0.iter().filter(|call| call.name == digest).map(|call| call.bytes).sum();
    assert!(bytes <= shared.blob.len() as u64, "{bytes} of {}", shared.blob.len());
    assert!(served.layer_bytes() <= shared.blob.len() as u64 + unique);
}

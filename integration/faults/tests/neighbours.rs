//! Bad registries beside a good one: its pull is as fast as alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chunked_faults::{Answer, Kind, Node, NodeOptions, Registry, TestImage, TestLayer, Way, noise};

const LAYERS: u64 = 6;

fn image(seed: u64, chunked: bool) -> TestImage {
    let layer = |layer: u64| {
        let file = |n: u64| (format!("f{layer}-{n:02}"), noise(seed + 100 * layer + n, 40_000));
        let files: BTreeMap<_, _> = (0..20).map(file).collect();
        if chunked { TestLayer::chunked(&files, usize::MAX) } else { TestLayer::plain(&files) }
    };
    TestImage::new((0..LAYERS).map(layer).collect())
}

async fn bad(answer: &Answer, seed: u64) -> Registry {
    let registry = Registry::start().await;
    registry.add("app", &image(seed, true));
    for kind in [Kind::Toc, Kind::Range, Kind::Ranges, Kind::Whole] {
        registry.play(kind, std::slice::from_ref(answer), Way::ForEver);
    }
    registry
}

/// The good registry waits four seconds before it answers for each layer, so that the time is made of waiting, and nothing
/// else: six layers at a time take one such wait, fewer would take several.
async fn pulled(node: &Node, chunked: bool, seed: u64) -> Duration {
    let registry = Registry::start().await;
    let image = image(seed, chunked);
    registry.add("app", &image);
    let kind = if chunked { Kind::Toc } else { Kind::Whole };
    registry.play(kind, &[Answer::Late(Duration::from_secs(4))], Way::ForEver);
    let started = Instant::now();
    let reports = node.pull(&registry.reference("app")).await.unwrap();
    let took = started.elapsed();
    for (report, layer) in reports.iter().zip(&image.layers) {
        assert_eq!(Node::difference(report, layer), None);
    }
    took
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_bad_registries_leave_the_good_one_its_speed() {
    let options = NodeOptions { stall: Duration::from_secs(60), ..NodeOptions::default() };
    for chunked in [true, false] {
        let alone = pulled(&Node::new(&options), chunked, 1_000_000).await;
        let node = Arc::new(Node::new(&options));
        let mut registries = Vec::new();
        let mut pulls = Vec::new();
        for (n, answer) in [Answer::StallAfter(10), Answer::Garbage, Answer::Trickle].iter().enumerate() {
            let registry = bad(answer, 10_000 * (n as u64 + 1)).await;
            let (node, reference) = (Arc::clone(&node), registry.reference("app"));
            pulls.push(tokio::spawn(async move { node.pull(&reference).await.map(drop) }));
            registries.push(registry);
        }
        let started = Instant::now();
        while node.engine.running().len() < 2 * usize::try_from(LAYERS).unwrap() {
            assert!(started.elapsed() < Duration::from_secs(60), "they have begun");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let beside = pulled(&node, chunked, 1_000_000).await;
        println!("chunked: {chunked}: alone {alone:.2?}, beside three bad registries {beside:.2?}");
        assert!(
            beside <= alone.mul_f64(1.2) + Duration::from_secs(1),
            "{alone:?} alone, {beside:?} beside them"
        );
        pulls.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// A registry that sends a byte a second stalls as one does that sends nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_a_second_is_a_stall() {
    let registry = bad(&Answer::Trickle, 7).await;
    let mut options = NodeOptions { stall: Duration::from_secs(2), ..NodeOptions::default() };
    options.fetch.retry.attempts = 1;
    let node = Node::new(&options);
    let pull = tokio::time::timeout(Duration::from_secs(60), node.pull(&registry.reference("app"))).await;
    let error = pull.expect("it ends").unwrap_err().to_string();
    assert!(error.contains("pull.minimum_rate"), "{error}");
}

//! What other calls feel while layers of many files fail: the runtime's threads never wait for a disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chunked_faults::{Node, NodeOptions, Registry, TestImage, TestLayer};

/// Files of each layer.
const FILES: u32 = 30_000;
/// Layers, all with a DiffID that is not theirs.
const LAYERS: u8 = 4;
/// Time between two calls.
const PAUSE: Duration = Duration::from_millis(2);
/// Longest that a call may take, longer than what a thread waits for a processor anyway. A runtime that deletes trees on its
/// own threads takes a second and more.
const SLOWEST: Duration = Duration::from_millis(400);

fn layer(number: u8) -> TestLayer {
    let file = |n: u32| (format!("d{}/f{number}-{n:05}", n % 50), vec![number; 20]);
    let layer = TestLayer::plain(&(0..FILES).map(file).collect::<BTreeMap<_, _>>());
    TestLayer { diff_id: chunked_core::Digest::of(&[number]), ..layer }
}

/// As Stat is served: a task of the runtime, and a look into the store on a blocking thread.
async fn look(node: &Node) -> Duration {
    let store = Arc::clone(node.engine.store());
    let started = Instant::now();
    let looked = tokio::spawn(async move {
        tokio::task::spawn_blocking(move || store.snapshot("none").is_err()).await.unwrap()
    });
    assert!(looked.await.unwrap());
    started.elapsed()
}

/// How late the slowest of many short pauses of a thread outside the runtime ended: how busy the machine is.
fn lateness(done: &AtomicBool) -> Duration {
    let mut slowest = Duration::ZERO;
    while !done.load(Ordering::Relaxed) {
        let started = Instant::now();
        std::thread::sleep(PAUSE);
        slowest = slowest.max(started.elapsed().saturating_sub(PAUSE));
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_answered_while_large_layers_fail() {
    let registry = Registry::start().await;
    registry.add("app", &TestImage::new((0..LAYERS).map(layer).collect()));
    let node = Arc::new(Node::new(&NodeOptions::default()));
    let done = Arc::new(AtomicBool::new(false));
    let looking = tokio::spawn({
        let (node, done) = (Arc::clone(&node), Arc::clone(&done));
        async move {
            let mut times = Vec::new();
            while !done.load(Ordering::Relaxed) {
                tokio::time::sleep(PAUSE).await;
                times.push(look(&node).await);
            }
            times
        }
    });
    let busy = std::thread::spawn({
        let done = Arc::clone(&done);
        move || lateness(&done)
    });
    assert!(node.pull(&registry.reference("app")).await.is_err());
    while !node.engine.running().is_empty() {
        tokio::time::sleep(PAUSE).await;
    }
    done.store(true, Ordering::Relaxed);
    let mut times = looking.await.unwrap();
    times.sort_unstable();
    let (p99, slowest) = (times[times.len() * 99 / 100], times[times.len() - 1]);
    let busy = busy.join().unwrap();
    println!("{} calls: p99 {p99:?}, slowest {slowest:?}; a thread waited {busy:?}", times.len());
    // A call changes threads four times, each of which may wait for a processor as long as any.
    assert!(slowest < SLOWEST + 4 * busy, "a call took {slowest:?}, and a thread alone waited {busy:?}");
}

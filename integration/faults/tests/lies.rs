//! A TOC that names wrong digests: its layer is what its DiffID says, so that it is pulled, and nobody else pays for the
//! lie more than once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};

use chunked_faults::{Answer, Kind, Lies, Node, NodeOptions, Registry, TestImage, TestLayer, Way, noise};
use chunked_store::{Problem, Verified, VerifyOptions, Watch};

type Files = BTreeMap<String, Vec<u8>>;

const CHUNK: usize = 64 << 10;
const LEN: usize = 300_000;
/// Bad donors that a pull makes good one by one.
const MADE_GOOD: u64 = 64;

fn files(names: &str, seeds: std::ops::Range<u64>) -> Files {
    seeds.map(|seed| (format!("{names}{seed:03}"), noise(seed, LEN))).collect()
}

struct Counted(Vec<String>);

impl Watch for Counted {
    fn progress(&mut self, _: &Verified) -> bool {
        true
    }

    fn problem(&mut self, problem: &Problem) -> bool {
        self.0.push(problem.text.clone());
        true
    }
}

fn problems(node: &Node, repair: bool) -> Vec<String> {
    let mut counted = Counted(Vec::new());
    node.engine.store().verify(VerifyOptions { contents: true, repair }, &mut counted).unwrap();
    counted.0
}

/// Pulls an image of this layer, and gives the bytes that were served for it, as a part of the layer's blob.
async fn pull(node: &Node, registry: &Registry, name: &str, layer: TestLayer) -> f64 {
    pull_and_look(node, registry, name, layer).await.0
}

/// The same, and whether the layer took a second attempt, which takes from the first one's tree what is right.
async fn pull_and_look(node: &Node, registry: &Registry, name: &str, layer: TestLayer) -> (f64, bool) {
    let image = TestImage::new(vec![layer]);
    registry.add(name, &image);
    registry.reset();
    let reports = node.pull(&registry.reference(name)).await.unwrap();
    assert_eq!(Node::difference(&reports[0], &image.layers[0]), None, "{name}");
    let served = registry.served().layer_bytes() as f64 / image.layers[0].blob.len() as f64;
    (served, reports[0].reused.leftover > 0)
}

/// A layer with these files, of which each is said to be one of `claimed`.
fn liar(files: &Files, claimed: &Files) -> TestLayer {
    let whole = files.keys().cloned().zip(claimed.values().cloned()).collect();
    TestLayer::lying(files, CHUNK, &Lies { whole, ..Lies::default() })
}

async fn whole_files(count: u64) {
    let (registry, node) = (Registry::start().await, Node::new(&NodeOptions::default()));
    let wanted = files("lib", 0..count);
    pull(&node, &registry, "liar", liar(&files("f", 1000..1000 + count), &wanted)).await;
    assert_eq!(problems(&node, false), [""; 0], "the layer is what its DiffID says");
    let own = files("own", 2000..2010);
    let victim: Files = wanted.clone().into_iter().chain(own).collect();
    let (first, anew) = pull_and_look(&node, &registry, "victim", TestLayer::chunked(&victim, CHUNK)).await;
    assert_eq!(
        anew,
        count > MADE_GOOD,
        "{count} lies were found as they served, up to the number that is made good so"
    );
    // The requests in the air when it is planned anew are asked for again.
    assert!(first < 1.4, "{first} of the blob was served for {count} lies");
    let renamed: Files = wanted.iter().map(|(name, content)| (format!("x{name}"), content.clone())).collect();
    let second = pull(&node, &registry, "second", TestLayer::chunked(&renamed, CHUNK)).await;
    assert!(second < 0.1, "{second} of the blob was served although the node has all of it");
    assert_eq!(problems(&node, true), [""; 0]);
    node.engine.store().complete_index().unwrap();
    let renamed: Files = wanted.iter().map(|(name, content)| (format!("y{name}"), content.clone())).collect();
    let third = pull(&node, &registry, "third", TestLayer::chunked(&renamed, CHUNK)).await;
    assert!(third < 0.1, "{third} of the blob was served although the node has all of it");
    // What the liar really has is known, too.
    let really: Files = files("f", 1000..1000 + count);
    let renamed: Files = really.iter().map(|(name, content)| (format!("z{name}"), content.clone())).collect();
    let fourth = pull(&node, &registry, "fourth", TestLayer::chunked(&renamed, CHUNK)).await;
    assert!(fourth < 0.1, "{fourth} of the blob was served although the node has all of it");
    assert_eq!(problems(&node, false), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_file_under_a_wrong_name() {
    whole_files(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_as_a_pull_makes_good_one_by_one() {
    whole_files(40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_that() {
    whole_files(100).await;
}

/// Layers that were pulled before the liar stay the donors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proven_donor_comes_before_a_liar() {
    let (registry, node) = (Registry::start().await, Node::new(&NodeOptions::default()));
    let wanted = files("lib", 0..20);
    pull(&node, &registry, "liar", liar(&files("f", 1000..1020), &wanted)).await;
    pull(&node, &registry, "plain", TestLayer::plain(&wanted)).await;
    let renamed: Files = wanted.iter().map(|(name, content)| (format!("x{name}"), content.clone())).collect();
    let served = pull(&node, &registry, "victim", TestLayer::chunked(&renamed, CHUNK)).await;
    assert!(served < 0.1, "{served} of the blob was served although a proven layer has all of it");
}

/// A file that the node has under its right digest comes with wrong digests for its chunks, which nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_a_file_that_came_from_elsewhere() {
    let (registry, node) = (Registry::start().await, Node::new(&NodeOptions::default()));
    let known = files("f", 0..20);
    pull(&node, &registry, "known", TestLayer::plain(&known)).await;
    let wanted = files("lib", 100..120);
    let first_chunk =
        known.keys().cloned().zip(wanted.values().map(|content| content[..CHUNK].to_vec())).collect();
    let lies = Lies { first_chunk, ..Lies::default() };
    let evil = TestLayer::lying(&known, CHUNK, &lies);
    // A plain layer of the same tar has the same DiffID: another file makes it another layer.
    let mut with = evil.files.clone();
    with.insert("evil".to_owned(), b"x".to_vec());
    let evil = TestLayer::lying(&with, CHUNK, &lies);
    pull(&node, &registry, "evil", evil).await;
    assert_eq!(problems(&node, false), [""; 0]);
    // Their first chunks are wanted, in files of which the rest is new.
    for (name, from) in [("victim", 300), ("second", 400)] {
        let victim: Files = wanted
            .values()
            .zip(from..)
            .map(|(content, seed)| (format!("v{seed}"), [&content[..CHUNK], &noise(seed, LEN)].concat()))
            .collect();
        let served = pull(&node, &registry, name, TestLayer::chunked(&victim, CHUNK)).await;
        assert!(served < 1.1, "{served} of the blob was served to {name}");
    }
    node.engine.store().complete_index().unwrap();
    assert_eq!(problems(&node, false), [""; 0]);
}

/// While the liar is pulled, others wait for what it says that it fetches.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_liar_in_flight() {
    let (registry, node) = (Registry::start().await, Node::new(&NodeOptions::default()));
    let wanted = files("lib", 0..30);
    let evil = TestImage::new(vec![liar(&files("f", 1000..1030), &wanted)]);
    let victim = TestImage::new(vec![TestLayer::chunked(&wanted, CHUNK)]);
    registry.add("evil", &evil);
    registry.add("victim", &victim);
    let (evil_name, victim_name) = (registry.reference("evil"), registry.reference("victim"));
    let (one, other) = tokio::join!(node.pull(&evil_name), node.pull(&victim_name));
    assert_eq!(Node::difference(&other.unwrap()[0], &victim.layers[0]), None);
    // If the victim was first, the liar was given what it says that it has, and fails by its own DiffID.
    if let Ok(one) = one {
        assert_eq!(Node::difference(&one[0], &evil.layers[0]), None);
        let all = evil.layers[0].blob.len() + victim.layers[0].blob.len();
        let served = registry.served().layer_bytes() as f64 / all as f64;
        assert!(served < 1.2, "{served} of both blobs was served");
    }
    assert_eq!(problems(&node, false), [""; 0]);
}

/// A layer of ten files, of which the tar lacks one.
fn haunted(chunk: usize, ghost: &str) -> TestLayer {
    let files = files("f", 0..10);
    assert!(files.contains_key(ghost));
    let ghosts = BTreeSet::from([ghost.to_owned()]);
    TestLayer::lying(&files, chunk, &Lies { ghosts, ..Lies::default() })
}

/// The layer is refused because of the ghost, and nothing of this try is left.
async fn refused(node: &Node, registry: &Registry, name: &str, ghost: &str) {
    let error = node.pull(&registry.reference(name)).await.unwrap_err().to_string();
    assert!(error.contains("TOC check failed") && error.contains(ghost), "{name}: {error}");
    let parts = std::fs::read_dir(node.root().join("partial")).unwrap().count();
    assert_eq!((node.staging(), parts), (0, 0), "{name}: what is left of it, and of earlier tries");
}

/// The first, one in the middle, and the last: of the blob's bytes the last one is not asked for by anybody else.
const GHOSTS: [&str; 3] = ["f000", "f005", "f009"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_tar_lacks_fails_a_first_pull() {
    for chunk in [CHUNK, usize::MAX] {
        for ghost in GHOSTS {
            let (registry, node) = (Registry::start().await, Node::new(&NodeOptions::default()));
            registry.add("haunted", &TestImage::new(vec![haunted(chunk, ghost)]));
            refused(&node, &registry, "haunted", ghost).await;
            // Nor where the node has all that the TOC lists, so that nothing is fetched.
            let (node, all) = (Node::new(&NodeOptions::default()), files("other", 0..10));
            pull(&node, &registry, "all", TestLayer::plain(&all)).await;
            refused(&node, &registry, "haunted", ghost).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_tar_lacks_fails_a_pull_that_goes_on_too() {
    for chunk in [CHUNK, usize::MAX] {
        for ghost in GHOSTS {
            // One request after the other: then it is known what had come when one was refused.
            let mut options = NodeOptions::default();
            (options.fetch.connections, options.fetch.small_requests) = (1, 1);
            let (registry, node) = (Registry::start().await, Node::new(&options));
            let layer = haunted(chunk, ghost);
            registry.add("haunted", &TestImage::new(vec![layer.clone()]));
            let refuses = [Answer::Right, Answer::Right, Answer::Right, Answer::Status(403)];
            registry.play(Kind::Range, &refuses, Way::ForEver);
            registry.play(Kind::Whole, &[Answer::Status(403)], Way::ForEver);
            let error = node.pull(&registry.reference("haunted")).await.unwrap_err().to_string();
            assert!(error.contains("access denied"), "{error}");
            let mut left = std::fs::read_dir(node.root().join("partial")).unwrap();
            let file = left.next().unwrap().unwrap().path().join("fs/f001");
            assert_eq!(std::fs::read(file).unwrap(), layer.files["f001"], "there is something to go on from");
            registry.reset();
            registry.play(Kind::Range, &[], Way::ThenRight);
            registry.play(Kind::Whole, &[], Way::ThenRight);
            refused(&node, &registry, "haunted", ghost).await;
            let (served, all) = (registry.served().layer_bytes(), layer.blob.len() as u64);
            assert!(served < all - 250_000, "it went on: {served} of {all} bytes served");
        }
    }
}

/// Pieces that are not what the TOC says, in a layer that is what its DiffID says: nobody hashes them when they come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_under_wrong_digests() {
    let (registry, node) = (Registry::start().await, Node::new(&NodeOptions::default()));
    let (known, wanted) = (files("f", 0..20), files("lib", 100..120));
    let lie = |content: &Vec<u8>| content[..CHUNK].to_vec();
    let first_chunk = known.keys().cloned().zip(wanted.values().map(lie)).collect();
    let liar = TestLayer::lying(&known, CHUNK, &Lies { first_chunk, ..Lies::default() });
    pull(&node, &registry, "liar", liar).await;
    assert_eq!(problems(&node, false), [""; 0], "the layer is what its DiffID says");
    for indexed in [false, true] {
        if indexed {
            node.engine.store().complete_index().unwrap();
        }
        let seeds = if indexed { 400.. } else { 300.. };
        let victim: Files = wanted
            .values()
            .zip(seeds)
            .map(|(content, seed)| (format!("v{seed}"), [&content[..CHUNK], &noise(seed, LEN)].concat()))
            .collect();
        let name = format!("victim{indexed}").to_lowercase();
        let served = pull(&node, &registry, &name, TestLayer::chunked(&victim, CHUNK)).await;
        assert!(served < 1.2, "{served} of the blob was served to {name}");
    }
    // What the liar really has serves, however it called its pieces.
    let renamed: Files = known.iter().map(|(old, content)| (format!("x{old}"), content.clone())).collect();
    let served = pull(&node, &registry, "renamed", TestLayer::chunked(&renamed, CHUNK)).await;
    assert!(served < 0.1, "{served} of the blob was served although the node has all of it");
    assert_eq!(problems(&node, false), [""; 0]);
}

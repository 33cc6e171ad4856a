//! Every wrong answer on every kind of request: what the pull ends in, and what it may cost.
//!
//! `FAULTS=words cargo test --release -p chunked-faults --test table` plays only rows whose names have one of the
//! words. The rows and what the columns mean are in `rows/mod.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod rows;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chunked_faults::{
    Answer, Kind, Multipart, Node, NodeOptions, Registry, Served, TestImage, TestLayer, Way, noise,
};
use chunked_fetch::FetchOptions;
use futures_util::StreamExt;
use rows::{Cost, End, Image, RIGHT, Row};

/// Rows played at the same time: most of them only wait.
const AT_ONCE: usize = 8;
/// Longest silence of a registry. It passes a dozen times where nothing ever comes; and what is right must not take it.
const STALL: Duration = Duration::from_millis(2500);
/// The longest a row may take, whatever is played.
const LIMIT: Duration = Duration::from_secs(120);

/// Files of a layer, every other one different from version to version.
fn files(version: u64) -> BTreeMap<String, Vec<u8>> {
    let file = |n: u64| {
        let seed = if n.is_multiple_of(2) { n + 1000 * version } else { n };
        (format!("f{n:02}"), noise(seed, 40_000))
    };
    (0..24).map(file).collect()
}

struct Images {
    old: TestImage,
    new: TestImage,
    plain: TestImage,
}

fn images() -> Images {
    Images {
        old: TestImage::new(vec![TestLayer::chunked(&files(1), usize::MAX)]),
        new: TestImage::new(vec![TestLayer::chunked(&files(2), usize::MAX)]),
        plain: TestImage::new(vec![TestLayer::plain(&files(2))]),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_answer_has_its_end() {
    let words: Vec<String> =
        std::env::var("FAULTS").unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let rows: Vec<Row> = rows::all()
        .into_iter()
        .filter(|row| words.is_empty() || words.iter().any(|word| row.name.contains(word.as_str())))
        .collect();
    assert!(!rows.is_empty() && (rows.len() >= 60 || !words.is_empty()), "{} rows", rows.len());
    let images = images();
    let count = rows.len();
    let played = futures_util::stream::iter(rows).map(|row| play(row, &images)).buffer_unordered(AT_ONCE);
    let failures: Vec<String> = played.filter_map(async |failure| failure).collect().await;
    assert!(failures.is_empty(), "{} of {count} rows:\n{}", failures.len(), failures.join("\n"));
}

/// Plays a row; gives what was not as the row says.
async fn play(row: Row, images: &Images) -> Option<String> {
    let registry = if row.locked { Registry::locked().await } else { Registry::start().await };
    registry.add("old", &images.old);
    let image = if row.image == Image::Plain { &images.plain } else { &images.new };
    registry.add("new", image);
    let mut options = NodeOptions { stall: STALL, ..NodeOptions::default() };
    options.fetch.ranges_per_request = if row.several { 64 } else { 1 };
    let node = Node::new(&options);
    let (before, after): (Vec<_>, Vec<_>) = row.plays.iter().partition(|(kind, ..)| *kind == Kind::Probe);
    for (kind, answers, way) in before {
        registry.play(*kind, answers, *way);
    }
    if row.image == Image::Update {
        node.pull(&registry.reference("old")).await.map_err(|error| error.to_string()).unwrap();
    }
    if row.several {
        probed(&node, &registry, image, &row).await;
    }
    registry.reset();
    for (kind, answers, way) in after {
        registry.play(*kind, answers, *way);
    }
    let started = Instant::now();
    let result = tokio::time::timeout(LIMIT, node.pull(&registry.reference("new"))).await;
    let took = started.elapsed();
    let served = registry.served();
    let layer = &image.layers[0];
    let needed = match row.image {
        Image::Update => layer.missing(&images.old.layers[0]),
        Image::First | Image::Plain => layer.blob.len() as u64,
    };
    let limit = limit(row.cost, needed, layer, &options.fetch);
    let bytes = served.layer_bytes();
    let wrong = match (&result, &row.end) {
        (Err(_), _) => Some("it hangs".to_owned()),
        (Ok(Ok(reports)), End::Tree) => Node::difference(&reports[0], layer),
        (Ok(Ok(_)), End::Error(_)) => Some("it succeeded".to_owned()),
        (Ok(Err(error)), End::Tree) => Some(format!("it failed: {error}")),
        (Ok(Err(error)), End::Error(words)) => {
            let error = error.to_string();
            let missing = words.iter().find(|word| !error.contains(**word));
            missing.map(|word| format!("its error lacks {word:?}: {error}"))
        }
    };
    let wrong = wrong.or_else(|| (bytes > limit).then(|| format!("{bytes} bytes served, {limit} allowed")));
    let wrong = wrong.or_else(|| leaks(&result, &served));
    let wrong = wrong
        .or_else(|| (row.several && several(&row, &served)).then(|| "several ranges at once".to_owned()));
    println!("{:60} {:>8} of {:>8} bytes {:>5} ms", row.name, bytes, limit, took.as_millis());
    wrong.map(|wrong| format!("{}: {wrong}\n    {}", row.name, shown(&served)))
}

/// Waits until the node knows what the probe showed, which runs beside the pull. An answer that breaks off shows nothing.
async fn probed(node: &Node, registry: &Registry, image: &TestImage, row: &Row) {
    let breaks_off =
        |answer: &Answer| matches!(answer, Answer::Reset | Answer::Multi(Multipart::WrongBoundary));
    let lost = row.plays.iter().any(|(kind, answers, _)| *kind == Kind::Probe && breaks_off(&answers[0]));
    let asked = || registry.served().of(&[Kind::Probe]).any(|call| call.status != 0);
    let reference = registry.reference("new");
    let started = Instant::now();
    while !(if lost { asked() } else { node.several(&reference, image).is_some() }) {
        assert!(started.elapsed() < LIMIT, "{}: the probe has no end", row.name);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// True when several ranges were asked for although the probe failed, or not although it did not.
fn several(row: &Row, served: &Served) -> bool {
    let probe_failed = row.plays.iter().any(|(kind, ..)| *kind == Kind::Probe);
    served.of(&[Kind::Ranges]).next().is_some() == probe_failed
}

fn limit(cost: Cost, needed: u64, layer: &TestLayer, fetch: &FetchOptions) -> u64 {
    let blob = layer.blob.len() as u64;
    // Small requests: one more than there are connections for every four that went well.
    let out = fetch.small_requests.min(fetch.connections + RIGHT / 4) as u64;
    match cost {
        Cost::Needed => needed + needed * 15 / 100,
        Cost::Blob => blob + layer.metadata.len(),
        Cost::Both => needed + blob,
        Cost::Twice => 2 * needed,
        Cost::TwiceAndBlob => 2 * needed + blob,
        Cost::Burst => needed + out * blob,
        Cost::Nothing => 0,
    }
}

/// The second host must never see a token, and nobody a signature.
fn leaks<T, E: std::fmt::Display + std::fmt::Debug>(
    result: &Result<Result<T, E>, tokio::time::error::Elapsed>,
    served: &Served,
) -> Option<String> {
    if served.of(&[Kind::Stored]).any(|call| call.authorized) {
        return Some("the second host saw an Authorization header".to_owned());
    }
    let error = result.as_ref().ok()?.as_ref().err()?;
    format!("{error} {error:?}").contains("SECRET").then(|| format!("a signature in an error: {error}"))
}

fn shown(served: &Served) -> String {
    let calls = served.0.iter().map(|call| {
        let ranges: Vec<String> = call.ranges.iter().map(ToString::to_string).collect();
        format!("{:?} [{}] {} {}", call.kind, ranges.join(","), call.status, call.bytes)
    });
    calls.collect::<Vec<_>>().join("\n    ")
}

/// What a row says, in short.
fn row(name: &str, image: Image, plays: &[(Kind, &[Answer], Way)], end: End, cost: Cost) -> Row {
    let plays = plays.iter().map(|(kind, answers, way)| (*kind, answers.to_vec(), *way)).collect();
    Row { name: name.to_owned(), image, plays, end, cost, locked: false, several: false }
}

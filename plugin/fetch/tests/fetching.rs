//! Every wanted byte once, in order, whatever the registry does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests; clippy knows only functions marked as such")]

#[path = "../../registry/tests/support/registry.rs"]
mod registry;

use std::time::Duration;

use bytes::Bytes;
use chunked_core::ByteRange;
use chunked_fetch::{
    FetchError, FetchOptions, First, Retry, Segment, Segments, fetch, fetch_all, fetch_first,
};
use chunked_registry::{Blob, Client, ErrorKind};
use proptest::prelude::*;
use registry::{Quirk, Registry, client};

const SIZE: u64 = 3_000_000;

fn content() -> Bytes {
    (0..SIZE).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 13).to_le_bytes()[0]).collect::<Vec<u8>>().into()
}

async fn start() -> (Registry, Client, Blob) {
    let registry = Registry::start().await;
    let client = client();
    let digest = registry.blob(content());
    let blob = client.blob(&registry.reference("team/app"), digest, SIZE);
    (registry, client, blob)
}

fn range(start: u64, end: u64) -> ByteRange {
    ByteRange { start, end }
}

fn small() -> FetchOptions {
    let retry = Retry { pause: Duration::from_millis(20), ..Retry::default() };
    FetchOptions { connections: 4, small_requests: 6, segment: 100_000, retry, ..FetchOptions::default() }
}

fn some_ranges() -> Vec<ByteRange> {
    vec![
        range(10, 20),
        range(20, 21),
        range(50_000, 450_000),
        range(450_000, 460_000),
        range(2_500_000, SIZE),
    ]
}

async fn collect(mut segments: Segments) -> Result<Vec<Segment>, FetchError> {
    let mut all = Vec::new();
    while let Some(segment) = segments.recv().await {
        all.push(segment?);
    }
    Ok(all)
}

/// Exactly the bytes of `ranges`, in order, and right.
fn check(segments: &[Segment], ranges: &[ByteRange]) {
    let content = content();
    let mut got: Vec<ByteRange> = Vec::new();
    for Segment { offset, data } in segments {
        assert!(!data.is_empty());
        let end = offset + data.len() as u64;
        assert_eq!(data, &content[usize::try_from(*offset).unwrap()..usize::try_from(end).unwrap()]);
        push(&mut got, range(*offset, end));
    }
    let mut wanted = Vec::new();
    ranges.iter().filter(|range| !range.is_empty()).for_each(|range| push(&mut wanted, *range));
    assert_eq!(got, wanted);
}

/// Appends `next`, joining it to what it touches; overlaps and steps back stay visible.
fn push(ranges: &mut Vec<ByteRange>, next: ByteRange) {
    match ranges.last_mut() {
        Some(last) if last.end == next.start => last.end = next.end,
        _ => ranges.push(next),
    }
}

fn merged(ranges: Vec<ByteRange>) -> Vec<ByteRange> {
    let mut merged = Vec::new();
    ranges.into_iter().for_each(|range| push(&mut merged, range));
    merged
}

fn total(ranges: &[ByteRange]) -> u64 {
    ranges.iter().map(ByteRange::len).sum()
}

#[tokio::test]
async fn each_byte_is_asked_for_once() {
    let (registry, _client, blob) = start().await;
    check(&collect(fetch(blob, some_ranges(), small())).await.unwrap(), &some_ranges());
    assert_eq!(merged(registry.served()), merged(some_ranges()));
    // 2 small ones, 4 for 400 000, 1 for 10 000, and for 500 000 from 5, smaller ones at the end.
    let requests = registry.blob_requests();
    assert!((12..=20).contains(&requests), "{requests}");
    // A connection comes back to the pool a moment after its body's end, so there may be more than six.
    assert!(registry.connections() <= 8, "{}", registry.connections());
}

#[tokio::test]
async fn nothing_wanted_nothing_asked() {
    let (registry, _client, blob) = start().await;
    assert!(collect(fetch(blob.clone(), Vec::new(), small())).await.unwrap().is_empty());
    assert!(collect(fetch(blob, vec![range(5, 5)], small())).await.unwrap().is_empty());
    assert_eq!(registry.blob_requests(), 0);
}

#[tokio::test]
async fn bad_ranges_are_errors() {
    let (_registry, _client, blob) = start().await;
    for ranges in
        [vec![range(0, SIZE + 1)], vec![range(10, 20), range(0, 5)], vec![range(0, 10), range(9, 12)]]
    {
        let error = collect(fetch(blob.clone(), ranges.clone(), small())).await.unwrap_err();
        assert!(matches!(error, FetchError::Range { .. }), "{ranges:?}: {error}");
    }
}

#[tokio::test]
async fn whole_blobs_come_as_one_stream() {
    let (registry, client, blob) = start().await;
    check(&collect(fetch_all(blob, &small())).await.unwrap(), &[range(0, SIZE)]);
    assert_eq!(registry.blob_requests(), 1);
    let empty = client.blob(&registry.reference("team/app"), registry.blob(Bytes::new()), 0);
    assert!(collect(fetch_all(empty, &small())).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_whole_answer_is_used_once() {
    let (registry, _client, blob) = start().await;
    registry.script(|_, _| Quirk::IgnoreRange);
    check(&collect(fetch(blob.clone(), some_ranges(), small())).await.unwrap(), &some_ranges());
    assert_eq!(registry.blob_requests(), 1);
    assert_eq!(merged(registry.served()), vec![range(0, SIZE)]);
    // Known by now: the next one does not even try.
    check(&collect(fetch(blob, vec![range(7, 9)], small())).await.unwrap(), &[range(7, 9)]);
    assert_eq!(registry.seen().last().unwrap().range, None);
}

#[tokio::test]
async fn a_whole_answer_in_the_middle_replaces_the_rest() {
    let (registry, _client, blob) = start().await;
    registry.script(|nth, _| if nth == 6 { Quirk::IgnoreRange } else { Quirk::None });
    check(&collect(fetch(blob, some_ranges(), small())).await.unwrap(), &some_ranges());
    assert!(registry.blob_requests() <= 11, "{}", registry.blob_requests());
}

#[tokio::test]
async fn refused_ranges_mean_one_whole_body() {
    for quirk in [Quirk::Status(501), Quirk::Status(400), Quirk::Status(416), Quirk::WrongRange] {
        let (registry, _client, blob) = start().await;
        let script = quirk.clone();
        registry.script(move |_, range| if range.is_some() { script.clone() } else { Quirk::None });
        check(&collect(fetch(blob, some_ranges(), small())).await.unwrap(), &some_ranges());
        let whole = registry.seen().iter().filter(|seen| seen.range.is_none()).count();
        assert_eq!(whole, 1, "{quirk:?}");
        assert!(registry.blob_requests() <= 3, "{quirk:?}");
    }
}

#[tokio::test]
async fn a_first_part_comes_alone_or_is_the_whole() {
    let (registry, _client, blob) = start().await;
    let part = fetch_first(blob.clone(), range(1000, 301_000), small()).await.unwrap();
    let First::Part(bytes) = part else { panic!("{part:?}") };
    assert_eq!(bytes, content()[1000..301_000]);
    assert_eq!(merged(registry.served()), vec![range(1000, 301_000)]);

    let before = total(&registry.served());
    registry.script(|_, _| Quirk::IgnoreRange);
    for _ in 0..2 {
        // The second time it is not even tried.
        let first = fetch_first(blob.clone(), range(1000, 301_000), small()).await.unwrap();
        let First::Whole(segments) = first else { panic!("{first:?}") };
        check(&collect(segments).await.unwrap(), &[range(0, SIZE)]);
    }
    assert_eq!(registry.seen().last().unwrap().range, None);
    assert_eq!(total(&registry.served()) - before, 2 * SIZE);

    let (registry, _client, blob) = start().await;
    registry.script(|_, range| if range.is_some() { Quirk::Status(501) } else { Quirk::None });
    let error = fetch_first(blob, range(1000, 2000), small()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RangeUnsupported);
    assert_eq!(registry.blob_requests(), 1);
}

#[tokio::test]
async fn broken_bodies_are_resumed_where_they_broke() {
    for quirk in [Quirk::BreakAfter(70_000), Quirk::StallAfter(70_000), Quirk::OffBy(-30_000)] {
        let (registry, _client, blob) = start().await;
        let script = quirk.clone();
        registry.script(move |nth, _| if nth % 4 == 1 { script.clone() } else { Quirk::None });
        let wanted = vec![range(100_000, 500_000)];
        check(&collect(fetch(blob, wanted.clone(), small())).await.unwrap(), &wanted);
        // Not one byte twice, except what was lost with the connection after it was sent.
        assert!(total(&registry.served()) <= 400_000 + 2 * 100_000, "{quirk:?}");
        assert!(registry.blob_requests() > 4, "{quirk:?}");
    }
}

#[tokio::test]
async fn a_broken_whole_body_is_resumed_by_a_range() {
    let (registry, _client, blob) = start().await;
    registry.script(|nth, _| if nth == 0 { Quirk::BreakAfter(1_000_000) } else { Quirk::None });
    check(&collect(fetch_all(blob, &small())).await.unwrap(), &[range(0, SIZE)]);
    assert_eq!(registry.blob_requests(), 2);
    assert_eq!(registry.seen()[1].range, Some(range(1_000_000, SIZE)));
}

#[tokio::test]
async fn a_broken_whole_body_without_ranges_is_read_again() {
    let (registry, _client, blob) = start().await;
    registry.script(|nth, _| if nth == 0 { Quirk::BreakAfter(1_000_000) } else { Quirk::IgnoreRange });
    check(&collect(fetch_all(blob, &small())).await.unwrap(), &[range(0, SIZE)]);
    assert_eq!(registry.blob_requests(), 2);
}

#[tokio::test]
async fn overload_is_waited_out_and_despair_comes() {
    let (registry, _client, blob) = start().await;
    registry.script(|nth, _| if nth < 2 { Quirk::Status(503) } else { Quirk::None });
    check(&collect(fetch(blob.clone(), some_ranges(), small())).await.unwrap(), &some_ranges());

    registry.script(|_, _| Quirk::Status(404));
    let error = collect(fetch(blob.clone(), some_ranges(), small())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("at byte 10: "), "{error}");

    let before = registry.blob_requests();
    registry.script(|_, _| Quirk::BreakAfter(0));
    let error = collect(fetch(blob, vec![range(0, 10)], small())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
    assert_eq!(registry.blob_requests() - before, 8, "one try, five repetitions, and two for the whole blob");
}

async fn no_open_bodies(registry: &Registry) {
    for _ in 0..100 {
        if registry.open_bodies() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} bodies are still open a second later", registry.open_bodies());
}

#[tokio::test]
async fn dropping_the_receiver_ends_all_requests() {
    for stall in [Quirk::None, Quirk::StallAfter(0), Quirk::StallAfter(50_000)] {
        let (registry, _client, blob) = start().await;
        let script = stall.clone();
        registry.script(move |nth, _| if nth == 0 { Quirk::None } else { script.clone() });
        let mut segments = fetch(blob.clone(), vec![range(0, SIZE)], small());
        segments.recv().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(segments);
        no_open_bodies(&registry).await;
        let mut segments = fetch(blob.clone(), vec![range(0, SIZE)], small());
        drop(segments.stop_on_drop());
        // As for a thread that reads them.
        while segments.recv().await.is_some() {}
        no_open_bodies(&registry).await;
        let mut segments = fetch_all(blob, &small());
        let _ = tokio::time::timeout(Duration::from_millis(100), segments.recv()).await;
        drop(segments);
        no_open_bodies(&registry).await;
        assert!(registry.blob_requests() <= 16, "{stall:?}: {}", registry.blob_requests());
    }
}

#[tokio::test]
async fn a_slow_reader_holds_the_registry_back() {
    let (registry, _client, _) = start().await;
    let size = 64 << 20;
    let digest = registry.blob(vec![0; size]);
    let blob = client().blob(&registry.reference("team/app"), digest, size as u64);
    let options = FetchOptions { segment: 1 << 20, ..small() };
    let mut segments = fetch(blob, vec![range(0, size as u64)], options);
    segments.recv().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Four requests, and what the channel holds: at most 16 reads of 400 kB.
    let served = total(&registry.served());
    assert!(served <= (4 << 20) + 16 * 420_000 + (2 << 20), "{served}");
    let rest: u64 = collect(segments).await.unwrap().iter().map(|s| s.data.len() as u64).sum();
    assert!(rest > 60 << 20);
    assert_eq!(merged(registry.served()), vec![range(0, size as u64)]);
}

fn case() -> impl Strategy<Value = (Vec<(u64, u64)>, usize, u64, Vec<u8>)> {
    (
        prop::collection::vec((0..200_000_u64, 0..200_000_u64), 0..8),
        1..6_usize,
        1_000..300_000_u64,
        prop::collection::vec(0..12_u8, 60),
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any ranges, any options, a registry that misbehaves now and then.
    #[test]
    fn any_plan_against_any_registry((gaps, connections, segment, moods) in case()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (registry, _client, blob) = start().await;
            registry.script(move |nth, range| match moods.get(nth).copied().unwrap_or_default() {
                1 => Quirk::IgnoreRange,
                2 if range.is_some() => Quirk::Status(501),
                3 => Quirk::BreakAfter(range.map_or(1000, |range| range.len() / 2)),
                _ => Quirk::None,
            });
            let mut position = 0;
            let mut ranges = Vec::new();
            for (gap, len) in gaps {
                ranges.push(range(position + gap, (position + gap + len).min(SIZE)));
                position += gap + len;
            }
            let segments = collect(fetch(blob, ranges.clone(), FetchOptions { connections, segment, ..small() })).await;
            check(&segments.unwrap(), &ranges);
        });
    }
}

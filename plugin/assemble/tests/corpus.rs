//! Arbitrary tars beside a donor layer: the fuzzer's corpus and changes of it. Needs root.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

#[path = "../../../fuzz/src/checksums.rs"]
mod checksums;
#[path = "../../../fuzz/src/extractor.rs"]
mod extractor;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn nothing_of_others_changes() {
    replay::replay("extractor", extractor::extractor);
}

#[test]
fn nothing_of_others_changes_by_the_writers_tars() {
    replay::replay("writer", extractor::extractor);
}

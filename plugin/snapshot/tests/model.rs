//! Random sequences of calls against a model: the fuzzer's corpus and changes of it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

#[path = "../../../fuzz/src/replay.rs"]
mod replay;
#[path = "../../../fuzz/src/snapshots.rs"]
mod snapshots;

#[test]
fn random_calls() {
    replay::replay("snapshots", snapshots::snapshots);
}

//! Whole blobs.

use Answer::{
    Encoded, EndAfter, Flipped, Longer, Reset, ResetAfter, RetryAfter, ShortLength, Silent, StallAfter,
    Status,
};
use Kind::{Range, Whole};
use Way::{ForEver, ThenRight};
use chunked_faults::{Answer, Kind, Way};

use super::{Cost, End, Image, Row};
use crate::row;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name: String, plays: &[(Kind, &[Answer], Way)], end, cost| {
        rows.push(row(&name, Image::Plain, plays, end, cost));
    };
    for answer in [
        Status(429),
        RetryAfter(503, 0),
        RetryAfter(429, 1),
        Status(500),
        Status(502),
        Reset,
        Silent,
        ResetAfter(300_000),
        StallAfter(300_000),
        EndAfter(300_000),
    ] {
        add(format!("Whole: {answer:?} once"), &[(Whole, &[answer], ThenRight)], End::Tree, Cost::Needed);
    }
    // The rest of a broken body by a range, and if there are none, from the start once more.
    add(
        "Whole: broken off, and ranges are refused".into(),
        &[(Whole, &[ResetAfter(100_000)], ThenRight), (Range, &[Status(501)], ForEver)],
        End::Tree,
        Cost::Needed,
    );
    add(
        "Whole: broken off, and ranges are ignored".into(),
        &[(Whole, &[ResetAfter(100_000)], ThenRight), (Range, &[Answer::Whole], ForEver)],
        End::Tree,
        Cost::Needed,
    );
    add(
        "Whole: broken off, and the rest broken off, too".into(),
        &[
            (Whole, &[ResetAfter(200_000)], ThenRight),
            (Range, &[ResetAfter(200_000), StallAfter(9)], ThenRight),
        ],
        End::Tree,
        Cost::Needed,
    );
    for (answer, words, cost) in [
        (Status(404), &["404"] as &[&'static str], Cost::Nothing),
        (Status(403), &["access denied"], Cost::Nothing),
        (Status(400), &["400"], Cost::Nothing),
        (Status(500), &["500"], Cost::Nothing),
        (Reset, &["layer sha256:"], Cost::Nothing),
        (Encoded, &["content encoding"], Cost::Needed),
        (ShortLength(100), &["bytes long"], Cost::Needed),
        (Flipped(1000), &["layer sha256:", "DiffID"], Cost::Needed),
    ] {
        add(
            format!("Whole: {answer:?} for ever"),
            &[(Whole, &[answer], ForEver)],
            End::Error(words.to_vec()),
            cost,
        );
    }
    add(
        "Whole: longer than it should be, once".into(),
        &[(Whole, &[Longer(100)], ThenRight)],
        End::Tree,
        Cost::Needed,
    );
    rows
}

//! TOC and ranges of an update.

use Answer::{
    Encoded, EndAfter, Flipped, Garbled, Longer, Lying, Narrower, NoContentRange, Reset, ResetAfter,
    RetryAfter, Right, Shifted, ShortLength, Silent, StallAfter, Status, Wider, WrongTotal,
};
use Kind::{Range, Toc};
use Way::{ForEver, ThenRight};
use chunked_faults::{Answer, Kind, Way};

use super::{Cost, End, Image, RIGHT, Row};
use crate::row;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name: String, plays: &[(Kind, &[Answer], Way)], end, cost| {
        rows.push(row(&name, Image::Update, plays, end, cost));
    };
    for kind in [Toc, Range] {
        // What passes: asked again, for what is missing.
        for answer in [
            Status(429),
            RetryAfter(429, 1),
            Status(500),
            Status(502),
            RetryAfter(503, 0),
            Reset,
            Silent,
            ResetAfter(1000),
            StallAfter(1000),
            EndAfter(1000),
            ShortLength(500),
            Narrower(1000),
            Longer(100),
            Wider(10),
        ] {
            add(
                format!("{kind:?}: {answer:?} once"),
                &[(kind, &[answer], ThenRight)],
                End::Tree,
                Cost::Needed,
            );
        }
        // Ranges are refused, or cannot be trusted: the whole blob.
        for answer in [
            Status(400),
            Status(405),
            Status(416),
            Status(501),
            Lying(416),
            Status(403),
            Status(404),
            Status(500),
            Reset,
            Answer::Whole,
        ] {
            let name = format!("{kind:?}: {answer:?} for ever");
            add(name, &[(kind, &[answer], ForEver)], End::Tree, Cost::Blob);
        }
        // The same, after an answer that cost its bytes.
        for answer in [Shifted(1), WrongTotal, NoContentRange, Encoded] {
            let name = format!("{kind:?}: {answer:?} for ever");
            add(name, &[(kind, &[answer], ForEver)], End::Tree, Cost::Both);
        }
    }
    add("Toc: one byte wrong once".into(), &[(Toc, &[Flipped(50)], ThenRight)], End::Tree, Cost::Needed);
    let toc = || End::Error(vec!["layer sha256:", "TOC"]);
    add("Toc: one byte wrong for ever".into(), &[(Toc, &[Flipped(50)], ForEver)], toc(), Cost::Needed);
    let one = &[Flipped(500)];
    add("Range: one byte wrong once".into(), &[(Range, one, ThenRight)], End::Tree, Cost::Needed);
    let late = &[Right, Right, Right, Flipped(20_000), Right];
    add("Range: one byte wrong once, later".into(), &[(Range, late, ThenRight)], End::Tree, Cost::Needed);
    let piece = || End::Error(vec!["layer sha256:", "entry \"f"]);
    add("Range: the same wrong byte every time".into(), &[(Range, one, ForEver)], piece(), Cost::Twice);

    let worse = &[Garbled(500)];
    add(
        "Range: another wrong byte every time".into(),
        &[(Range, worse, ForEver)],
        End::Tree,
        Cost::TwiceAndBlob,
    );

    // Sequences.
    let sequence: &[Answer] =
        &[Status(500), Reset, Right, StallAfter(10), Right, RetryAfter(503, 0), ResetAfter(30_000)];
    add(
        "Range: one trouble after the other".into(),
        &[(Range, sequence, ThenRight)],
        End::Tree,
        Cost::Needed,
    );
    add(
        "Toc, then ranges in trouble".into(),
        &[(Toc, &[Reset, Status(502)], ThenRight), (Range, sequence, ThenRight)],
        End::Tree,
        Cost::Needed,
    );
    let some = |last: Answer| [vec![Right; RIGHT], vec![last]].concat();
    for last in [Status(416), Status(501), Status(400)] {
        let name = format!("Range: right four times, then {last:?} for ever");
        add(name, &[(Range, &some(last), ForEver)], End::Tree, Cost::Both);
    }
    let name = "Range: right four times, then the whole blob for ever";
    add(name.into(), &[(Range, &some(Answer::Whole), ForEver)], End::Tree, Cost::Burst);
    let once = &some(Status(416));
    add(
        "Range: right four times, then 416 once".into(),
        &[(Range, once, ThenRight)],
        End::Tree,
        Cost::Needed,
    );
    add(
        "Toc: 501, and the whole blob breaks off once".into(),
        &[(Toc, &[Status(501)], ForEver), (Kind::Whole, &[ResetAfter(200_000)], ThenRight)],
        End::Tree,
        Cost::Both,
    );
    add(
        "Toc: 200, and it breaks off".into(),
        &[(Toc, &[Answer::WholeThenReset(200_000)], ForEver), (Kind::Whole, &[Status(500)], ThenRight)],
        End::Tree,
        Cost::Both,
    );
    let all = |answer: &'static [Answer]| {
        [(Toc, answer, ForEver), (Range, answer, ForEver), (Kind::Whole, answer, ForEver)]
    };
    for (answer, words) in [
        (&[Status(404)] as &[Answer], &["404"]),
        (&[Status(403)], &["access denied"]),
        (&[Status(500)], &["500"]),
        (&[Reset], &["layer sha256:"]),
        (&[Silent], &["no data"]),
        (&[StallAfter(0)], &["no data"]),
        (&[Status(418)], &["418"]),
    ] {
        let name = format!("everything: {:?} for ever", answer[0]);
        add(name, &all(answer), End::Error(words.to_vec()), Cost::Needed);
    }
    let encoded = End::Error(vec!["content encoding"]);
    add("everything: encoded for ever".into(), &all(&[Encoded]), encoded, Cost::Both);
    rows
}

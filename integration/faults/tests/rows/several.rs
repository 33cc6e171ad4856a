//! Several ranges in one request, where a probe showed that the registry can.

use Answer::{Flipped, Multi, Reset, ResetAfter, StallAfter, Status};
use Kind::{Probe, Ranges};
use Multipart::{CutOff, Fewer, FirstOnly, Merged, Reversed, WrongBoundary, WrongRange};
use Way::{ForEver, ThenRight};
use chunked_faults::{Answer, Kind, Multipart, Way};

use super::{Cost, End, Image, Row};
use crate::row;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name: String, plays: &[(Kind, &[Answer], Way)], cost| {
        rows.push(Row { several: true, ..row(&name, Image::Update, plays, End::Tree, cost) });
    };
    add("several: right".into(), &[], Cost::Needed);
    for answer in [Multi(Reversed), Multi(Fewer), Multi(FirstOnly), Multi(CutOff)] {
        add(
            format!("several: {answer:?} once"),
            &[(Ranges, std::slice::from_ref(&answer), ThenRight)],
            Cost::Needed,
        );
        add(format!("several: {answer:?} for ever"), &[(Ranges, &[answer], ForEver)], Cost::Needed);
    }
    for answer in [Reset, ResetAfter(50_000), StallAfter(50_000), Status(500), Status(429)] {
        add(format!("several: {answer:?} once"), &[(Ranges, &[answer], ThenRight)], Cost::Needed);
    }
    // It no longer can, whatever the probe showed: one at a time.
    for answer in [Status(400), Status(416), Status(501)] {
        add(format!("several: {answer:?} for ever"), &[(Ranges, &[answer], ForEver)], Cost::Needed);
    }
    // Answers that cost their bytes.
    for answer in [Multi(WrongBoundary), Multi(WrongRange)] {
        add(format!("several: {answer:?} for ever"), &[(Ranges, &[answer], ForEver)], Cost::Both);
    }
    add("several: merged into one".into(), &[(Ranges, &[Multi(Merged)], ForEver)], Cost::Blob);
    add("several: 200".into(), &[(Ranges, &[Answer::Whole], ForEver)], Cost::Blob);
    add("several: one byte wrong once".into(), &[(Ranges, &[Flipped(20_000)], ThenRight)], Cost::Needed);
    // A probe that does not show it: never tried on a layer.
    for answer in [
        Answer::Whole,
        Status(400),
        Status(416),
        Status(501),
        Multi(WrongBoundary),
        Multi(WrongRange),
        Multi(Merged),
        Multi(Fewer),
        Multi(FirstOnly),
        Flipped(98),
        Reset,
    ] {
        let never: (Kind, &[Answer], Way) = (Ranges, &[Status(500)], ForEver);
        add(
            format!("several: probe answered with {answer:?}"),
            &[(Probe, &[answer], ForEver), never],
            Cost::Needed,
        );
    }
    rows
}

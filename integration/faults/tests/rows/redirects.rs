//! A second host that the registry redirects to, with signatures that expire.

use Answer::{BadRedirect, Expired, Loop, Redirect, Reset, ResetAfter, Right, StallAfter, Status};
use Kind::{Range, Stored, Toc};
use Way::{ForEver, ThenRight};
use chunked_faults::{Answer, Kind, Way};

use super::{Cost, End, Image, Row};
use crate::row;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let redirected = |first: &[Answer], stored: &[Answer]| -> Vec<(Kind, Vec<Answer>, Way)> {
        let answers = [first, &[Redirect]].concat();
        [Toc, Range, Kind::Whole]
            .map(|kind| (kind, answers.clone(), ForEver))
            .into_iter()
            .chain([(Stored, stored.to_vec(), ThenRight)])
            .collect()
    };
    let mut add = |name: &str, image, plays: Vec<(Kind, Vec<Answer>, Way)>, end, cost| {
        rows.push(Row { plays, locked: true, ..row(name, image, &[], end, cost) });
    };
    let tree = || End::Tree;
    add("redirected, an update", Image::Update, redirected(&[], &[]), tree(), Cost::Needed);
    add("redirected, a plain layer", Image::Plain, redirected(&[], &[]), tree(), Cost::Needed);
    add(
        "redirected, the signature has expired once",
        Image::Update,
        redirected(&[Expired], &[]),
        tree(),
        Cost::Needed,
    );
    add(
        "redirected, expired in the middle",
        Image::Update,
        redirected(&[Redirect, Redirect, Expired], &[]),
        tree(),
        Cost::Needed,
    );
    add(
        "redirected, a plain layer, expired once",
        Image::Plain,
        redirected(&[Expired], &[]),
        tree(),
        Cost::Needed,
    );
    for answer in [
        Status(403),
        Status(401),
        Status(404),
        Status(400),
        Status(500),
        Status(503),
        Reset,
        ResetAfter(500),
        StallAfter(500),
    ] {
        let name = format!("redirected, there {answer:?} once");
        add(&name, Image::Update, redirected(&[], &[answer]), tree(), Cost::Needed);
    }
    let later = &[Right, Right, Right, Status(403), Right, Reset];
    add("redirected, there trouble later", Image::Update, redirected(&[], later), tree(), Cost::Needed);
    add("redirected, there 200 always", Image::Update, forever(Answer::Whole), tree(), Cost::Blob);
    add("redirected, there no ranges", Image::Update, ranges_only(Status(501)), tree(), Cost::Blob);
    let failed = |words: &[&'static str]| End::Error(words.to_vec());
    add("redirected, expired for ever", Image::Update, everything(&Expired), failed(&["403"]), Cost::Nothing);
    add("redirected to itself", Image::Update, everything(&Loop), failed(&["redirect"]), Cost::Nothing);
    add(
        "redirected to what is not HTTP",
        Image::Update,
        everything(&BadRedirect),
        failed(&["redirect"]),
        Cost::Nothing,
    );
    rows
}

fn everything(answer: &Answer) -> Vec<(Kind, Vec<Answer>, Way)> {
    [Toc, Range, Kind::Whole].map(|kind| (kind, vec![answer.clone()], ForEver)).into()
}

fn forever(stored: Answer) -> Vec<(Kind, Vec<Answer>, Way)> {
    let mut plays = everything(&Redirect);
    plays.push((Stored, vec![stored], ForEver));
    plays
}

/// Ranges are redirected to a host that has none, whole blobs are not.
fn ranges_only(stored: Answer) -> Vec<(Kind, Vec<Answer>, Way)> {
    let mut plays = forever(stored);
    plays.retain(|(kind, ..)| *kind != Kind::Whole);
    plays
}

//! Tokens, manifests and configs.

use Answer::{Flipped, Garbage, Reset, ResetAfter, RetryAfter, Right, Silent, StallAfter, Status};
use Kind::{Config, Manifest, Token};
use Way::{ForEver, ThenRight};
use chunked_faults::{Answer, Kind, Way};

use super::{Cost, End, Image, Row};
use crate::row;

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    // What passes is waited for, whichever document it is.
    for (kind, locked) in [(Token, true), (Manifest, false), (Config, false)] {
        for answer in [
            Status(500),
            Status(502),
            RetryAfter(503, 0),
            RetryAfter(429, 1),
            Reset,
            Silent,
            ResetAfter(20),
            StallAfter(20),
        ] {
            let name = format!("{kind:?}: {answer:?} once");
            rows.push(Row {
                locked,
                ..row(&name, Image::Update, &[(kind, &[answer], ThenRight)], End::Tree, Cost::Needed)
            });
        }
        let mixed = &[Status(500), Reset];
        let name = format!("{kind:?}: 500, then a reset");
        rows.push(Row {
            locked,
            ..row(&name, Image::Update, &[(kind, mixed, ThenRight)], End::Tree, Cost::Needed)
        });
        for (answer, word) in [(Status(500), "500"), (Status(503), "503"), (Reset, "reg")] {
            let name = format!("{kind:?}: {answer:?} for ever");
            let end = End::Error(vec![word, "127.0.0.1"]);
            rows.push(Row {
                locked,
                ..row(&name, Image::Update, &[(kind, &[answer], ForEver)], end, Cost::Nothing)
            });
        }
    }
    let mut fails = |name: &str, locked, kind, answer: Answer, words: &[&'static str]| {
        let end = End::Error(words.to_vec());
        rows.push(Row {
            locked,
            ..row(name, Image::Update, &[(kind, &[answer], ForEver)], end, Cost::Nothing)
        });
    };
    fails("Token: 401", true, Token, Status(401), &["access denied", "log in"]);
    fails("Token: 403", true, Token, Status(403), &["access denied", "log in"]);
    fails("Token: not JSON", true, Token, Garbage, &["token"]);
    fails("Manifest: 401 without a challenge", false, Manifest, Status(401), &["access denied"]);
    fails("Manifest: 403", false, Manifest, Status(403), &["access denied"]);
    fails("Manifest: 404", false, Manifest, Status(404), &["404"]);
    fails("Manifest: not JSON", false, Manifest, Garbage, &["cannot be read"]);
    fails("Config: 404", false, Config, Status(404), &["404", "config"]);
    fails("Config: other bytes", false, Config, Flipped(3), &["digest", "config"]);
    // A token that the registry no longer knows, in the middle of a pull: got anew, once.
    for kind in [Kind::Toc, Kind::Range, Config] {
        let name = format!("{kind:?}: the token is refused once");
        let plays: &[(Kind, &[Answer], Way)] = &[(kind, &[Status(401)], ThenRight)];
        rows.push(Row { locked: true, ..row(&name, Image::Update, plays, End::Tree, Cost::Needed) });
    }
    rows.push(Row {
        locked: true,
        ..row(
            "nothing wrong, with a token",
            Image::Update,
            &[(Token, &[Right], ThenRight)],
            End::Tree,
            Cost::Needed,
        )
    });
    rows.push(row("nothing wrong, an update", Image::Update, &[], End::Tree, Cost::Needed));
    rows.push(row("nothing wrong, a first pull", Image::First, &[], End::Tree, Cost::Needed));
    rows.push(row("nothing wrong, a plain layer", Image::Plain, &[], End::Tree, Cost::Needed));
    rows
}

use chunked_store::{Labels, NewSnapshot, Store};
use proptest::prelude::*;

use super::*;

fn filter(text: &str) -> Filter {
    Filter::parse_all(&[text.to_owned()]).unwrap_or_else(|error| panic!("{error}"))
}

/// An active snapshot `ns/1/extract-1 a` on `par,ent`, with labels.
fn snapshot() -> (tempfile::TempDir, Snapshot) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let labels: Labels = [("containerd.io/snapshot.ref", "sha256:abc"), ("l1", "v 1"), ("a.b", "q\"uote")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let new = NewSnapshot { name: "k", kind: Kind::Active, parent: None, labels: &labels, owner: None };
    store.create(&new).unwrap();
    store.commit("par,ent", "k", &Labels::new(), None).unwrap();
    let new = NewSnapshot { name: "ns/1/extract-1 a", parent: Some("par,ent"), ..new };
    let made = store.create(&new).unwrap().snapshot;
    (dir, made)
}

#[test]
fn selectors_hold_or_do_not() {
    let (_dir, snapshot) = snapshot();
    for (text, expected) in [
        ("", true),
        ("name", true),
        ("name==ns/1/extract-1", false),
        ("name==\"ns/1/extract-1 a\"", true),
        ("name ~= /^ns\\/[0-9]+\\//", true),
        ("name~=|^ns/1/|", true),
        ("name~=extract", true),
        ("parent==\"par,ent\"", true),
        ("parent!=\"\"", true),
        ("parent==par,ent", false),
        ("kind==active", true),
        ("kind!=committed", true),
        ("kind==view", false),
        ("labels.l1", true),
        ("labels.l2", false),
        ("labels.l1==\"v 1\"", true),
        ("labels.l1==\"v\\x201\"", true),
        ("labels.l1==\"v\\040\\u0031\"", true),
        ("labels.l2!=x", true),
        ("labels.l2==\"\"", false),
        ("labels.a.b", true),
        ("labels.\"a.b\"==\"q\\\"uote\"", true),
        ("labels.\"containerd.io/snapshot.ref\"==sha256:abc,parent==\"par,ent\"", true),
        ("labels.\"containerd.io/snapshot.ref\"==sha256:abc,parent==\"\"", false),
        ("kind==active,labels.l2", false),
        ("no.such.field", false),
        ("created!=x", true),
        ("name.x", false),
    ] {
        assert_eq!(filter(text).matches(&snapshot), expected, "{text}");
    }
    let either = Filter::parse_all(&["kind==view".to_owned(), "kind==active".to_owned()]).unwrap();
    assert!(either.matches(&snapshot));
    assert!(Filter::parse_all(&[]).unwrap().matches(&snapshot));
}

#[test]
fn reference_is_known_without_a_scan() {
    let of = |text: &str| filter(text).reference().map(str::to_owned);
    let label = "labels.\"containerd.io/snapshot.ref\"";
    assert_eq!(of(&format!("{label}==sha256:abc,parent==\"x/1/p\"")).as_deref(), Some("sha256:abc"));
    assert_eq!(of(&format!("{label}!=sha256:abc")), None);
    assert_eq!(of(&format!("{label}==\"\"")), None);
    assert_eq!(of("labels.x==sha256:abc"), None);
    let two = [format!("{label}==a"), "name==b".to_owned()];
    assert_eq!(Filter::parse_all(&two).unwrap().reference(), None);
}

#[test]
fn what_containerd_refuses_is_refused() {
    for text in [
        ",",
        "name==",
        "name=x",
        "name=",
        "name===x",
        "name==a b",
        "name==\"open",
        "name==\"\\q\"",
        "name==/regex/",
        "name~=\"(\"",
        "name==\"\\xff\"",
        "labels.",
        "labels..a",
        "kind==active,",
        "==x",
        "näme",
        "name==\"a\"b",
    ] {
        assert!(Filter::parse_all(&[text.to_owned()]).is_err(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC*|[nameklbsi.,=!~\"/|\\\\ 0-9xuU]{0,40}") {
        drop(Filter::parse_all(&[text]));
    }

    #[test]
    fn quoted_values_read_back(value in "[^\\x00-\\x1f\\x7f]*") {
        let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
        let parsed = filter(&format!("name==\"{escaped}\""));
        prop_assert!(matches!(&parsed.alternatives[0][0].test, Test::Equal(read) if *read == value));
    }
}

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

fn all(json: &str) -> Result<(Document<'_>, Vec<Entry<'_>>), TocError> {
    let mut entries = Vec::new();
    let document = read(json.as_bytes(), |entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok((document, entries))
}

#[test]
fn keys_match_in_any_case_and_others_are_skipped() {
    let json = r#"{"VERSION":1,"extra":{"a":[1,{"b":null}]},
        "Entries":[{"TYPE":"reg","name":"a","mode":420,"xattrs":{"user.k":"dg=="},"endoffset":9,"digest":null}],
        "tarsplitdigest":"x"}"#;
    let (document, entries) = all(json).unwrap();
    assert_eq!(document.version, Some(1));
    assert_eq!(document.tar_split_digest.as_deref(), Some("x"));
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(entry.kind.as_deref(), Some("reg"));
    assert_eq!((entry.end_offset, &entry.digest), (Some(9), &None));
}

#[test]
fn strings_are_borrowed_unless_escaped() {
    let (_, entries) = all(r#"{"entries":[{"name":"plain"},{"name":"\u003cx\u003e\ufffd"}]}"#).unwrap();
    assert!(matches!(entries[0].name, Some(Text(Cow::Borrowed("plain")))));
    assert!(matches!(&entries[1].name, Some(Text(Cow::Owned(name))) if name == "<x>\u{fffd}"));
}

#[test]
fn an_empty_list_may_be_null() {
    for json in [r#"{"version":1,"entries":null}"#, r#"{"version":1,"entries":[]}"#, r#"{"version":1}"#] {
        let (document, entries) = all(json).unwrap();
        assert_eq!((document.version, entries.len()), (Some(1), 0), "{json}");
    }
}

#[test]
fn documents_of_another_shape_are_refused() {
    for json in [
        "",
        "[]",
        "null",
        r#"{"version":1} x"#,
        r#"{"version":1}{}"#,
        r#"{"version":"1"}"#,
        r#"{"version":1,"version":1}"#,
        r#"{"entries":[],"entries":[]}"#,
        r#"{"entries":{}}"#,
        r#"{"entries":[[]]}"#,
        r#"{"entries":[null]}"#,
        r#"{"entries":[{"size":-1}]}"#,
        r#"{"entries":[{"size":1.5}]}"#,
        r#"{"entries":[{"size":1e3}]}"#,
        r#"{"entries":[{"size":18446744073709551616}]}"#,
        r#"{"entries":[{"offset":1,"OFFSET":2}]}"#,
        r#"{"entries":[{"name":"\ud800"}]}"#,
        r#"{"entries":[{"name":1}]}"#,
        r#"{"entries":["#,
    ] {
        assert!(matches!(all(json), Err(TocError::Json(_))), "{json}");
    }
    let deep = format!(r#"{{"extra":{}"#, "[".repeat(100_000));
    assert!(matches!(all(&deep), Err(TocError::Json(_))));
}

#[test]
fn the_error_of_the_sink_is_kept() {
    let outcome = read(br#"{"entries":[{},{}]}"#, |_| Err(TocError::TooManyEntries));
    assert!(matches!(outcome, Err(TocError::TooManyEntries)));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = read(&bytes, |_| Ok(()));
    }
}

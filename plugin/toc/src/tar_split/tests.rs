use proptest::prelude::*;

use super::*;

const LINES: &str = concat!(
    r#"{"type":2,"payload":"AAEC"}"#,
    "\n",
    r#"{"type":1,"name":"etc/","payload":null,"position":1}"#,
    "\n",
    r#"{"type":1,"name":"\u003ca\u003e","size":12,"payload":"ROnPP1cq2aw=","position":2}"#,
    "\n",
    r#"{"type":1,"name_raw":"YmFk/w==","size":1,"payload":"IxAAAAAAAAA=","position":3}"#,
    "\n",
);

fn items(text: &[u8], declared: u64) -> Result<Vec<SplitItem>, TocError> {
    let mut reader = TarSplit::new(text, declared);
    let mut items = Vec::new();
    while let Some(item) = reader.next()? {
        items.push(item);
    }
    Ok(items)
}

fn file(name: &[u8], size: u64, crc: Option<u64>) -> SplitItem {
    SplitItem::File { name: name.to_vec(), size, crc }
}

#[test]
fn lines_become_items() {
    let expected = vec![
        SplitItem::Segment(vec![0, 1, 2]),
        file(b"etc/", 0, None),
        file(b"<a>", 12, Some(0x44e9_cf3f_572a_d9ac)),
        file(b"bad\xff", 1, Some(0x2310_0000_0000_0000)),
    ];
    let whole = LINES.as_bytes();
    assert_eq!(items(whole, whole.len() as u64).unwrap(), expected);
    // The last line feed may be missing; empty lines say nothing.
    assert_eq!(items(LINES.trim_end().as_bytes(), whole.len() as u64 - 1).unwrap(), expected);
    let spaced = LINES.replace('\n', "\n\n");
    assert_eq!(items(spaced.as_bytes(), spaced.len() as u64).unwrap(), expected);
}

#[test]
fn the_declared_length_is_exact() {
    let length = LINES.len() as u64;
    for declared in [0, 1, length - 1, length + 1, u64::MAX] {
        match items(LINES.as_bytes(), declared) {
            Err(TocError::Length { declared: d, .. }) => assert_eq!(d, declared),
            // A line cut by the limit is not JSON, or is longer than what is left.
            other => panic!("{declared}: {other:?}"),
        }
    }
    assert_eq!(items(b"", 0).unwrap(), vec![]);
}

#[test]
fn compressed_input_is_streamed() {
    let compressed = zstd::encode_all(LINES.as_bytes(), 3).unwrap();
    let mut reader = TarSplit::open(&compressed, LINES.len() as u64).unwrap();
    let mut count = 0;
    while reader.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 4);
    assert!(reader.next().unwrap().is_none());
    let mut cut = TarSplit::open(&compressed[..compressed.len() - 2], LINES.len() as u64).unwrap();
    let outcome = std::iter::from_fn(|| cut.next().transpose()).find_map(Result::err);
    assert!(matches!(outcome, Some(TocError::Decompress { .. })));
}

#[test]
fn lines_of_another_shape_are_refused() {
    for (line, expected) in [
        ("x", "json"),
        ("{}", "json"),
        (r#"{"type":2}"#, "payload is missing"),
        (r#"{"type":2,"payload":null}"#, "payload is missing"),
        (r#"{"type":2,"payload":"AAE"}"#, "payload is not base64"),
        (r#"{"type":3,"payload":""}"#, "type 3"),
        (r#"{"type":1,"size":1}"#, "name is missing"),
        (r#"{"type":1,"name_raw":"=","size":1}"#, "name_raw is not base64"),
        (r#"{"type":1,"name":"a","size":-1}"#, "negative"),
        (r#"{"type":1,"name":"a","size":9223372036854775808}"#, "json"),
        (r#"{"type":1,"name":"a","size":1,"payload":"AAEC"}"#, "8 bytes"),
        (r#"{"type":2,"payload":""} {"type":2,"payload":""}"#, "json"),
        (r#"{"type":2,"payload":"","payload":""}"#, "json"),
    ] {
        match items(line.as_bytes(), line.len() as u64) {
            Err(TocError::Split { line: 1, source }) => {
                assert!(source.to_string().contains(expected), "{line}: {source}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }
}

#[test]
fn a_line_may_not_be_endless() {
    let declared = limits::LINE_BYTES * 2;
    let mut reader = TarSplit::new(std::io::repeat(b'x').take(declared), declared);
    assert!(matches!(reader.next(), Err(TocError::Split { source: SplitError::TooLong, .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, declared in 0u64..300) {
        let _ = items(&bytes, declared);
        let mut compressed = TarSplit::open(&bytes, declared).unwrap();
        while let Ok(Some(_)) = compressed.next() {}
    }

    #[test]
    fn mutated_lines_never_panic(at in 0..LINES.len(), byte: u8, declared in 0..2 * LINES.len()) {
        let mut bytes = LINES.as_bytes().to_vec();
        bytes[at] = byte;
        let _ = items(&bytes, bytes.len() as u64);
        let _ = items(&bytes, declared as u64);
    }
}

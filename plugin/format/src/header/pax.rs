//! PAX extended headers (POSIX.1-2001 pax, "x" headers).

use std::collections::BTreeMap;

use crate::header::Header;
use crate::time::Time;

/// Prefix of the records that hold extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// Reads the records of an `x` header's data; the last of several with one key counts.
pub(crate) fn records(data: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, &'static str> {
    let mut records = BTreeMap::new();
    let mut rest = data;
    while !rest.is_empty() {
        let (key, value, after) = record(rest).ok_or("a PAX record does not parse")?;
        records.insert(key.to_vec(), value.to_vec());
        rest = after;
    }
    Ok(records)
}

/// `LENGTH KEY=VALUE\n`: key, value and what follows.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = data.iter().position(|byte| *byte == b' ')?;
    let length: i64 = std::str::from_utf8(data.get(..space)?).ok()?.parse().ok()?;
    let length = usize::try_from(length).ok().filter(|length| *length >= 5)?;
    let body = data.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    let checked = if matches!(key, b"path" | b"linkpath" | b"uname" | b"gname") { value } else { key };
    let valid = !key.is_empty() && !checked.contains(&0);
    valid.then_some((key, value, data.get(length..)?))
}

/// Lets `records` replace what the header says. An empty value leaves it, except that an attribute may be empty.
pub(super) fn merge(header: &mut Header, records: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), &'static str> {
    for (key, value) in records {
        header.sparse |= key.starts_with(b"GNU.sparse.");
        if let Some(name) = key.strip_prefix(XATTR) {
            header.xattrs.insert(name.to_vec(), value);
            continue;
        }
        if value.is_empty() {
            continue;
        }
        match key.as_slice() {
            b"path" => header.name = value,
            b"linkpath" => header.link = value,
            b"uid" => header.uid = number(&value)?,
            b"gid" => header.gid = number(&value)?,
            b"size" => header.size = number(&value)?,
            b"mtime" => header.mtime = time(&value)?,
            b"atime" => header.atime = Some(time(&value)?),
            b"ctime" => header.ctime = Some(time(&value)?),
            _ => {}
        }
    }
    Ok(())
}

fn number(value: &[u8]) -> Result<i64, &'static str> {
    let parse = |value| std::str::from_utf8(value).ok()?.parse().ok();
    parse(value).ok_or("a number in a PAX record does not parse")
}

fn time(value: &[u8]) -> Result<Time, &'static str> {
    let parse = |value| Time::from_pax(std::str::from_utf8(value).ok()?);
    parse(value).ok_or("a time in a PAX record does not parse")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_read_strictly() {
        let found = records(b"12 path=abc\n11 path=de\n10 uid=70\n").unwrap();
        let expected = [("path", "de"), ("uid", "70")];
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(k, v)| (k.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        assert_eq!(found, expected);
        // A value may hold anything, unless it is text of a header.
        assert!(records(b"9 a=\0\n=\n\n").is_ok());
        for bad in [
            b"12 path=abc".as_slice(),
            b"4 a=\n",
            b"6 a=b ",
            b"99 a=b\n",
            b"abc\n",
            b"6 =ab\n",
            b"6 a\0=b\n",
            b"11 path=a\0\n",
            b"-6 a=b\n",
        ] {
            assert!(records(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(data in prop::collection::vec(prop::sample::select(b"0123456789 =\nab\0".to_vec()), 0..40)) {
            let _ = records(&data);
        }
    }
}

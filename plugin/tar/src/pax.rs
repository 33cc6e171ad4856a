//! PAX extended headers (POSIX.1-2001 pax, `x` and `g` headers; Go's `parsePAX`).

use std::collections::BTreeMap;

use crate::error::Refusal;
use crate::number::decimal;

/// Prefix of the records that hold extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// Prefix of the records of GNU tar's sparse files.
const SPARSE: &[u8] = b"GNU.sparse.";
/// The record with the whole sparse map, form 0.1.
pub(crate) const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

/// Where a record is in the data: `LENGTH KEY=VALUE\n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    key: u32,
    equals: u32,
    end: u32,
}

/// The records of one `x` or `g` header. Of several with one key the last counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    data: Vec<u8>,
    found: Vec<Record>,
    /// The map of a sparse file of form 0.0, whose records come in pairs, put into form 0.1.
    sparse_map: Option<Vec<u8>>,
}

impl Records {
    /// Reads the data of an extended header.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, Refusal> {
        let mut records = Self { data: data.to_vec(), ..Self::default() };
        let mut numbers = 0;
        let mut at = 0;
        while at < data.len() {
            let record = record(data, at).ok_or(Refusal::Header("a PAX record does not parse"))?;
            at = record.end as usize;
            let (key, value) = records.split(record);
            let first = match key {
                b"GNU.sparse.offset" => true,
                b"GNU.sparse.numbytes" => false,
                _ => {
                    records.found.push(record);
                    continue;
                }
            };
            if first != (numbers % 2 == 0) || value.contains(&b',') {
                return Err(Refusal::Header("the records of a sparse map are out of order"));
            }
            let value = value.to_vec();
            let map = records.sparse_map.get_or_insert_default();
            if numbers > 0 {
                map.push(b',');
            }
            map.extend_from_slice(&value);
            numbers += 1;
        }
        Ok(records)
    }

    fn split(&self, record: Record) -> (&[u8], &[u8]) {
        let part = |from: u32, to: u32| self.data.get(from as usize..to as usize).unwrap_or_default();
        (part(record.key, record.equals), part(record.equals + 1, record.end - 1))
    }

    /// All records in their order, earlier ones of a key among them.
    fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], &[u8])> {
        self.found.iter().map(|record| self.split(*record))
    }

    /// The value of `key`; empty for none, which PAX takes for the same.
    pub fn get(&self, key: &[u8]) -> &[u8] {
        if let (SPARSE_MAP, Some(map)) = (key, &self.sparse_map) {
            return map;
        }
        self.iter().rev().find(|(found, _)| *found == key).map(|(_, value)| value).unwrap_or_default()
    }

    /// The value of `key`, if it has one.
    pub(crate) fn known(&self, key: &[u8]) -> Option<&[u8]> {
        Some(self.get(key)).filter(|value| !value.is_empty())
    }

    /// Extended attributes by name, without the records' prefix; a value may be empty.
    pub fn xattrs(&self) -> BTreeMap<&[u8], &[u8]> {
        self.iter().filter_map(|(key, value)| Some((key.strip_prefix(XATTR)?, value))).collect()
    }

    /// Whether a record speaks of GNU tar's sparse files, in any form.
    pub fn speaks_of_sparse(&self) -> bool {
        self.sparse_map.is_some() || self.iter().any(|(key, _)| key.starts_with(SPARSE))
    }
}

/// The record that starts at `at`.
fn record(data: &[u8], at: usize) -> Option<Record> {
    let rest = data.get(at..)?;
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(rest.get(..space)?)?).ok().filter(|length| *length >= 5)?;
    let body = rest.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    let checked = if matches!(key, b"path" | b"linkpath" | b"uname" | b"gname") { value } else { key };
    if key.is_empty() || checked.contains(&0) {
        return None;
    }
    let place = |offset: usize| u32::try_from(at + offset).ok();
    Some(Record { key: place(space + 1)?, equals: place(space + 1 + equals)?, end: place(length)? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn records_are_read_strictly() {
        let found = Records::parse(b"12 path=abc\n11 path=de\n10 uid=70\n7 gid=\n").unwrap();
        assert_eq!((found.get(b"path"), found.get(b"uid")), (b"de".as_slice(), b"70".as_slice()));
        assert_eq!((found.get(b"gid"), found.get(b"none")), (b"".as_slice(), b"".as_slice()));
        // A value may hold anything, unless it is text of a header; the length may have a sign and zeros.
        assert!(Records::parse(b"9 a=\0\n=\n\n").is_ok());
        assert!(Records::parse(b"+7 a=b\n007 b=\n").is_ok());
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
            b" 7 a=b\n",
            b"7 a=bc\n\0",
        ] {
            assert!(Records::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn attributes_may_be_empty_and_the_last_counts() {
        let found =
            Records::parse(b"19 SCHILY.xattr.a=\n20 SCHILY.xattr.b=1\n20 SCHILY.xattr.b=2\n").unwrap();
        let expected = [(b"a".as_slice(), b"".as_slice()), (b"b", b"2")];
        assert_eq!(found.xattrs().into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn maps_of_form_0_0_become_form_0_1() {
        let (offset, bytes) = (b"23 GNU.sparse.offset=0\n", b"25 GNU.sparse.numbytes=5\n");
        let found = Records::parse(&[offset.as_slice(), bytes, offset, bytes].concat()).unwrap();
        assert_eq!(found.get(SPARSE_MAP), b"0,5,0,5");
        assert!(found.speaks_of_sparse());
        assert!(Records::parse(&[offset.as_slice(), offset].concat()).is_err());
        assert!(Records::parse(bytes).is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(data in prop::collection::vec(prop::sample::select(b"0123456789 =\nab\0".to_vec()), 0..40)) {
            if let Ok(records) = Records::parse(&data) {
                let _ = (records.get(b"a"), records.xattrs());
            }
        }
    }
}

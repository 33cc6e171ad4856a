//! A parsed header to an [`Entry`], with the readings of Go's archive/tar where tar-core leaves them open.

use chunked_core::{Entry, Kind, Sparse, Timestamp, Xattr};
use tar_core::parse::ParsedEntry;
use tar_core::{EntryType, PaxExtensions, SparseEntry};

use crate::TarError;

const NANOS: u32 = 1_000_000_000;

/// The entry that `parsed` describes; `offset` is the header's place in the tar, for errors.
pub(crate) fn entry(
    offset: u64,
    parsed: ParsedEntry<'_>,
    sparse: Option<(Vec<SparseEntry>, u64)>,
) -> Result<Entry, TarError> {
    let name = || String::from_utf8_lossy(&parsed.path).into_owned();
    let value = |what| TarError::Value { offset, path: name(), what };
    let link = || parsed.link_target.as_deref().unwrap_or_default().to_vec();
    let device = || (parsed.dev_major.unwrap_or(0), parsed.dev_minor.unwrap_or(0));
    let typeflag = parsed.header.as_bytes()[156];
    let kind = match parsed.entry_type {
        // Only the NUL type is a V7 archive's, where a trailing slash makes a directory.
        EntryType::Regular if typeflag == 0 && parsed.path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GnuSparse => {
            file(parsed.size, sparse).map_err(value)?
        }
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(link()),
        EntryType::Link => Kind::HardLink(link()),
        EntryType::Char => Kind::CharDevice { major: device().0, minor: device().1 },
        EntryType::Block => Kind::BlockDevice { major: device().0, minor: device().1 },
        EntryType::Fifo => Kind::Fifo,
        _ => return Err(TarError::Type { offset, path: name(), typeflag: char::from(typeflag) }),
    };
    let uid = u32::try_from(parsed.uid).map_err(|_| value("the uid does not fit 32 bits"))?;
    let gid = u32::try_from(parsed.gid).map_err(|_| value("the gid does not fit 32 bits"))?;
    let header_time = Timestamp { seconds: header_seconds(&parsed), nanos: 0 };
    let mtime = pax_time(parsed.pax, "mtime").unwrap_or(header_time);
    let atime = pax_time(parsed.pax, "atime");
    let xattrs = xattrs(&parsed);
    Ok(Entry {
        mode: parsed.mode & 0o7777,
        uid,
        gid,
        mtime,
        atime,
        xattrs,
        kind,
        path: parsed.path.into_owned(),
    })
}

fn file(size: u64, sparse: Option<(Vec<SparseEntry>, u64)>) -> Result<Kind, &'static str> {
    let Some((map, real_size)) = sparse else { return Ok(Kind::File { size, sparse: None }) };
    let mut parts = Vec::with_capacity(map.len());
    let (mut end, mut sum) = (0, 0u64);
    for SparseEntry { offset, length } in map {
        let stop = offset.checked_add(length).ok_or("a sparse part overflows")?;
        if offset < end || stop > real_size {
            return Err("the sparse parts overlap or pass the end of the file");
        }
        end = stop;
        sum += length;
        if length > 0 {
            parts.push((offset, length));
        }
    }
    if sum != size {
        return Err("the sparse parts do not add up to the payload");
    }
    Ok(Kind::File { size, sparse: Some(Sparse { parts, real_size }) })
}

/// The header's mtime; GNU base-256 values below zero count as 1970, as containerd bounds them.
fn header_seconds(parsed: &ParsedEntry<'_>) -> i64 {
    let negative = parsed.header.as_bytes()[136] == 0xff;
    if negative { 0 } else { i64::try_from(parsed.mtime).unwrap_or(0) }
}

/// A PAX time record: decimal seconds with an optional fraction, cut to nanoseconds (POSIX pax, "mtime").
fn pax_time(pax: Option<&[u8]>, wanted: &str) -> Option<Timestamp> {
    let mut found = None;
    for record in PaxExtensions::new(pax?).flatten() {
        if record.key_bytes() == wanted.as_bytes() {
            found = std::str::from_utf8(record.value_bytes()).ok().and_then(decimal_time);
        }
    }
    found
}

fn decimal_time(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut nanos = 0;
    for digit in fraction.bytes().map(|b| u32::from(b - b'0')).chain(std::iter::repeat(0)).take(9) {
        nanos = nanos * 10 + digit;
    }
    // "-1.25" is 1.25 seconds before the epoch: -2 s + 0.75 s.
    if whole.starts_with('-') && nanos > 0 {
        return Some(Timestamp { seconds: seconds.checked_sub(1)?, nanos: NANOS - nanos });
    }
    Some(Timestamp { seconds, nanos })
}

/// Extended attributes from PAX records; of two records with one name the last counts, as in Go.
fn xattrs(parsed: &ParsedEntry<'_>) -> Vec<Xattr> {
    let mut list: Vec<Xattr> = Vec::with_capacity(parsed.xattrs.len());
    for (name, value) in &parsed.xattrs {
        let xattr = Xattr { name: name.to_vec(), value: value.to_vec() };
        match list.iter_mut().find(|known| known.name == xattr.name) {
            Some(known) => *known = xattr,
            None => list.push(xattr),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_times() {
        let time = |seconds, nanos| Some(Timestamp { seconds, nanos });
        for (text, expected) in [
            ("1700000000", time(1_700_000_000, 0)),
            ("1700000000.123456789", time(1_700_000_000, 123_456_789)),
            ("1700000000.1234567899", time(1_700_000_000, 123_456_789)),
            ("1.5", time(1, 500_000_000)),
            ("0.000000001", time(0, 1)),
            ("-1", time(-1, 0)),
            ("-1.25", time(-2, 750_000_000)),
            ("-0.5", time(-1, 500_000_000)),
            ("", None),
            ("x", None),
            ("1.x", None),
        ] {
            assert_eq!(decimal_time(text), expected, "{text}");
        }
    }
}

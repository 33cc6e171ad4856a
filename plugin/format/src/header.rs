//! Tar headers as the TOC repeats them.
//!
//! The reference reader compares the TOC with the tar headers as the parser of github.com/vbatts/tar-split reads them, a
//! fork of Go's archive/tar. `chunked_tar` reads them like that, for unpackers and for us: modes keep their type bits
//! here, access and change times matter, numbers may be negative.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chunked_core::Timestamp;
use chunked_tar::{Header, HeaderParser, Refusal, Step};

use crate::entry::TocEntry;
use crate::reason::Reason;
use crate::time::Time;

/// Bytes of payload that follow `header`, and its TOC entry without what depends on the payload; `offset` is where the
/// headers start in the tar. The error says why the TOC cannot have this entry.
pub(crate) fn entry(header: Header, offset: u64) -> Result<(TocEntry, u64), Reason> {
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if header.typeflag == b'g' {
        return Err(Reason::GlobalHeader { offset });
    }
    if header.name.is_empty() {
        return Err(Reason::NoName { offset });
    }
    let shown = lossy(&header.name);
    if header.sparse.is_some() || header.records.speaks_of_sparse() {
        return Err(Reason::Sparse { name: shown });
    }
    let kind = match header.typeflag {
        b'0' => "reg",
        b'1' => "hardlink",
        b'2' => "symlink",
        b'3' => "char",
        b'4' => "block",
        b'5' => "dir",
        b'6' => "fifo",
        other => return Err(Reason::Type { name: shown, typeflag: char::from(other) }),
    };
    if u64::try_from(header.size) != Ok(header.payload) {
        return Err(Reason::SizeWithoutPayload { name: shown, size: header.size });
    }
    let text = |bytes: Vec<u8>, what| {
        String::from_utf8(bytes).map_err(|_| Reason::NotUtf8 { name: shown.clone(), what })
    };
    let time = |time: Option<Timestamp>, what| match time.map(Time::from) {
        Some(time) if !time.is_go_zero() => {
            time.to_rfc3339().map(Some).ok_or_else(|| Reason::Time { name: shown.clone(), what })
        }
        _ => Ok(None),
    };
    let mut xattrs = BTreeMap::new();
    for (name, value) in header.records.xattrs() {
        xattrs.insert(text(name.to_vec(), "extended attributes")?, STANDARD.encode(value));
    }
    let entry = TocEntry {
        kind: kind.to_owned(),
        name: text(header.name, "name")?,
        link_name: text(header.link, "link target")?,
        mode: header.mode,
        size: header.size,
        uid: header.uid,
        gid: header.gid,
        modtime: time(Some(header.mtime), "modification time")?,
        accesstime: time(header.atime, "access time")?,
        changetime: time(header.ctime, "change time")?,
        dev_major: header.major,
        dev_minor: header.minor,
        xattrs,
        ..TocEntry::default()
    };
    Ok((entry, header.payload))
}

/// The one logical header that a tar-split segment starts with, or `None` at the end of the archive. What follows the header
/// does not matter.
pub(crate) fn logical(segment: &[u8]) -> Result<Option<Header>, Refusal> {
    let mut parser = HeaderParser::new();
    let mut rest = segment;
    loop {
        let Some((piece, after)) = rest.split_at_checked(parser.wanted()) else {
            parser.may_end(rest.len())?;
            // An archive may end behind extension headers, the segment of an entry may not.
            let end = segment.iter().all(|byte| *byte == 0);
            return if end { Ok(None) } else { Err(Refusal::UnexpectedEnd("a header")) };
        };
        rest = after;
        match parser.feed(piece)? {
            Step::More => {}
            Step::End => return Ok(None),
            Step::Header(header) => return Ok(Some(*header)),
        }
    }
}

/// Go's `filepath.Clean`: the path by which two entries count as the same.
pub(crate) fn clean(name: &[u8]) -> Vec<u8> {
    let rooted = name.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join(b"/".as_slice());
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/".as_slice(), &joined].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (name, cleaned) in [
            ("a", "a"),
            ("./a", "a"),
            ("a/", "a"),
            ("a//b/./c", "a/b/c"),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("../../a", "../../a"),
            ("/../a", "/a"),
            ("a/..", "."),
            (".", "."),
            ("./", "."),
            ("/", "/"),
            ("//", "/"),
            ("a/../..", ".."),
            ("...", "..."),
        ] {
            assert_eq!(clean(name.as_bytes()), cleaned.as_bytes(), "{name}");
        }
    }
}

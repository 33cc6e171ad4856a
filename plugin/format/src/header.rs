//! Tar headers as the format's readers parse them.
//!
//! The TOC repeats what the tar headers say, and the reference reader compares the two with the parser of
//! github.com/vbatts/tar-split, a fork of Go's archive/tar. So what counts here is that parser's reading, field by
//! field. It differs from `chunked_tar`'s, which follows what an unpacker has to do: modes keep their type bits, access
//! and change times matter, numbers may be negative.

mod block;
mod pax;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::entry::TocEntry;
use crate::reason::Reason;
use crate::time::Time;

pub(crate) use block::{BLOCK, Block, parse};

/// Longest extension header (`x`, `L`, `K`) that readers accept, in bytes.
pub(crate) const MAX_EXTENSION: i64 = 1 << 20;

/// An entry's header with what its extension headers change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub typeflag: u8,
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub mode: i64,
    pub uid: i64,
    pub gid: i64,
    pub size: i64,
    pub mtime: Time,
    pub atime: Option<Time>,
    pub ctime: Option<Time>,
    pub major: i64,
    pub minor: i64,
    /// `SCHILY.xattr.` records, without that prefix.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A PAX record names a sparse format.
    pub sparse: bool,
}

/// The extension headers before an entry.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    /// Records of the last `x` header.
    pub pax: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Of `L`; empty for none.
    pub long_name: Vec<u8>,
    /// Of `K`; empty for none.
    pub long_link: Vec<u8>,
}

impl Header {
    /// Merges `extensions` and settles the type. The error says what is wrong with them.
    pub(crate) fn extend(&mut self, extensions: Extensions) -> Result<(), &'static str> {
        pax::merge(self, extensions.pax)?;
        if !extensions.long_name.is_empty() {
            self.name = extensions.long_name;
        }
        if !extensions.long_link.is_empty() {
            self.link = extensions.long_link;
        }
        if self.typeflag == 0 {
            // Archives older than POSIX mark directories by a trailing slash only.
            self.typeflag = if self.name.ends_with(b"/") { b'5' } else { b'0' };
        }
        Ok(())
    }

    /// Bytes of payload that follow, and the TOC entry without what depends on the payload; `offset` is where
    /// the headers start in the tar. The error says why the TOC cannot have this entry.
    pub(crate) fn entry(self, offset: u64) -> Result<(TocEntry, u64), Reason> {
        let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if self.name.is_empty() {
            return Err(Reason::NoName { offset });
        }
        let shown = lossy(&self.name);
        if self.sparse || self.typeflag == b'S' {
            return Err(Reason::Sparse { name: shown });
        }
        let kind = match self.typeflag {
            b'0' => "reg",
            b'1' => "hardlink",
            b'2' => "symlink",
            b'3' => "char",
            b'4' => "block",
            b'5' => "dir",
            b'6' => "fifo",
            other => return Err(Reason::Type { name: shown, typeflag: char::from(other) }),
        };
        let payload = if kind == "reg" { self.size } else { 0 };
        if payload != self.size {
            return Err(Reason::SizeWithoutPayload { name: shown, size: self.size });
        }
        let payload =
            u64::try_from(payload).map_err(|_| Reason::Header { offset, what: "the size is negative" })?;
        let text = |bytes: Vec<u8>, what| {
            String::from_utf8(bytes).map_err(|_| Reason::NotUtf8 { name: shown.clone(), what })
        };
        let time = |time: Option<Time>, what| match time {
            Some(time) if !time.is_go_zero() => {
                time.to_rfc3339().map(Some).ok_or_else(|| Reason::Time { name: shown.clone(), what })
            }
            _ => Ok(None),
        };
        let mut xattrs = BTreeMap::new();
        for (name, value) in self.xattrs {
            xattrs.insert(text(name, "extended attributes")?, STANDARD.encode(value));
        }
        let entry = TocEntry {
            kind: kind.to_owned(),
            name: text(self.name, "name")?,
            link_name: text(self.link, "link target")?,
            mode: self.mode,
            size: self.size,
            uid: self.uid,
            gid: self.gid,
            modtime: time(Some(self.mtime), "modification time")?,
            accesstime: time(self.atime, "access time")?,
            changetime: time(self.ctime, "change time")?,
            dev_major: self.major,
            dev_minor: self.minor,
            xattrs,
            ..TocEntry::default()
        };
        Ok((entry, payload))
    }
}

/// The one logical header that a tar-split segment starts with, or `None` at the end of the archive. The error says what is
/// wrong.
pub(crate) fn logical(segment: &[u8]) -> Result<Option<Header>, &'static str> {
    let mut extensions = Extensions::default();
    let mut rest = segment;
    let mut next = |len: usize| {
        let (taken, after) = rest.split_at_checked(len)?;
        rest = after;
        Some(taken)
    };
    loop {
        let Some(block) = next(BLOCK).and_then(|block| block.first_chunk()) else {
            return if segment.is_empty() { Ok(None) } else { Err("a header is cut short") };
        };
        if *block == [0; BLOCK] {
            return Ok(None);
        }
        let mut header = parse(block)?;
        let kind = header.typeflag;
        if !matches!(kind, b'x' | b'L' | b'K') {
            header.extend(extensions)?;
            return Ok(Some(header));
        }
        let size = usize::try_from(header.size).map_err(|_| "a size is negative")?;
        let padded = size.checked_next_multiple_of(BLOCK).ok_or("a size is out of range")?;
        let data =
            next(padded).and_then(|data| data.get(..size)).ok_or("an extension header is cut short")?;
        extensions.add(kind, data)?;
    }
}

impl Extensions {
    /// Keeps what the extension header of type `kind` says.
    pub(crate) fn add(&mut self, kind: u8, data: &[u8]) -> Result<(), &'static str> {
        match kind {
            b'L' => self.long_name = block::text(data).to_vec(),
            b'K' => self.long_link = block::text(data).to_vec(),
            _ => self.pax = pax::records(data)?,
        }
        Ok(())
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

//! One logical header, and what its extension headers change (Go's `Reader.next` and `mergePAX`).

use chunked_core::Timestamp;

use crate::error::Refusal;
use crate::number::{decimal, time};
use crate::pax::Records;
use crate::sparse::Map;

/// One logical header as Go's `tar.Header` has it: extension headers and sparse maps are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The type byte. NUL never comes: it is `0`, or `5` where the name ends in a slash.
    pub typeflag: u8,
    /// Name, verbatim.
    pub name: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Mode with whatever bits it has.
    pub mode: i64,
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// Size of the file in bytes, holes among them; types without payload may have any.
    pub size: i64,
    /// Modification time.
    pub mtime: Timestamp,
    /// Access time, where the archive has one.
    pub atime: Option<Timestamp>,
    /// Change time, where the archive has one.
    pub ctime: Option<Timestamp>,
    /// Major number of a device.
    pub major: i64,
    /// Minor number of a device.
    pub minor: i64,
    /// All PAX records of the `x` header, or of this `g` header itself.
    pub records: Records,
    /// Data parts of a sparse file.
    pub sparse: Option<Map>,
    /// Bytes of payload that follow in the archive.
    pub payload: u64,
}

/// The extension headers before a header. Of several of one type the last counts.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    /// Records of `x`.
    pub(crate) pax: Records,
    /// Of `L`; empty for none.
    pub(crate) long_name: Vec<u8>,
    /// Of `K`; empty for none.
    pub(crate) long_link: Vec<u8>,
}

/// Types that have no payload, whatever size they say.
pub(crate) fn header_only(typeflag: u8) -> bool {
    matches!(typeflag, b'1'..=b'6')
}

impl Header {
    /// Applies `extensions` and settles type and payload.
    pub(crate) fn extend(&mut self, extensions: Extensions) -> Result<(), Refusal> {
        self.merge(&extensions.pax)?;
        self.records = extensions.pax;
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
        self.payload = self.payload()?;
        Ok(())
    }

    /// Bytes of payload that the size means.
    pub(crate) fn payload(&self) -> Result<u64, Refusal> {
        if header_only(self.typeflag) {
            return Ok(0);
        }
        u64::try_from(self.size).map_err(|_| Refusal::Header("the size is negative"))
    }

    /// Lets `records` replace what the header says. An empty value leaves it.
    fn merge(&mut self, records: &Records) -> Result<(), Refusal> {
        let number = |key: &[u8], old: i64, what| match records.known(key) {
            Some(value) => decimal(value).ok_or(Refusal::Header(what)),
            None => Ok(old),
        };
        self.uid = number(b"uid", self.uid, "the uid in a PAX record is no number")?;
        self.gid = number(b"gid", self.gid, "the gid in a PAX record is no number")?;
        self.size = number(b"size", self.size, "the size in a PAX record is no number")?;
        let instant = |key: &[u8], what| {
            records.known(key).map(|value| time(value).ok_or(Refusal::Header(what))).transpose()
        };
        let mtime = instant(b"mtime", "the modification time in a PAX record is no time")?;
        self.mtime = mtime.unwrap_or(self.mtime);
        self.atime = instant(b"atime", "the access time in a PAX record is no time")?.or(self.atime);
        self.ctime = instant(b"ctime", "the change time in a PAX record is no time")?.or(self.ctime);
        if let Some(name) = records.known(b"path") {
            self.name = name.to_vec();
        }
        if let Some(link) = records.known(b"linkpath") {
            self.link = link.to_vec();
        }
        Ok(())
    }

    /// Makes this the entry that Go gives for a global header, with nothing but a name and `records`.
    pub(crate) fn globalize(&mut self, records: Records) -> Result<(), Refusal> {
        let name = self.name.clone();
        let merged = self.merge(&records);
        let named = !records.get(b"path").is_empty();
        if merged.is_err() && named {
            // Go applies records in random order and stops at the first that does not parse.
            return Err(Refusal::Header("a global header has a path beside a record that does not parse"));
        }
        let name = if merged.is_ok() { std::mem::take(&mut self.name) } else { name };
        let none = Timestamp::default();
        *self = Self {
            typeflag: b'g',
            name,
            records,
            link: Vec::new(),
            mtime: none,
            atime: None,
            ctime: None,
            sparse: None,
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            major: 0,
            minor: 0,
            payload: 0,
        };
        Ok(())
    }
}

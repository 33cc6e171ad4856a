//! rpm: `rpmdb.sqlite` has a table `Packages` of header blobs (RPM's "Package header format" manual page).
//!
//! Only the SQLite database, the default since rpm 4.16 of 2020, is read. Berkeley DB (`Packages`) and ndb
//! (`Packages.db`) are not: their files count as not owned, and that is said once.

#![allow(clippy::disallowed_methods, reason = "package databases of the host, which only root can write")]

use std::io;
use std::path::Path;
use std::sync::Once;

use rusqlite::{Connection, OpenFlags};

use super::Collector;

/// Where distributions keep the database; the first that exists counts.
const PLACES: [&str; 3] = ["usr/lib/sysimage/rpm", "var/lib/rpm", "usr/share/rpm"];

const FILE_STATES: u32 = 1029;
const DIR_INDEXES: u32 = 1116;
const BASE_NAMES: u32 = 1117;
const DIR_NAMES: u32 = 1118;
/// `RPMFILE_STATE_NORMAL`: it is on disk, and no other package replaced it.
const NORMAL: u8 = 0;
/// Bounds of rpm's own reader (`hdrblobRead`): entries and data of a header.
const MAX_ENTRIES: usize = 0xffff;
const MAX_BLOB: usize = 256 << 20;

pub(super) fn read(system: &Path, collector: &mut Collector<'_>) -> io::Result<bool> {
    for place in PLACES {
        let directory = system.join(place);
        let database = directory.join("rpmdb.sqlite");
        if database.exists() {
            return read_database(&database, collector).map_err(io::Error::other).map(|()| true);
        }
        for old in ["Packages.db", "Packages"] {
            if directory.join(old).exists() {
                static SAID: Once = Once::new();
                SAID.call_once(|| {
                    tracing::warn!(
                        database = %directory.join(old).display(),
                        "this format of rpm's database is not supported, only rpmdb.sqlite is: its files count as not owned"
                    );
                });
                return Ok(false);
            }
        }
    }
    Ok(false)
}

/// Opened as immutable: nothing is created beside it, no lock taken. Should rpm write to it meanwhile, this pass
/// gets an error or an older state, and the next one the rest.
fn read_database(path: &Path, collector: &mut Collector<'_>) -> rusqlite::Result<()> {
    let mut name = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        // RFC 3986: what a path in a URI may hold as it is.
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(byte) {
            name.push(char::from(*byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name.push_str("?immutable=1");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(name, flags)?;
    let mut statement = database.prepare("SELECT blob FROM Packages")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let blob = row.get_ref(0)?.as_blob()?;
        if files(blob, |path| collector.add(path)).is_none() {
            tracing::debug!("a package's header is malformed: its files count as not owned");
        }
    }
    Ok(())
}

/// The parts of a header: index entries of 16 bytes (tag, type, offset, count), then data, all big-endian.
struct Header<'a> {
    entries: &'a [u8],
    data: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(blob: &'a [u8]) -> Option<Self> {
        let entries = usize::try_from(number(blob, 0)?).ok()?;
        let length = usize::try_from(number(blob, 4)?).ok()?;
        if entries > MAX_ENTRIES || blob.len() > MAX_BLOB {
            return None;
        }
        let (entries, rest) = blob.get(8..)?.split_at_checked(entries * 16)?;
        Some(Self { entries, data: rest.get(..length)? })
    }

    /// Where the data of `tag` begins, and how many values it has.
    fn tag(&self, tag: u32) -> Option<(&'a [u8], usize)> {
        let entry = self.entries.chunks_exact(16).find(|entry| number(entry, 0) == Some(tag))?;
        let offset = usize::try_from(number(entry, 8)?).ok()?;
        let count = usize::try_from(number(entry, 12)?).ok()?;
        Some((self.data.get(offset..)?, count))
    }

    fn strings(&self, tag: u32) -> Option<Vec<&'a [u8]>> {
        let (data, count) = self.tag(tag)?;
        // Each has at least its closing zero, so the count is bounded by the data.
        let strings: Vec<_> = data.split(|b| *b == 0).take(count.min(data.len())).collect();
        (strings.len() == count).then_some(strings)
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Calls `add` for each file of a package that is on disk; `None` for a header that contradicts itself.
fn files(blob: &[u8], mut add: impl FnMut(&[u8])) -> Option<()> {
    let header = Header::parse(blob)?;
    let Some(names) = header.strings(BASE_NAMES) else {
        // A package without files.
        return Some(());
    };
    let directories = header.strings(DIR_NAMES)?;
    let (indexes, count) = header.tag(DIR_INDEXES)?;
    if count != names.len() {
        return None;
    }
    let states = match header.tag(FILE_STATES) {
        Some((states, count)) if count == names.len() => Some(states.get(..count)?),
        Some(_) => return None,
        None => None,
    };
    for (at, name) in names.iter().enumerate() {
        if states.is_some_and(|states| states.get(at) != Some(&NORMAL)) {
            continue;
        }
        let directory = usize::try_from(number(indexes, at.checked_mul(4)?)?).ok()?;
        add(&[directories.get(directory)?, *name].concat());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(tags: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
        let (mut entries, mut data) = (Vec::new(), Vec::<u8>::new());
        for (tag, count, bytes) in tags {
            for value in [*tag, 0, u32::try_from(data.len()).unwrap(), *count] {
                entries.extend(value.to_be_bytes());
            }
            data.extend(bytes);
        }
        let mut blob = u32::try_from(tags.len()).unwrap().to_be_bytes().to_vec();
        blob.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        blob.extend(entries);
        blob.extend(data);
        blob
    }

    fn listed(blob: &[u8]) -> Option<Vec<String>> {
        let mut found = Vec::new();
        files(blob, |path| found.push(String::from_utf8_lossy(path).into_owned()))?;
        Some(found)
    }

    #[test]
    fn files_of_a_header() {
        let names = (BASE_NAMES, 3, b"a\0b\0c\0".to_vec());
        let dirs = (DIR_NAMES, 2, b"/usr/bin/\0/usr/lib/\0".to_vec());
        let indexes = (DIR_INDEXES, 3, [0u32, 1, 1].iter().flat_map(|n| n.to_be_bytes()).collect::<Vec<_>>());
        let blob = header(&[names.clone(), dirs.clone(), indexes.clone(), (FILE_STATES, 3, vec![0, 1, 0])]);
        assert_eq!(
            listed(&blob).unwrap(),
            ["/usr/bin/a", "/usr/lib/c"],
            "a replaced file is not this package's"
        );
        assert_eq!(listed(&header(&[names.clone(), dirs.clone(), indexes.clone()])).unwrap().len(), 3);
        assert_eq!(listed(&header(&[])).unwrap(), Vec::<String>::new());
        assert!(listed(&header(&[names.clone(), dirs.clone()])).is_none());
        assert!(listed(&header(&[names.clone(), dirs, (DIR_INDEXES, 3, vec![0xff; 12])])).is_none());
        assert!(listed(&header(&[(BASE_NAMES, u32::MAX, b"a\0".to_vec())])).unwrap().is_empty());
        assert!(listed(&blob[..40]).is_none());
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(blob in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = listed(&blob);
        }

        #[test]
        fn no_flipped_byte_makes_it_panic(at in 0usize..120, with in any::<u8>()) {
            let mut blob = header(&[
                (BASE_NAMES, 2, b"a\0b\0".to_vec()),
                (DIR_NAMES, 1, b"/usr/\0".to_vec()),
                (DIR_INDEXES, 2, vec![0; 8]),
            ]);
            if let Some(byte) = blob.get_mut(at) {
                *byte ^= with;
            }
            let _ = listed(&blob);
        }
    }
}

//! Owner, mode and times of an entry, by the rules of containerd's unpack. Pure: no I/O.

use chunked_core::{Entry, Timestamp};
use chunked_linux::{Metadata, Times};

/// Latest time containerd's unpack sets: what fits 64 bits of nanoseconds (pkg/archive/time.go).
const LATEST: Timestamp = Timestamp { seconds: i64::MAX / 1_000_000_000, nanos: 854_775_807 };
/// Seconds from the year 1, where Go's time starts, to 1970.
const GO_EPOCH: i64 = 62_135_596_800;

/// Metadata as containerd's unpack sets it: the access time is the later of the two, and times before 1970 or
/// after 2262 are 1970.
pub(crate) fn metadata(entry: &Entry) -> Metadata {
    let bound = |t: Timestamp| if t.seconds >= 0 && t <= LATEST { t } else { Timestamp::default() };
    // Go counts from the year 1, and the sum may wrap.
    let order = |t: &Timestamp| (t.seconds.wrapping_add(GO_EPOCH), t.nanos);
    let access = entry.atime.map_or(entry.mtime, |atime| std::cmp::max_by_key(atime, entry.mtime, order));
    let times = Times { access: bound(access), modification: bound(entry.mtime) };
    Metadata { mode: entry.mode, uid: entry.uid, gid: entry.gid, times }
}

/// Metadata of an inode that had `before` and gets that of `entry`. An owner of -1, the highest number, changes nothing
/// (chown(2)).
pub(crate) fn changed(before: Option<&Metadata>, entry: &Entry) -> Metadata {
    let mut meta = metadata(entry);
    if let Some(before) = before {
        keep_owner(&mut meta, before);
    }
    meta
}

/// Replaces an owner or group of -1 in `meta` by that of `before`.
pub(crate) fn keep_owner(meta: &mut Metadata, before: &Metadata) {
    if meta.uid == u32::MAX {
        meta.uid = before.uid;
    }
    if meta.gid == u32::MAX {
        meta.gid = before.gid;
    }
}

#[cfg(test)]
mod tests {
    use chunked_core::Kind;

    use super::*;

    fn at(seconds: i64, nanos: u32) -> Timestamp {
        Timestamp { seconds, nanos }
    }

    fn entry(uid: u32, mtime: Timestamp, atime: Option<Timestamp>) -> Entry {
        let (path, xattrs) = (b"f".to_vec(), Vec::new());
        Entry { path, kind: Kind::Fifo, mode: 0o644, uid, gid: 7, mtime, atime, xattrs }
    }

    #[test]
    fn times_are_bounded_as_in_containerd() {
        let (zero, last) = (at(0, 0), at(9_223_372_036, 854_775_807));
        for (mtime, atime, expected) in [
            (at(5, 6), None, (at(5, 6), at(5, 6))),
            (at(5, 6), Some(at(4, 0)), (at(5, 6), at(5, 6))),
            (at(5, 6), Some(at(5, 7)), (at(5, 7), at(5, 6))),
            (at(-1, 999_999_999), None, (zero, zero)),
            (at(5, 0), Some(at(-1, 0)), (at(5, 0), at(5, 0))),
            (last, None, (last, last)),
            (at(9_223_372_036, 854_775_808), None, (zero, zero)),
            (at(5, 0), Some(at(9_223_372_037, 0)), (zero, at(5, 0))),
            // Go's time wraps: it takes this for long before 1970.
            (at(5, 0), Some(at(i64::MAX, 0)), (at(5, 0), at(5, 0))),
        ] {
            let times = metadata(&entry(0, mtime, atime)).times;
            assert_eq!((times.access, times.modification), expected, "{mtime:?} {atime:?}");
        }
    }

    #[test]
    fn an_owner_of_minus_one_stays() {
        let first = metadata(&entry(5, at(0, 0), None));
        assert_eq!(changed(Some(&first), &entry(u32::MAX, at(0, 0), None)).uid, 5);
        assert_eq!(changed(Some(&first), &entry(6, at(0, 0), None)).uid, 6);
        assert_eq!(changed(None, &entry(u32::MAX, at(0, 0), None)).uid, u32::MAX);
    }
}

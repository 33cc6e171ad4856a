//! Owner, mode and times of an entry, by the rules of containerd's unpack. Pure: no I/O.

use chunked_core::{Entry, Timestamp};
use chunked_linux::{Metadata, Times};

/// Latest time containerd's unpack sets, in seconds: what fits 64 bits of nanoseconds.
const LATEST: i64 = i64::MAX / 1_000_000_000;

/// Metadata as containerd's unpack sets it: the access time is the later of the two, and times before 1970 or
/// after 2262 are 1970.
pub(crate) fn metadata(entry: &Entry) -> Metadata {
    let bound = |t: Timestamp| if (0..LATEST).contains(&t.seconds) { t } else { Timestamp::default() };
    let access = entry.atime.map_or(entry.mtime, |atime| atime.max(entry.mtime));
    let times = Times { access: bound(access), modification: bound(entry.mtime) };
    Metadata { mode: entry.mode, uid: entry.uid, gid: entry.gid, times }
}

//! What tells one state of a file from another.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use rustix::fs::Stat;

/// A file that changed this recently may change again without its times showing it: the kernel's clock for them
/// ticks every few milliseconds, some filesystems' only every two seconds.
const SETTLED: Duration = Duration::from_secs(3);

/// Inode, length and times of a file. Times are nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
}

fn nanoseconds(seconds: i64, part: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(part)
}

impl From<&Metadata> for Stamp {
    fn from(meta: &Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.size(),
            ctime: nanoseconds(meta.ctime(), meta.ctime_nsec()),
            mtime: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        }
    }
}

impl From<&Stat> for Stamp {
    #[allow(
        clippy::useless_conversion,
        clippy::unnecessary_cast,
        clippy::cast_possible_wrap,
        reason = "widths differ between machines"
    )]
    fn from(stat: &Stat) -> Self {
        Self {
            inode: u64::from(stat.st_ino),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            ctime: nanoseconds(i64::from(stat.st_ctime), stat.st_ctime_nsec as i64),
            mtime: nanoseconds(i64::from(stat.st_mtime), stat.st_mtime_nsec as i64),
        }
    }
}

impl Stamp {
    /// False when the file changed so recently that its next state could have the same stamp.
    pub(crate) fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let limit = now.saturating_sub(SETTLED).as_nanos();
        // A time in the future says nothing about the past, and is taken as it is.
        let ctime = u128::try_from(self.ctime).unwrap_or(0);
        ctime < limit || ctime > now.as_nanos()
    }
}

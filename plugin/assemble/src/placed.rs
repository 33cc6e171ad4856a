//! From an entry that has its place to the job that makes it.

use std::sync::Arc;

use chunked_core::{Digest, Entry, Kind, Sparse, Timestamp};
use chunked_linux::{Dir, Metadata, NodeType, Times};

use crate::content::Content;
use crate::job::{At, Job, What};

/// An entry that has its place: nothing is in the way and its directory exists.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) dir: Arc<Dir>,
    pub(crate) path: Vec<u8>,
    pub(crate) whiteout: bool,
}

impl Placed {
    pub(crate) fn job(self, entry: Entry, content: Content, digest: Option<Digest>) -> Job {
        let meta = metadata(&entry);
        let what = if self.whiteout { What::Whiteout } else { what(entry.kind, content, digest) };
        Job { place: At::In(self.dir), path: self.path, meta, xattrs: entry.xattrs, what }
    }
}

fn what(kind: Kind, content: Content, digest: Option<Digest>) -> What {
    let node = |kind, major, minor| What::Node { kind, major, minor };
    match kind {
        Kind::File { size, sparse } => file(size, sparse, content, digest),
        Kind::Symlink(target) => What::Symlink(target),
        Kind::CharDevice { major, minor } => node(NodeType::Char, major, minor),
        Kind::BlockDevice { major, minor } => node(NodeType::Block, major, minor),
        // Directories and hard links never come here: `Place` keeps them.
        Kind::Fifo | Kind::Directory | Kind::HardLink(_) => node(NodeType::Fifo, 0, 0),
    }
}

fn file(size: u64, sparse: Option<Sparse>, content: Content, digest: Option<Digest>) -> What {
    What::File { content, size, digest, sparse }
}

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

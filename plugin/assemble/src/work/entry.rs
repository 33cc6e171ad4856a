//! From an entry that has its place to the job that makes it.

use std::sync::Arc;

use chunked_core::{Digest, Entry, Kind, Sparse};
use chunked_linux::{Dir, NodeType};

use crate::source::content::Content;
use crate::tree::metadata::metadata;
use crate::work::job::{At, Job, What};

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
        // Directories, hard links and global headers never come here: `Staging` keeps them.
        Kind::Fifo | Kind::Directory | Kind::HardLink(_) | Kind::GlobalHeader => node(NodeType::Fifo, 0, 0),
    }
}

fn file(size: u64, sparse: Option<Sparse>, content: Content, digest: Option<Digest>) -> What {
    What::File { content, size, digest, sparse }
}

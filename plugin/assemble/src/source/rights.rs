//! How far one file may depend on another, and who says which inodes an image may have.

use std::fmt;
use std::sync::Arc;

use crate::work::layer::Inode;

/// How far a new file may depend on the one that its bytes are read from.
#[derive(Debug, Clone)]
pub enum Rights {
    /// Not at all: somebody may be writing to that, or put another in its place.
    Read,
    /// It may share its blocks: nobody writes to it any more.
    Share,
    /// It may be the same inode: it is immutable, and for ever. The image's links say whether this inode is free.
    Link(Arc<dyn Links>),
}

impl Rights {
    /// May blocks be shared?
    pub fn may_share(&self) -> bool {
        !matches!(self, Self::Read)
    }
}

/// The inodes of other layers that an image's layers are linked to. No two files of an image may become one that the
/// image did not ask for, because the merged tree would show one file with two names.
pub trait Links: fmt::Debug + Send + Sync {
    /// Claims `inode`, which has `names` names by now. `false` when a file of the image has it already, or may have it.
    fn claim(&self, inode: Inode, names: u64) -> bool;

    /// Gives back an inode that was claimed, because no link to it was made.
    fn release(&self, inode: Inode);
}

//! The one place where a file of the layer comes to depend on another one: by its inode or by its blocks.
//!
//! **The rule of the shared inode.** A hard link to another layer's file is only made where nothing could tell the
//! difference: owner, mode, modification time and every extended attribute are equal. Such an inode is *borrowed*
//! (`work::layer`) from then on, and never written: an entry that would change it gets a copy of its own first
//! (`staging`). Which inode an image may have at all is [`Links`]' to say, for all its layers together.

use std::fmt;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use chunked_core::Xattr;

use crate::error::AssembleError;
use crate::source::file::NewFile;
use crate::tree::inode::same_xattrs;
use crate::work::layer::Inode;

/// Files up to this many bytes that were just written are copied: sharing their blocks would wait for the disk.
const SMALL: u64 = 1 << 20;

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

/// Makes `file` by sharing with `donor`, which is open and has the status `meta`, as far as `rights` go. `fresh`: the
/// donor was just written. `false`: nothing can be shared, and nothing was made.
pub(crate) fn share(
    file: &NewFile,
    rights: &Rights,
    donor: &File,
    meta: &Metadata,
    fresh: bool,
) -> Result<bool, AssembleError> {
    let (target, len) = (&file.target, meta.len());
    let layer = &target.layer;
    if rights.may_share() && layer.reflinks {
        if fresh && len <= SMALL {
            return Ok(false);
        }
        if let Some(made) = target.reflink(donor)? {
            target.finish(&made)?;
            if !fresh {
                layer.shares(target.node, len, false);
            }
            return Ok(true);
        }
    }
    let Rights::Link(links) = rights else { return Ok(false) };
    let inode = Inode::of(meta);
    if !same_metadata(&target.meta, &target.xattrs, donor, meta) || !links.claim(inode, meta.nlink()) {
        return Ok(false);
    }
    if !target.link(donor, inode) {
        links.release(inode);
        return Ok(false);
    }
    layer.shares(target.node, len, true);
    Ok(true)
}

/// Would a link to `donor`, which is open and has the status `meta`, look like the file that `wanted` and `xattrs`
/// describe?
pub(crate) fn same_metadata(
    wanted: &chunked_linux::Metadata,
    xattrs: &[Xattr],
    donor: &File,
    meta: &Metadata,
) -> bool {
    let mtime = wanted.times.modification;
    meta.mode() & 0o7777 == wanted.mode
        && (meta.uid(), meta.gid()) == (wanted.uid, wanted.gid)
        && (meta.mtime(), meta.mtime_nsec()) == (mtime.seconds, i64::from(mtime.nanos))
        && chunked_linux::xattrs(donor).is_ok_and(|have| same_xattrs(xattrs, &have))
}

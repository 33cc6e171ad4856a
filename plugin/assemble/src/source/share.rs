//! The one place where a file of the layer comes to depend on another one: by its inode or by its blocks.
//!
//! **The rule of the shared inode.** A hard link to another layer's file is only made where nothing could tell the
//! difference: owner, mode, modification time and every extended attribute are equal. Such an inode is *borrowed*
//! (`work::layer`) from then on, and never written: an entry that would change it gets a copy of its own first
//! (`staging`). Which inode an image may have at all is `rights::Links`' to say, for all its layers together.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;

use chunked_core::Xattr;

use crate::error::AssembleError;
use crate::source::file::NewFile;
use crate::source::rights::Rights;
use crate::tree::inode::same_xattrs;
use crate::work::layer::Inode;

/// Files up to this many bytes that were just written are copied: sharing their blocks would wait for the disk.
const SMALL: u64 = 1 << 20;

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

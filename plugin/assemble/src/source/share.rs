//! The one place where a file of the layer comes to depend on another one: by its inode or by its blocks.
//!
//! **The rule of the shared inode.** A hard link to another layer's file is only made where nothing could tell the
//! difference: owner, mode, modification time and every extended attribute are equal. Such an inode is *borrowed*
//! (`work::layer`) from then on, and never written: an entry that would change it gets a copy of its own first
//! (`staging`). Which inode an image may have at all is `rights::Links`' to say, for all its layers together.
//!
//! **A link comes first**, on every filesystem: it costs less than half of a reflink, and all containers share one page
//! cache for the file. Where it cannot be made (other metadata, an inode the image has already, no more names for
//! it), blocks are shared.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;

use chunked_core::Xattr;

use crate::error::AssembleError;
use crate::source::file::NewFile;
use crate::source::rights::{Links, Rights};
use crate::tree::inode::same_xattrs;
use crate::tree::model::NodeId;
use crate::work::layer::{Inode, Layer};

/// Files up to this many bytes that were just written are copied: sharing their blocks would wait for the disk.
const SMALL: u64 = 1 << 20;

/// A donor's inode, claimed for a file of the image. Given back when dropped, unless a link to it was made.
pub(crate) struct Claim<'a> {
    links: &'a dyn Links,
    inode: Inode,
    len: u64,
    linked: bool,
}

impl<'a> Claim<'a> {
    /// Claims the inode that has the status `meta` for a file that is to be `wanted`, if `rights` allow it and owner, mode
    /// and time are the same. Makes no system call.
    pub(crate) fn of(rights: &'a Rights, wanted: &chunked_linux::Metadata, meta: &Metadata) -> Option<Self> {
        let Rights::Link(links) = rights else { return None };
        let inode = Inode::of(meta);
        let claimed = meta.is_file() && same_status(wanted, meta) && links.claim(inode, meta.nlink());
        claimed.then(|| Self { links: &**links, inode, len: meta.len(), linked: false })
    }

    /// Makes `node` of `layer` a link to `donor`, which is open and is what was claimed, by calling `link`, if it has
    /// exactly these `xattrs`. `false`: it has others, or no link could be made, as when it has all the names that an inode
    /// can have; there is nothing then.
    pub(crate) fn link(
        mut self,
        layer: &Layer,
        node: NodeId,
        xattrs: &[Xattr],
        donor: &File,
        link: impl FnOnce() -> io::Result<bool>,
    ) -> io::Result<bool> {
        if !chunked_linux::xattrs(donor).is_ok_and(|have| same_xattrs(xattrs, &have)) {
            return Ok(false);
        }
        // Before it is in the tree, so that there is no moment in which it is taken for our own.
        layer.borrow(self.inode);
        self.linked = link()?;
        if self.linked {
            layer.shares(node, self.len, true);
        }
        Ok(self.linked)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.linked {
            self.links.release(self.inode);
        }
    }
}

/// Makes `file` by sharing with `donor`, which is open and `len` bytes long, as far as `rights` go: its inode, if that was
/// claimed, or its blocks. `fresh`: the donor was just written. `false`: nothing can be shared, and nothing was made.
pub(crate) fn share(
    file: &NewFile,
    rights: &Rights,
    claim: Option<Claim<'_>>,
    donor: &File,
    len: u64,
    fresh: bool,
) -> Result<bool, AssembleError> {
    let target = &file.target;
    let layer = &target.layer;
    if let Some(claim) = claim {
        let link = || Ok(target.link(donor));
        let linked = claim.link(layer, target.node, &target.xattrs, donor, link);
        if linked.map_err(target.io("linking the donor"))? {
            return Ok(true);
        }
    }
    if !rights.may_share() || !layer.reflinks || (fresh && len <= SMALL) {
        return Ok(false);
    }
    let Some(made) = target.reflink(donor)? else { return Ok(false) };
    target.finish(&made)?;
    if !fresh {
        layer.shares(target.node, len, false);
    }
    Ok(true)
}

/// Would a link to a file with the status `meta` look like the `wanted` one, its attributes aside?
fn same_status(wanted: &chunked_linux::Metadata, meta: &Metadata) -> bool {
    let mtime = wanted.times.modification;
    meta.mode() & 0o7777 == wanted.mode
        && (meta.uid(), meta.gid()) == (wanted.uid, wanted.gid)
        && (meta.mtime(), meta.mtime_nsec()) == (mtime.seconds, i64::from(mtime.nanos))
}

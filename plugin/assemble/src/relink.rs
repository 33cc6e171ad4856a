//! The final metadata of an inode with several names, as its link entries leave it.
//!
//! An inode that belongs to another layer, too, is never written: if anything would change, a copy takes its place. If
//! nothing would, no call is made: even a chown(2) to the same owner takes setuid bits and capabilities away.

use std::fs::File;
use std::os::unix::fs::MetadataExt;

use chunked_core::{Timestamp, Xattr};
use chunked_linux::{Dir, Metadata, Times, clone_file, copy_sparse, set_fd_metadata};

use crate::tree::inode::{Relinked, same_xattrs};
use crate::tree::metadata::keep_owner;
use crate::tree::model::NodeId;
use crate::work::layer::{Inode, Layer};
use crate::work::target::passing_name;

/// An inode that link entries lead to.
pub(crate) struct LinkedInode<'a> {
    pub(crate) layer: &'a Layer,
    pub(crate) node: NodeId,
    /// Where it lies.
    pub(crate) dir: &'a Dir,
    pub(crate) name: &'a [u8],
}

impl LinkedInode<'_> {
    /// A regular file.
    pub(crate) fn file(&self, relinked: &Relinked) -> std::io::Result<()> {
        let file = self.dir.open_file(self.name)?;
        let (have, own) = (file.metadata()?, chunked_linux::xattrs(&file)?);
        let borrowed = self.layer.is_borrowed(Inode::of(&have));
        let mut now = metadata(&have);
        let (mut wanted, xattrs) = (relinked.meta, relinked.xattrs(&own));
        keep_owner(&mut wanted, &now);
        if borrowed {
            // Reading changes it, and equal files may differ in it.
            now.times.access = wanted.times.access;
        }
        if now == wanted && same_xattrs(&xattrs, &own) {
            return Ok(());
        }
        if borrowed {
            return self.own_copy(&file, &wanted, &xattrs);
        }
        set_fd_metadata(&file, &wanted, &xattrs, None)
    }

    /// Puts a copy of `shared` in its place, which belongs to this layer alone.
    fn own_copy(&self, shared: &File, wanted: &Metadata, xattrs: &[Xattr]) -> std::io::Result<()> {
        let passing = passing_name();
        let made = self.dir.create_file(&passing, wanted.mode).and_then(|copy| {
            if !clone_file(&copy, shared)? {
                let wanted = || self.layer.is_wanted();
                copy_sparse(&copy, shared, shared.metadata()?.len(), &wanted)?;
            }
            set_fd_metadata(&copy, wanted, xattrs, Some((wanted.mode, 0, 0)))?;
            self.dir.rename(&passing, self.name)
        });
        if made.is_err() {
            self.dir.remove_all(&passing)?;
        }
        self.layer.shares_no_more(self.node);
        made
    }

    /// A symlink, device or FIFO: always our own.
    pub(crate) fn special(&self, relinked: &Relinked, symlink: bool) -> std::io::Result<()> {
        let xattrs = relinked.xattrs(&[]);
        self.dir.set_node_metadata(self.name, &relinked.meta, &xattrs, symlink)
    }
}

fn metadata(meta: &std::fs::Metadata) -> Metadata {
    let time = |seconds, nanos: i64| Timestamp { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
    Metadata {
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        times: Times {
            access: time(meta.atime(), meta.atime_nsec()),
            modification: time(meta.mtime(), meta.mtime_nsec()),
        },
    }
}

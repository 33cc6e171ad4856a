//! A second directory of a layer, for another context: directories are made again, everything else is a
//! hard link.
//!
//! Hard links are safe here: both trees are only ever lower directories, so nobody writes through either
//! name.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chunked_core::Digest;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

use crate::error::{StoreError, at};
use crate::layer::LayerPin;
use crate::rows::LayerRow;
use crate::staging::Staging;
use crate::store::{Inner, now};
use crate::usage::Usage;
use crate::{list, marker, publish};

const XATTR_MAX: usize = 64 * 1024;

/// Clones the layer of `row`, lets `settle` set the implied directories, and publishes the clone with this
/// context.
pub(crate) fn create(
    inner: &Arc<Inner>,
    row: &LayerRow,
    settle: impl FnOnce(&Path) -> Result<(), StoreError>,
    context: &Digest,
) -> Result<LayerPin, StoreError> {
    let staging = Staging::new(inner)?;
    let from = inner.layout.fs(row.id);
    let directories = clone_tree(&from, staging.fs())?;
    settle(staging.fs())?;
    let shared = Usage { bytes: row.bytes, inodes: row.inodes }.without(directories);
    let twin = LayerRow {
        id: staging.id(),
        context: Some(context.as_bytes().to_vec()),
        created: now(),
        shared,
        ..row.clone()
    };
    marker::write(staging.dir(), &twin)?;
    let (list, copy) = (inner.layout.snapshot(row.id).join(list::NAME), staging.dir().join(list::NAME));
    std::fs::copy(&list, &copy).map_err(at("copy", &list))?;
    tracing::info!(layer = row.id, twin = twin.id, diff_id = %row.diff_id, "layer cloned for other parents");
    let pin = publish::commit_twin(inner, staging, &twin)?;
    inner.index.take_in(&inner.layout, twin.id);
    Ok(pin)
}

/// Clones what is below `from` into the empty directory `to`, and `from`'s own metadata onto it. Gives what the
/// clone does not share: its directories.
fn clone_tree(from: &Path, to: &Path) -> Result<Usage, StoreError> {
    let mut made: Vec<(PathBuf, PathBuf, Metadata)> = Vec::new();
    let meta = from.symlink_metadata().map_err(at("read", from))?;
    let mut pending = vec![(from.to_owned(), to.to_owned(), meta)];
    while let Some((from, to, meta)) = pending.pop() {
        for entry in std::fs::read_dir(&from).map_err(at("list", &from))? {
            let entry = entry.map_err(at("list", &from))?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            if entry.file_type().map_err(at("read", &source))?.is_dir() {
                let meta = entry.metadata().map_err(at("read", &source))?;
                std::fs::create_dir(&target).map_err(at("create", &target))?;
                pending.push((source, target, meta));
            } else {
                std::fs::hard_link(&source, &target).map_err(at("link", &target))?;
            }
        }
        made.push((from, to, meta));
    }
    // Last, because filling a directory changes its times.
    made.iter().try_for_each(|(from, to, meta)| copy_metadata(from, to, meta))?;
    let bytes = made.iter().map(|(_, _, meta)| meta.blocks() * 512).sum();
    Ok(Usage { bytes, inodes: made.len() as u64 })
}

fn copy_metadata(from: &Path, to: &Path, meta: &Metadata) -> Result<(), StoreError> {
    std::os::unix::fs::lchown(to, Some(meta.uid()), Some(meta.gid())).map_err(at("set owner of", to))?;
    let mode = std::fs::Permissions::from_mode(meta.mode() & 0o7777);
    std::fs::set_permissions(to, mode).map_err(at("set mode of", to))?;
    copy_xattrs(from, to).map_err(at("copy xattrs to", to))?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: meta.atime(), tv_nsec: meta.atime_nsec() },
        last_modification: Timespec { tv_sec: meta.mtime(), tv_nsec: meta.mtime_nsec() },
    };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).map_err(at("set times of", to))
}

fn copy_xattrs(from: &Path, to: &Path) -> Result<(), Errno> {
    let mut list = vec![0; XATTR_MAX];
    let len = match rustix::fs::llistxattr(from, list.as_mut_slice()) {
        Ok(len) => len,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error),
    };
    list.truncate(len);
    for name in list.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; XATTR_MAX];
        let len = rustix::fs::lgetxattr(from, name, value.as_mut_slice())?;
        value.truncate(len);
        rustix::fs::lsetxattr(to, name, &value, XattrFlags::empty())?;
    }
    Ok(())
}

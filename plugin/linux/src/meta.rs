//! Owner, mode, times and extended attributes.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;

use chunked_core::{Timestamp, Xattr};
use rustix::fs::{self, AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::{Dir, Result};

/// Access and modification time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Access time.
    pub access: Timestamp,
    /// Modification time.
    pub modification: Timestamp,
}

/// Owner, permission bits and times of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// Permission bits with setuid, setgid, sticky.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Times.
    pub times: Times,
}

impl Times {
    fn to_kernel(self) -> Timestamps {
        let time = |t: Timestamp| Timespec { tv_sec: t.seconds, tv_nsec: i64::from(t.nanos) };
        Timestamps { last_access: time(self.access), last_modification: time(self.modification) }
    }
}

/// Sets owner, extended attributes, mode and times of an open file or directory, in the order that keeps
/// capabilities and setuid bits (chown clears both). `created` says with which owner and mode the node is
/// already there, so that calls that would change nothing are left out.
pub fn set_fd_metadata(
    fd: impl AsFd,
    wanted: &Metadata,
    xattrs: &[Xattr],
    created: Option<(u32, u32, u32)>,
) -> Result<()> {
    let fd = fd.as_fd();
    let owned = created.is_some_and(|(_, uid, gid)| (uid, gid) == (wanted.uid, wanted.gid));
    if !owned {
        fs::fchown(fd, Some(Uid::from_raw(wanted.uid)), Some(Gid::from_raw(wanted.gid)))?;
    }
    for xattr in xattrs {
        set_xattr_fd(fd, xattr)?;
    }
    // After chown, because it clears setuid and setgid.
    let mode_kept =
        created.is_some_and(|(mode, _, _)| mode == wanted.mode) && (owned || wanted.mode & 0o6000 == 0);
    if !mode_kept {
        fs::fchmod(fd, Mode::from_raw_mode(wanted.mode))?;
    }
    Ok(fs::futimens(fd, &wanted.times.to_kernel())?)
}

/// Sets one extended attribute of an open file or directory. As containerd does: `trusted.*` is ignored (an
/// image must not speak to overlayfs), and so is an attribute the filesystem does not support.
pub fn set_xattr_fd(fd: impl AsFd, xattr: &Xattr) -> Result<()> {
    if xattr.name.starts_with(b"trusted.") {
        return Ok(());
    }
    let result = fs::fsetxattr(fd, OsStr::from_bytes(&xattr.name), &xattr.value, XattrFlags::empty());
    tolerate(result, false)
}

/// ENOTSUP is no failure; nor is EPERM for `user.*` on what is neither file nor directory.
fn tolerate(result: rustix::io::Result<()>, user_on_special: bool) -> Result<()> {
    match result {
        Err(rustix::io::Errno::NOTSUP) => Ok(()),
        Err(rustix::io::Errno::PERM) if user_on_special => Ok(()),
        other => other.map_err(io::Error::from),
    }
}

impl Dir {
    /// Marks this directory opaque for overlayfs (kernel documentation, "whiteouts and opaque directories").
    pub fn set_opaque(&self) -> Result<()> {
        Ok(fs::fsetxattr(self.as_fd(), "trusted.overlay.opaque", b"y", XattrFlags::empty())?)
    }

    /// Sets owner, extended attributes, mode and times of `name`, which is a symlink, device or FIFO.
    /// Symlinks have no mode.
    pub fn set_node_metadata(
        &self,
        name: &[u8],
        wanted: &Metadata,
        xattrs: &[Xattr],
        symlink: bool,
    ) -> Result<()> {
        self.chown(name, wanted.uid, wanted.gid)?;
        let component = self.name(name)?;
        for xattr in xattrs.iter().filter(|x| !x.name.starts_with(b"trusted.")) {
            // There is no setxattrat before Linux 6.13: the way over our own descriptor's /proc entry names the
            // same directory, and the last component is not followed.
            let path = format!("/proc/self/fd/{}/", self.as_fd().as_raw_fd());
            let mut path = path.into_bytes();
            path.extend_from_slice(component.as_bytes());
            let result = fs::lsetxattr(
                OsStr::from_bytes(&path),
                OsStr::from_bytes(&xattr.name),
                &xattr.value,
                XattrFlags::empty(),
            );
            tolerate(result, xattr.name.starts_with(b"user."))?;
        }
        if !symlink {
            fs::chmodat(self.as_fd(), component, Mode::from_raw_mode(wanted.mode), AtFlags::empty())?;
        }
        self.set_times(name, wanted.times)
    }

    /// Sets the owner of `name`, not following a symlink.
    pub fn chown(&self, name: &[u8], uid: u32, gid: u32) -> Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(fs::chownat(self.as_fd(), self.name(name)?, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets the times of `name`, not following a symlink.
    pub fn set_times(&self, name: &[u8], times: Times) -> Result<()> {
        Ok(fs::utimensat(self.as_fd(), self.name(name)?, &times.to_kernel(), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

/// True when the regular file at `path` beneath `root` has extended attributes, or might have.
pub fn has_xattrs(root: &Dir, path: &[u8]) -> bool {
    let Ok(file) = root.open_file(path) else { return true };
    let mut names = [0u8; 1];
    // ERANGE, too, means that there is at least one.
    !matches!(fs::flistxattr(&file, &mut names), Ok(0))
}

/// Clears the process's umask, so that files and directories are created with the modes they are to have.
pub fn clear_umask() {
    rustix::process::umask(Mode::empty());
}

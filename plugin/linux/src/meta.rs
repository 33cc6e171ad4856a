//! Owner, mode and times, set; and with them the attributes that an image gives.

use std::os::fd::AsFd;

use chunked_core::{Timestamp, Xattr};
use rustix::fs::{self, AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid};

use crate::xattr::{copy_xattrs, set_xattr_fd};
use crate::{Dir, Result, umask};

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
    /// Owner; [`u32::MAX`] leaves the owner as it is, like chown(2).
    pub uid: u32,
    /// Group; [`u32::MAX`] leaves the group as it is.
    pub gid: u32,
    /// Times.
    pub times: Times,
}

impl From<&Stat> for Metadata {
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "widths differ between machines")]
    fn from(stat: &Stat) -> Self {
        let time = |seconds, nanos: i64| Timestamp { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
        Self {
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            times: Times {
                access: time(i64::from(stat.st_atime), stat.st_atime_nsec as i64),
                modification: time(i64::from(stat.st_mtime), stat.st_mtime_nsec as i64),
            },
        }
    }
}

impl Times {
    fn to_kernel(self) -> Timestamps {
        let time = |t: Timestamp| Timespec { tv_sec: t.seconds, tv_nsec: i64::from(t.nanos) };
        Timestamps { last_access: time(self.access), last_modification: time(self.modification) }
    }
}

/// Owner and group to set; the highest number, which is -1 to chown(2), leaves what there is.
fn owner(uid: u32, gid: u32) -> (Option<Uid>, Option<Gid>) {
    ((uid != u32::MAX).then(|| Uid::from_raw(uid)), (gid != u32::MAX).then(|| Gid::from_raw(gid)))
}

/// Sets owner, extended attributes, mode and times of an open file or directory, in the order that keeps
/// capabilities and setuid bits (chown clears both). `created` says with which owner and mode the node was
/// created just now, so that calls that would change nothing are left out; what the umask took of the mode is set.
pub fn set_fd_metadata(
    fd: impl AsFd,
    wanted: &Metadata,
    xattrs: &[Xattr],
    created: Option<(u32, u32, u32)>,
) -> Result<()> {
    let fd = fd.as_fd();
    let owned = created.is_some_and(|(_, uid, gid)| (uid, gid) == (wanted.uid, wanted.gid));
    if !owned {
        let (uid, gid) = owner(wanted.uid, wanted.gid);
        fs::fchown(fd, uid, gid)?;
    }
    for xattr in xattrs {
        set_xattr_fd(fd, xattr)?;
    }
    // After chown, because it clears setuid and setgid.
    let mode_kept = created.is_some_and(|(mode, _, _)| umask::left_of(mode) == wanted.mode)
        && (owned || wanted.mode & 0o6000 == 0);
    if !mode_kept {
        fs::fchmod(fd, Mode::from_raw_mode(wanted.mode))?;
    }
    Ok(fs::futimens(fd, &wanted.times.to_kernel())?)
}

impl Dir {
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
        self.set_node_xattrs(name, xattrs)?;
        if !symlink {
            fs::chmodat(self.as_fd(), self.name(name)?, Mode::from_raw_mode(wanted.mode), AtFlags::empty())?;
        }
        self.set_times(name, wanted.times)
    }

    /// Sets owner and mode of this directory.
    ///
    /// # Errors
    /// Whatever the kernel gives.
    pub fn set_owner_and_mode(&self, uid: u32, gid: u32, mode: u32) -> Result<()> {
        fs::fchown(self, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        Ok(fs::fchmod(self, Mode::from_raw_mode(mode & 0o7777))?)
    }

    /// Sets the modification time of this directory, and leaves its access time.
    ///
    /// # Errors
    /// Whatever the kernel gives.
    pub fn set_modified(&self, time: Timestamp) -> Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanos) },
        };
        Ok(fs::futimens(self, &times)?)
    }

    /// Gives this directory owner, mode, times and every extended attribute of `from`, overlay's own included.
    ///
    /// # Errors
    /// Whatever the kernel gives.
    pub fn copy_metadata(&self, from: &Dir) -> Result<()> {
        let wanted = Metadata::from(&from.status()?);
        self.set_owner_and_mode(wanted.uid, wanted.gid, wanted.mode)?;
        copy_xattrs(from, self)?;
        Ok(fs::futimens(self, &wanted.times.to_kernel())?)
    }

    /// Puts this directory's names and attributes on disk.
    ///
    /// # Errors
    /// Whatever `fsync` gives.
    pub fn sync(&self) -> Result<()> {
        Ok(fs::fsync(self)?)
    }

    /// Sets the owner of `name`, not following a symlink.
    pub fn chown(&self, name: &[u8], uid: u32, gid: u32) -> Result<()> {
        let (uid, gid) = owner(uid, gid);
        Ok(fs::chownat(self.as_fd(), self.name(name)?, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets the times of `name`, not following a symlink.
    pub fn set_times(&self, name: &[u8], times: Times) -> Result<()> {
        Ok(fs::utimensat(self.as_fd(), self.name(name)?, &times.to_kernel(), AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

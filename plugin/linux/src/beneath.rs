//! Files and directories of the host, which others may change at any time: opened beneath a directory, never
//! through a link.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, FileType, Mode, OFlags, RawDir, ResolveFlags};

use crate::{Dir, Result};

/// May resolving a path pass from one mount to another?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// Stay on the mount of the directory that resolving starts from: neither other filesystems nor bind mounts
    /// are entered.
    One,
    /// Pass into whatever is mounted below.
    All,
}

/// What the kernel keeps to while it resolves a path of the host: `..` may not leave the start, no component may
/// be a symlink, of whatever kind.
fn strict(mounts: Mounts) -> ResolveFlags {
    let links = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match mounts {
        Mounts::One => links | ResolveFlags::NO_XDEV,
        Mounts::All => links,
    }
}

fn relative(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"." } else { path })
}

impl Dir {
    /// Opens the directory at the absolute `path` of the host; no component may be a symlink.
    ///
    /// # Errors
    /// `ELOOP` where one is; whatever else opening gives.
    pub fn open_plain(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(Self::from_fd(fs::openat2(fs::CWD, path, flags, Mode::empty(), resolve)?))
    }

    /// Opens the directory at `path` (empty: this one) beneath this one.
    ///
    /// # Errors
    /// `ELOOP` for a symlink on the way, `EXDEV` for another mount.
    pub fn open_dir_beneath(&self, path: &[u8], mounts: Mounts) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = fs::openat2(self.as_fd(), relative(path), flags, Mode::empty(), strict(mounts))?;
        Ok(Self::from_fd(fd))
    }

    /// What `fstat` says about `path` beneath this one. Nothing is opened for reading, whatever it is.
    ///
    /// # Errors
    /// As [`Dir::open_file_beneath`].
    pub fn look_beneath(&self, path: &[u8], mounts: Mounts) -> Result<std::fs::Metadata> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = fs::openat2(self.as_fd(), relative(path), flags, Mode::empty(), strict(mounts))?;
        File::from(fd).metadata()
    }

    /// Opens the regular file at `path` beneath this one for reading. Never blocks on a FIFO and never gives
    /// anything but a regular file.
    ///
    /// Opening a device can have effects of its own, so look first, with [`Dir::look_beneath`] or [`Dir::stat`];
    /// what slips in between the two is opened without blocking and closed unread.
    ///
    /// # Errors
    /// `ELOOP` for a symlink, `EXDEV` for another mount, `EINVAL` for what is no regular file.
    pub fn open_file_beneath(&self, path: &[u8], mounts: Mounts) -> Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = fs::openat2(self.as_fd(), relative(path), flags, Mode::empty(), strict(mounts))?;
        if FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        Ok(File::from(fd))
    }

    /// Names in this directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// Whatever reading the directory gives.
    pub fn names(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let mut buffer = Vec::<u8>::with_capacity(32 * 1024);
        // From the start, also the second time.
        fs::seek(self.as_fd(), fs::SeekFrom::Start(0))?;
        let mut entries = RawDir::new(self.as_fd(), buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Status of this directory.
    ///
    /// # Errors
    /// Whatever `fstat` gives.
    pub fn status(&self) -> Result<fs::Stat> {
        Ok(fs::fstat(self.as_fd())?)
    }

    /// The kind of filesystem this directory is on, as `statfs` tells it (linux/magic.h).
    ///
    /// # Errors
    /// Whatever `fstatfs` gives.
    pub fn filesystem(&self) -> Result<u32> {
        // Magic numbers are 32 bits, in a field that is signed and wider on most machines.
        let kind = fs::fstatfs(self.as_fd())?.f_type;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
        Ok(kind as u32)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn neither_links_nor_special_files_are_opened() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(base.path().join("secret"), "x").unwrap();
        std::fs::write(root.join("sub/file"), "x").unwrap();
        symlink("sub", root.join("alias")).unwrap();
        symlink("sub/file", root.join("link")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        let fifo = Mode::from_raw_mode(0o644);
        fs::mknodat(fs::CWD, root.join("fifo"), FileType::Fifo, fifo, 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
        let dir = Dir::open_plain(&root).unwrap();
        for bad in
            ["alias/file", "link", "magic/etc/passwd", "fifo", "socket", "../secret", "/etc/passwd", "sub"]
        {
            for mounts in [Mounts::One, Mounts::All] {
                assert!(dir.open_file_beneath(bad.as_bytes(), mounts).is_err(), "{bad}");
            }
        }
        assert!(dir.open_file_beneath(b"sub/file", Mounts::One).is_ok());
        assert_eq!(dir.look_beneath(b"sub/file", Mounts::One).unwrap().len(), 1);
        assert!(dir.look_beneath(b"fifo", Mounts::One).is_ok());
        for bad in ["alias/file", "magic/etc/passwd", "../secret"] {
            assert!(dir.look_beneath(bad.as_bytes(), Mounts::One).is_err(), "{bad}");
        }
        assert!(dir.open_dir_beneath(b"alias", Mounts::One).is_err());
        assert!(Dir::open_plain(&root.join("alias")).is_err(), "the root itself may not be a link");
        assert_eq!(dir.open_dir_beneath(b"sub", Mounts::One).unwrap().names().unwrap(), [b"file".to_vec()]);
    }

    /// `/proc` is a mount of its own wherever these tests run.
    #[test]
    fn other_mounts_are_left_alone() {
        let dir = Dir::open_plain(Path::new("/")).unwrap();
        let crossed = dir.open_dir_beneath(b"proc", Mounts::One).unwrap_err();
        assert_eq!(crossed.raw_os_error(), Some(rustix::io::Errno::XDEV.raw_os_error()));
        let proc = dir.open_dir_beneath(b"proc", Mounts::All).unwrap();
        assert_eq!(proc.filesystem().unwrap(), 0x9fa0);
    }
}

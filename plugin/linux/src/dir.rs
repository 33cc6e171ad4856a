//! An open directory, and what can be made in it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags};

use crate::Result;

/// An open directory. All names given to it are single components, except where a method says path.
#[derive(Debug)]
pub struct Dir(OwnedFd);

/// Kinds of nodes made with `mknod`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeType {
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
}

fn confined() -> ResolveFlags {
    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS
}

/// A single component: never empty, `.`, `..` or with a slash, so that no call below can leave the directory.
fn component(name: &[u8]) -> Result<&OsStr> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(OsStr::from_bytes(name))
}

fn relative(path: &[u8]) -> &OsStr {
    OsStr::from_bytes(if path.is_empty() { b"." } else { path })
}

impl Dir {
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Opens a directory of our own by its host path.
    pub fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(fs::open(path, flags, Mode::empty())?))
    }

    /// Opens the directory at `path` (empty: this one) beneath this one; no component may be a symlink.
    pub fn open_dir(&self, path: &[u8]) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(fs::openat2(&self.0, relative(path), flags, Mode::empty(), confined())?))
    }

    /// Opens the regular file at `path` beneath this one for reading; no component may be a symlink. Opening
    /// never blocks on a FIFO and never gives anything but a regular file.
    pub fn open_file(&self, path: &[u8]) -> Result<File> {
        self.open_regular(path, OFlags::RDONLY)
    }

    /// The same for reading and writing.
    pub fn open_file_to_write(&self, path: &[u8]) -> Result<File> {
        self.open_regular(path, OFlags::RDWR)
    }

    fn open_regular(&self, path: &[u8], access: OFlags) -> Result<File> {
        let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let fd = fs::openat2(&self.0, relative(path), flags, Mode::empty(), confined())?;
        if FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        Ok(File::from(fd))
    }

    /// Creates the file `name`, which must not exist, with the permission bits of `mode` (umask applies).
    pub fn create_file(&self, name: &[u8], mode: u32) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.0, component(name)?, flags, Mode::from_raw_mode(mode & 0o7777))?;
        Ok(File::from(fd))
    }

    /// Creates the directory `name` with mode 0755 (umask applies).
    pub fn create_dir(&self, name: &[u8]) -> Result<()> {
        Ok(fs::mkdirat(&self.0, component(name)?, Mode::from_raw_mode(0o755))?)
    }

    /// Creates the symlink `name` with the verbatim `target`.
    pub fn create_symlink(&self, name: &[u8], target: &[u8]) -> Result<()> {
        Ok(fs::symlinkat(OsStr::from_bytes(target), &self.0, component(name)?)?)
    }

    /// Creates a device or FIFO.
    pub fn create_node(&self, name: &[u8], kind: NodeType, mode: u32, major: u32, minor: u32) -> Result<()> {
        let kind = match kind {
            NodeType::Char => FileType::CharacterDevice,
            NodeType::Block => FileType::BlockDevice,
            NodeType::Fifo => FileType::Fifo,
        };
        let device = fs::makedev(major, minor);
        Ok(fs::mknodat(&self.0, component(name)?, kind, Mode::from_raw_mode(mode & 0o7777), device)?)
    }

    /// Makes `name` in this directory a hard link to `old_name` in `old`; never follows a symlink.
    pub fn link_from(&self, old: &Dir, old_name: &[u8], name: &[u8]) -> Result<()> {
        Ok(fs::linkat(&old.0, component(old_name)?, &self.0, component(name)?, AtFlags::empty())?)
    }

    /// Gives `name` the new name `to` in this directory, in place of what has that name.
    pub fn rename(&self, name: &[u8], to: &[u8]) -> Result<()> {
        Ok(fs::renameat(&self.0, component(name)?, &self.0, component(to)?)?)
    }

    /// Removes `name` and, if it is a directory, everything below it. Nothing there is no error.
    pub fn remove_all(&self, name: &[u8]) -> Result<()> {
        match fs::unlinkat(&self.0, component(name)?, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
            Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
        let child = self.open_dir(name)?;
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&child.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(name.to_vec());
            }
        }
        for name in names {
            child.remove_all(&name)?;
        }
        Ok(fs::unlinkat(&self.0, component(name)?, AtFlags::REMOVEDIR)?)
    }

    /// Status of `name`, not following a symlink.
    pub fn stat(&self, name: &[u8]) -> Result<fs::Stat> {
        Ok(fs::statat(&self.0, component(name)?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    pub(crate) fn name<'a>(&self, name: &'a [u8]) -> Result<&'a OsStr> {
        component(name)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn nothing_outside_the_root_is_reached() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        std::fs::write(base.path().join("secret"), "x").unwrap();
        symlink("..", root.join("up")).unwrap();
        symlink("/", root.join("slash")).unwrap();
        symlink("../../secret", root.join("sub/link")).unwrap();
        let dir = Dir::open(&root).unwrap();
        for path in ["up", "up/secret", "slash", "slash/etc", "sub/link", "../secret", "/../secret"] {
            assert!(dir.open_file(path.as_bytes()).is_err(), "{path}");
        }
        for path in ["up", "slash/etc"] {
            assert!(dir.open_dir(path.as_bytes()).is_err(), "{path}");
        }
        for name in ["", ".", "..", "a/b", "/a"] {
            assert!(dir.create_file(name.as_bytes(), 0o644).is_err(), "{name}");
            assert!(dir.remove_all(name.as_bytes()).is_err(), "{name}");
        }
        assert!(dir.create_file(b"up", 0o644).is_err(), "an existing symlink is never written through");
    }

    #[test]
    fn remove_all_takes_trees_but_not_targets() {
        let base = tempfile::tempdir().unwrap();
        let dir = Dir::open(base.path()).unwrap();
        dir.create_dir(b"keep").unwrap();
        dir.open_dir(b"keep").unwrap().create_file(b"f", 0o600).unwrap().write_all(b"x").unwrap();
        dir.create_dir(b"gone").unwrap();
        dir.open_dir(b"gone").unwrap().create_symlink(b"l", b"../keep").unwrap();
        dir.remove_all(b"gone").unwrap();
        dir.remove_all(b"gone").unwrap();
        assert!(dir.open_file(b"keep/f").is_ok());
        assert!(dir.stat(b"gone").is_err());
    }
}

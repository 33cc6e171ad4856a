//! An open directory, and what can be made in it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};

use crate::resolve::Rule;
use crate::{Looked, Result};

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

/// A single component: never empty, `.`, `..` or with a slash, so that no call below can leave the directory.
fn component(name: &[u8]) -> Result<&OsStr> {
    if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    Ok(OsStr::from_bytes(name))
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
        Ok(Self(Rule::InRoot.directory(self, path)?))
    }

    /// Opens the directory at `path` beneath this one. Symlinks on the way are followed as by a process that has this
    /// directory as its root.
    pub fn open_dir_following(&self, path: &[u8]) -> Result<Self> {
        Ok(Self(Rule::InRootFollowing.directory(self, path)?))
    }

    /// Looks at `path` beneath this one; no component before the last may be a symlink. Nothing is opened.
    pub fn look(&self, path: &[u8]) -> Result<Looked> {
        Rule::InRoot.look(self, path)
    }

    /// Opens the regular file at `path` beneath this one for reading; no component may be a symlink. What is no regular
    /// file is not opened.
    pub fn open_file(&self, path: &[u8]) -> Result<File> {
        self.look(path)?.open()
    }

    /// The same for reading and writing.
    pub fn open_file_to_write(&self, path: &[u8]) -> Result<File> {
        self.look(path)?.open_to_write()
    }

    /// Creates the file `name`, which must not exist, with the permission bits of `mode` (umask applies).
    pub fn create_file(&self, name: &[u8], mode: u32) -> Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(&self.0, component(name)?, flags, Mode::from_raw_mode(mode & 0o7777))?;
        Ok(File::from(fd))
    }

    /// Creates the directory `name` with mode 0755 (umask applies).
    pub fn create_dir(&self, name: &[u8]) -> Result<()> {
        self.create_dir_with(name, 0o755)
    }

    /// Creates the directory `name` with the permission bits of `mode` (umask applies).
    pub fn create_dir_with(&self, name: &[u8], mode: u32) -> Result<()> {
        Ok(fs::mkdirat(&self.0, component(name)?, Mode::from_raw_mode(mode & 0o7777))?)
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

    /// Makes `name` in this directory a hard link to the open `file`, whatever its name is by now. Needs
    /// CAP_DAC_READ_SEARCH.
    pub fn link_file(&self, file: &File, name: &[u8]) -> Result<()> {
        Ok(fs::linkat(file, "", &self.0, component(name)?, AtFlags::EMPTY_PATH)?)
    }

    /// Moves `name` into the directory `to`, under the name `new`, in place of what has that name.
    pub fn rename_into(&self, name: &[u8], to: &Dir, new: &[u8]) -> Result<()> {
        Ok(fs::renameat(&self.0, component(name)?, &to.0, component(new)?)?)
    }

    /// Gives `name` the new name `to` in this directory, in place of what has that name.
    pub fn rename(&self, name: &[u8], to: &[u8]) -> Result<()> {
        Ok(fs::renameat(&self.0, component(name)?, &self.0, component(to)?)?)
    }

    /// Target of the symlink `name`.
    pub fn read_link(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(fs::readlinkat(&self.0, component(name)?, Vec::new())?.into_bytes())
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
        assert!(dir.is_empty().is_ok_and(|empty| !empty));
        assert!(dir.open_file(b"keep/f").is_ok());
        assert!(dir.stat(b"gone").is_err());
    }
}

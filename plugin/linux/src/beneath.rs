//! Files and directories that others may change at any time (the host's, a container's): reached beneath a directory, never
//! through a link.

use std::fs::File;
use std::path::Path;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};

use crate::resolve::{self, Rule};
use crate::{Dir, Looked, Mounts, Result};

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
        Ok(Self::from_fd(Rule::Beneath(mounts).directory(self, path)?))
    }

    /// Looks at `path` beneath this one. Nothing is opened, whatever it is.
    ///
    /// # Errors
    /// As [`Dir::open_dir_beneath`].
    pub fn look_beneath(&self, path: &[u8], mounts: Mounts) -> Result<Looked> {
        Rule::Beneath(mounts).look(self, path)
    }

    /// Opens the regular file at `path` beneath this one for reading. What is no regular file is not opened.
    ///
    /// # Errors
    /// `ELOOP` for a symlink on the way, `EXDEV` for another mount, [`std::io::ErrorKind::InvalidInput`] for what is no
    /// regular file.
    pub fn open_file_beneath(&self, path: &[u8], mounts: Mounts) -> Result<File> {
        self.look_beneath(path, mounts)?.open()
    }

    /// Status of this directory.
    ///
    /// # Errors
    /// Whatever `fstat` gives.
    pub fn status(&self) -> Result<fs::Stat> {
        Ok(fs::fstat(self)?)
    }

    /// The kind of filesystem this directory is on, as `statfs` tells it (linux/magic.h).
    ///
    /// # Errors
    /// Whatever `fstatfs` gives.
    pub fn filesystem(&self) -> Result<u32> {
        resolve::magic(self)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::FileType;

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
        assert_eq!(dir.look_beneath(b"sub/file", Mounts::One).unwrap().metadata().len(), 1);
        assert!(dir.look_beneath(b"fifo", Mounts::One).is_ok());
        for bad in ["alias/file", "magic/etc/passwd", "../secret"] {
            assert!(dir.look_beneath(bad.as_bytes(), Mounts::One).is_err(), "{bad}");
        }
        assert!(dir.open_dir_beneath(b"alias", Mounts::One).is_err());
        assert!(Dir::open_plain(&root.join("alias")).is_err(), "the root itself may not be a link");
        assert_eq!(dir.open_dir_beneath(b"sub", Mounts::One).unwrap().names().unwrap(), [b"file".to_vec()]);
    }

    /// A device without a driver says so when it is opened (ENXIO), and a FIFO's writer learns of a reader: neither happens.
    #[test]
    fn special_files_do_not_notice() {
        let base = tempfile::tempdir().unwrap();
        let dir = Dir::open(base.path()).unwrap();
        dir.create_node(b"char", crate::NodeType::Char, 0o666, 511, 77).unwrap();
        dir.create_node(b"block", crate::NodeType::Block, 0o666, 511, 77).unwrap();
        dir.create_node(b"fifo", crate::NodeType::Fifo, 0o666, 0, 0).unwrap();
        for name in [&b"char"[..], b"block", b"fifo"] {
            for opened in [
                dir.open_file(name),
                dir.open_file_to_write(name),
                dir.open_file_beneath(name, Mounts::One),
                dir.open_file_beneath(name, Mounts::All),
            ] {
                assert_eq!(opened.unwrap_err().kind(), std::io::ErrorKind::InvalidInput, "{name:?}");
            }
            let mut walk = crate::Walk::new(&dir).unwrap();
            while walk.step().unwrap().is_some() {
                assert_eq!(walk.file().unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
            }
        }
    }

    #[test]
    fn what_was_looked_at_is_what_is_opened() {
        let base = tempfile::tempdir().unwrap();
        std::fs::write(base.path().join("file"), "first").unwrap();
        let dir = Dir::open(base.path()).unwrap();
        let looked = dir.look_beneath(b"file", Mounts::One).unwrap();
        std::fs::remove_file(base.path().join("file")).unwrap();
        dir.create_node(b"file", crate::NodeType::Char, 0o666, 1, 3).unwrap();
        assert_eq!(std::io::read_to_string(looked.open().unwrap()).unwrap(), "first");
        assert!(dir.open_file(b"file").is_err() && dir.open_file_to_write(b"file").is_err());
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

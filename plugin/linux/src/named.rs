//! A directory that somebody named on the command line, opened or made so that no other user of this machine can lead us
//! elsewhere.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::{Dir, Result};

/// Links followed on one path, as many as the kernel follows.
const LINKS: usize = 40;
/// Bits of a directory's mode that let others put names into it.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

impl Dir {
    /// Opens the directory at `path`, and makes it if it is missing: missing parents with mode 0755, itself with 0700
    /// (umask applies). Every step is taken from an open descriptor, so that nothing renamed meanwhile matters, and
    /// symlinks are followed only where nobody but root and the caller can have put them.
    ///
    /// # Errors
    /// [`io::ErrorKind::PermissionDenied`] for a symlink that another user may have made, naming it; whatever opening and
    /// creating gives.
    pub fn open_or_create(path: &Path) -> Result<Self> {
        let mut names = names(path);
        let mut way = Way::new(path.is_absolute())?;
        while let Some(name) = names.pop_front() {
            match way.step(&name, names.is_empty())? {
                None => {}
                Some(target) => {
                    if target.is_absolute() {
                        (way.here, way.path) = (open_start("/")?, PathBuf::from("/"));
                    }
                    for name in self::names(&target).into_iter().rev() {
                        names.push_front(name);
                    }
                }
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self::from_fd(fs::openat(&way.here, ".", flags, Mode::empty())?))
    }
}

/// The names of a path, `..` among them.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn open_start(path: &str) -> Result<OwnedFd> {
    Ok(fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// How far resolving came.
struct Way {
    here: OwnedFd,
    /// For messages.
    path: PathBuf,
    links: usize,
}

impl Way {
    fn new(absolute: bool) -> Result<Self> {
        let start = if absolute { "/" } else { "." };
        Ok(Self { here: open_start(start)?, path: start.into(), links: 0 })
    }

    /// Goes one name further, or gives the target of the link that has the name.
    fn step(&mut self, name: &OsStr, last: bool) -> Result<Option<PathBuf>> {
        let looked = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match fs::openat(&self.here, name, looked, Mode::empty()) {
            Err(Errno::NOENT) => self.make(name, last)?,
            opened => opened.map_err(|error| self.at(name, &error.into()))?,
        };
        let stat = fs::fstat(&opened)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.path.push(name);
                self.here = opened;
                Ok(None)
            }
            FileType::Symlink => self.link(name, &opened, &stat).map(Some),
            _ => Err(self.at(name, &Errno::NOTDIR.into())),
        }
    }

    fn make(&self, name: &OsStr, last: bool) -> Result<OwnedFd> {
        let mode = Mode::from_raw_mode(if last { 0o700 } else { 0o755 });
        let made = match fs::mkdirat(&self.here, name, mode) {
            Ok(()) => true,
            // Another process was quicker: what it made is looked at like anything else.
            Err(Errno::EXIST) => false,
            Err(error) => return Err(self.at(name, &error.into())),
        };
        let looked = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = fs::openat(&self.here, name, looked, Mode::empty())
            .map_err(|error| self.at(name, &error.into()))?;
        let stat = fs::fstat(&opened)?;
        let ours = FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_uid == caller();
        if made && !ours {
            return Err(self.denied(name, "another user put something else in its place as it was made"));
        }
        Ok(opened)
    }

    fn link(&mut self, name: &OsStr, link: &OwnedFd, stat: &Stat) -> Result<PathBuf> {
        self.links += 1;
        if self.links > LINKS {
            return Err(self.at(name, &Errno::LOOP.into()));
        }
        let around = fs::fstat(&self.here)?;
        let closed = around.st_mode & OTHERS_WRITE == 0 || around.st_mode & STICKY != 0;
        if !(trusted(stat.st_uid) && trusted(around.st_uid) && closed) {
            let why = "it is a symlink that another user may have made; name the directory it leads to";
            return Err(self.denied(name, why));
        }
        let target = fs::readlinkat(link, "", Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    fn at(&self, name: &OsStr, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.join(name).display()))
    }

    fn denied(&self, name: &OsStr, why: &str) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {why}", self.path.join(name).display()))
    }
}

fn caller() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn trusted(owner: u32) -> bool {
    owner == 0 || owner == caller()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn what_is_missing_is_made() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("a/./b/../b/c");
        Dir::open_or_create(&path).unwrap().create_file(b"f", 0o600).unwrap();
        assert!(base.path().join("a/b/c/f").exists());
        // Tests run with the umask of whoever runs them.
        assert_eq!(mode(&base.path().join("a/b/c")), 0o700);
        assert_eq!(mode(&base.path().join("a")) & 0o022, 0, "nobody else may write to a parent");
        Dir::open_or_create(&path).unwrap();
    }

    #[test]
    fn links_of_ours_are_followed_and_of_others_not() {
        let base = tempfile::tempdir().unwrap();
        let at = |name: &str| base.path().join(name);
        for name in ["real", "sticky", "open", "alices"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        std::fs::set_permissions(at("sticky"), PermissionsExt::from_mode(0o1777)).unwrap();
        std::fs::set_permissions(at("open"), PermissionsExt::from_mode(0o777)).unwrap();
        for (link, to) in [
            ("link", "real"),
            ("sticky/link", "../real"),
            ("open/link", "../real"),
            ("alices/link", "../real"),
        ] {
            symlink(to, at(link)).unwrap();
        }
        symlink(at("real"), at("absolute")).unwrap();
        symlink("real", at("hers")).unwrap();
        lchown(at("hers"), Some(1000), None).unwrap();
        chown(at("alices"), Some(1000), None).unwrap();
        symlink("loop", at("loop")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        for good in ["link/new", "sticky/link", "absolute/x/y", "alices/plain"] {
            assert!(Dir::open_or_create(&at(good)).is_ok(), "{good}");
        }
        assert!(at("real/new").is_dir() && at("real/x/y").is_dir());
        for bad in ["hers/new", "hers", "open/link/new", "alices/link/new", "loop", "file", "file/new"] {
            let error = Dir::open_or_create(&at(bad)).unwrap_err();
            assert!(error.to_string().contains(base.path().to_str().unwrap()), "{bad}: {error}");
        }
    }
}

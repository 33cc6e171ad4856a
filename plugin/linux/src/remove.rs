//! Removing trees.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType};
use rustix::io::Errno;

use crate::{Dir, Mounts, Result, Step, Walk};

/// Removes what is at `path`, a path of our own, and everything below it, as [`Dir::remove_all`].
///
/// # Errors
/// As [`Dir::remove_all`].
pub fn remove_tree(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    match Dir::open(parent) {
        Ok(parent) => parent.remove_all(name.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Dir {
    /// Removes `name` and, if it is a directory, everything below it, however deep. Nothing there is no error; neither
    /// links nor mounts are followed.
    ///
    /// # Errors
    /// The first thing that could not be removed; everything else is gone.
    pub fn remove_all(&self, name: &[u8]) -> Result<()> {
        match fs::unlinkat(self, self.name(name)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR | Errno::PERM) => {}
            Err(error) => return Err(error.into()),
        }
        let child = match self.open_dir_beneath(name, Mounts::One) {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let emptied = child.empty();
        match fs::unlinkat(self, self.name(name)?, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => emptied.and(Err(error.into())),
        }
    }

    /// Removes everything in this directory.
    ///
    /// # Errors
    /// As [`Dir::remove_all`].
    pub fn empty(&self) -> Result<()> {
        let mut walk = Walk::new(self)?;
        let mut failed = None;
        loop {
            let removed = match walk.step() {
                Ok(None) => return failed.map_or(Ok(()), Err),
                Ok(Some(Step::Entry(FileType::Directory))) => match walk.enter() {
                    Ok(true) => Ok(()),
                    // Another mount: says that it is busy.
                    Ok(false) => walk.remove(AtFlags::REMOVEDIR),
                    Err(error) => Err(error),
                },
                Ok(Some(Step::Entry(_))) => walk.remove(AtFlags::empty()),
                Ok(Some(Step::Leave)) => walk.remove(AtFlags::REMOVEDIR),
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                failed.get_or_insert(error);
            }
        }
    }
}

impl Walk {
    fn remove(&self, how: AtFlags) -> Result<()> {
        let dir = self.dir()?;
        match fs::unlinkat(dir, dir.name(self.name())?, how) {
            // Somebody else was quicker, or put a file in a directory's place.
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

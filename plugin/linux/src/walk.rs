//! Walking a tree by descriptors: what others move or replace meanwhile cannot lead the walk elsewhere.

use std::fs::File;
use std::io;
use std::path::Path;
use std::vec;

use rustix::fs::{self, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::list::Listed;
use crate::resolve::Rule;
use crate::{Dir, Looked, Mounts, Result};

/// Directories of one walk that are open at the same time. A deeper tree has its upper ones closed, and opened again on
/// the way back.
const OPEN: usize = 32;

/// What a walk came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Something in the directory where the walk is. A directory is only gone into by [`Walk::enter`].
    Entry(FileType),
    /// The end of a directory that was entered. The walk is where it was before.
    Leave,
}

/// A walk through everything below a directory, in no particular order. Symlinks are not followed, other mounts not
/// entered, and neither depth nor the number of names in a directory is limited: open descriptors and memory are.
#[derive(Debug)]
pub struct Walk {
    /// Where the walk began; never closed.
    root: Dir,
    levels: Vec<Level>,
    /// Of what the last step was about, from the root on.
    path: Vec<u8>,
}

/// A directory that the walk is in.
#[derive(Debug)]
struct Level {
    /// `None`: closed for the time being.
    dir: Option<Dir>,
    device: u64,
    inode: u64,
    names: vec::IntoIter<Listed>,
    /// Where reading its names goes on.
    next: u64,
    /// Length of the path up to the names in it.
    prefix: usize,
}

impl Level {
    fn new(dir: Dir, prefix: usize) -> Result<Self> {
        let Stat { st_dev: device, st_ino: inode, .. } = dir.status()?;
        Ok(Self { dir: Some(dir), device, inode, names: Vec::new().into_iter(), next: 0, prefix })
    }

    /// Takes `dir` if it is this directory.
    fn is_here_again(&mut self, dir: Result<Dir>) -> bool {
        let Ok(dir) = dir else { return false };
        let same = dir.status().is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (self.device, self.inode));
        if same && dir.go_on_at(self.next).is_ok() {
            self.dir = Some(dir);
        }
        self.dir.is_some()
    }

    fn next(&mut self) -> Result<Option<Listed>> {
        if self.names.len() == 0
            && let Some(dir) = &self.dir
        {
            self.names = match dir.some() {
                // Removed while the walk is in it: nothing is in it any more.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                some => some?.into_iter(),
            };
        }
        let listed = self.names.next();
        if let Some(listed) = &listed {
            self.next = listed.next;
        }
        Ok(listed)
    }
}

fn moved() -> io::Error {
    Errno::STALE.into()
}

impl Walk {
    /// A walk through what is below `root`, `root` itself not included.
    ///
    /// # Errors
    /// Whatever opening it once more gives.
    pub fn new(root: &Dir) -> Result<Self> {
        let (root, top) = (root.open_dir(b"")?, root.open_dir(b"")?);
        Ok(Self { root, levels: vec![Level::new(top, 0)?], path: Vec::new() })
    }

    /// The same for a directory of our own with this host path.
    ///
    /// # Errors
    /// Whatever opening it gives.
    pub fn open(root: &Path) -> Result<Self> {
        Self::new(&Dir::open(root)?)
    }

    /// Goes on to what comes next; `None` at the end. What appears or disappears meanwhile is met or not.
    ///
    /// # Errors
    /// `ESTALE` for a directory that was moved while the walk was deep below it: its rest is left out, and the walk may go on
    /// outside it. Whatever reading gives.
    pub fn step(&mut self) -> Result<Option<Step>> {
        loop {
            self.come_back()?;
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            self.path.truncate(level.prefix);
            if let Some(listed) = level.next()? {
                self.path.extend_from_slice(&listed.name);
                match self.kind(listed.kind) {
                    Ok(kind) => return Ok(Some(Step::Entry(kind))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            let Some(left) = self.levels.pop() else { return Ok(None) };
            let Some(above) = self.levels.last_mut() else { return Ok(None) };
            self.path.truncate(left.prefix.saturating_sub(1));
            if above.dir.is_none()
                && let Some(dir) = &left.dir
            {
                above.is_here_again(up(dir));
            }
            self.come_back()?;
            return Ok(Some(Step::Leave));
        }
    }

    fn kind(&self, listed: FileType) -> Result<FileType> {
        if listed == FileType::Unknown {
            Ok(FileType::from_raw_mode(self.stat()?.st_mode))
        } else {
            Ok(listed)
        }
    }

    /// Opens the directory where the walk is, if it was closed; if it cannot be found any more, leaves it.
    fn come_back(&mut self) -> Result<()> {
        let Some(level) = self.levels.last_mut() else { return Ok(()) };
        if level.dir.is_some() {
            return Ok(());
        }
        let path = self.path.get(..level.prefix.saturating_sub(1)).unwrap_or_default();
        if level.is_here_again(descend(&self.root, path)) {
            return Ok(());
        }
        self.levels.pop();
        Err(moved())
    }

    /// Goes into the directory that the last step came to. False if there is none any more, or another mount on it.
    ///
    /// # Errors
    /// Whatever opening it gives.
    pub fn enter(&mut self) -> Result<bool> {
        let dir = match self.dir()?.open_dir_beneath(self.name(), Mounts::One) {
            Ok(dir) => dir,
            Err(error) if gone(&error) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.levels.push(Level::new(dir, self.path.len() + 1)?);
        self.path.push(b'/');
        let closed = self.levels.len().checked_sub(OPEN + 1);
        if let Some(level) = closed.and_then(|closed| self.levels.get_mut(closed)) {
            // Names that were read and not met yet are read again.
            (level.dir, level.names) = (None, Vec::new().into_iter());
        }
        Ok(true)
    }

    /// The directory where the walk is: what the last step came to is in it.
    ///
    /// # Errors
    /// `ESTALE` after the walk's end.
    pub fn dir(&self) -> Result<&Dir> {
        self.levels.last().and_then(|level| level.dir.as_ref()).ok_or_else(moved)
    }

    /// Name in that directory of what the last step came to.
    pub fn name(&self) -> &[u8] {
        let prefix = self.levels.last().map_or(0, |level| level.prefix);
        self.path.get(prefix..).unwrap_or_default()
    }

    /// Path from the root of what the last step came to.
    pub fn path(&self) -> &[u8] {
        self.path.strip_suffix(b"/").unwrap_or(&self.path)
    }

    /// Path from the root of the directory where the walk is.
    pub fn above(&self) -> &[u8] {
        let prefix = self.levels.last().map_or(0, |level| level.prefix);
        self.path.get(..prefix.saturating_sub(1)).unwrap_or_default()
    }

    /// Status of what the last step came to.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is gone.
    pub fn stat(&self) -> Result<Stat> {
        self.dir()?.stat(self.name())
    }

    /// Looks at what the last step came to.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it is gone.
    pub fn look(&self) -> Result<Looked> {
        Rule::Beneath(Mounts::One).look(self.dir()?, self.name())
    }

    /// Opens the regular file that the last step came to, for reading.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for what is no regular file (any more), and has not been opened.
    pub fn file(&self) -> Result<File> {
        self.look()?.open()
    }
}

/// Is this error's cause that there is no directory to go into?
fn gone(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV))
}

/// What is above `dir` now; the caller checks whether that is what was above it before.
fn up(dir: &Dir) -> Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(Dir::from_fd(fs::openat(dir, "..", flags, Mode::empty())?))
}

/// Goes down to `path`, however long it is.
fn descend(root: &Dir, path: &[u8]) -> Result<Dir> {
    let mut dir = root.open_dir(b"")?;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        dir = dir.open_dir_beneath(name, Mounts::One)?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests;

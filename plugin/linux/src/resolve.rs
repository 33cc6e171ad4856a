//! How a name becomes a descriptor. Every path that an image, a container or the host shaped is resolved here.
//!
//! First something is *looked at*: `openat2` with `O_PATH` gives a descriptor that stands for it and opens nothing, so that
//! no driver, FIFO or automount notices. Only what is a regular file is then opened, through `/proc/self/fd`: that names
//! the very inode that was looked at, whatever has taken its name meanwhile. Directories are opened with `O_DIRECTORY`,
//! which fails for everything else before anything is opened.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use rustix::fs::{self, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Result;

/// How often resolving is tried again that a rename elsewhere disturbed.
const DISTURBED: usize = 64;
/// What statfs(2) says of procfs (linux/magic.h).
const PROC: u32 = 0x9fa0;

/// May resolving a path pass from one mount to another?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// Stay on the mount of the directory that resolving starts from: neither other filesystems nor bind mounts
    /// are entered.
    One,
    /// Pass into whatever is mounted below.
    All,
}

/// What the kernel keeps to while it resolves a path.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rule {
    /// In a tree that the caller filled: the start is the root, and no component may be a symlink.
    InRoot,
    /// The same, but symlinks are followed as a process would that has the start as its root.
    InRootFollowing,
    /// In a tree that others may change: `..` may not leave the start, and no component may be a symlink.
    Beneath(Mounts),
}

impl Rule {
    fn flags(self) -> ResolveFlags {
        let in_root = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match self {
            Self::InRoot => in_root | ResolveFlags::NO_SYMLINKS,
            Self::InRootFollowing => in_root,
            Self::Beneath(Mounts::One) => beneath | ResolveFlags::NO_XDEV,
            Self::Beneath(Mounts::All) => beneath,
        }
    }

    /// Opens `path` (empty: the start itself) from `start` on.
    fn open(self, start: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd> {
        let path = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
        let mut tries = 0;
        loop {
            match fs::openat2(start, path, flags | OFlags::CLOEXEC, Mode::empty(), self.flags()) {
                Err(Errno::AGAIN | Errno::INTR) if tries < DISTURBED => tries += 1,
                opened => return Ok(opened?),
            }
        }
    }

    /// Opens the directory at `path`.
    pub(crate) fn directory(self, start: impl AsFd, path: &[u8]) -> Result<OwnedFd> {
        self.open(start.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Looks at `path`; a symlink at its end is what is looked at.
    pub(crate) fn look(self, start: impl AsFd, path: &[u8]) -> Result<Looked> {
        let file = File::from(self.open(start.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW)?);
        Ok(Looked { metadata: file.metadata()?, file })
    }
}

/// Something that was looked at, and has not been opened.
#[derive(Debug)]
pub struct Looked {
    file: File,
    metadata: Metadata,
}

impl Looked {
    /// What `fstat` says about it.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The same, when nothing more is to be opened.
    pub fn into_metadata(self) -> Metadata {
        self.metadata
    }

    /// Opens it for reading, if it is a regular file; opens nothing if not.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] for what is no regular file; whatever opening gives.
    pub fn open(&self) -> Result<File> {
        self.reopen(OFlags::RDONLY)
    }

    /// The same for reading and writing.
    ///
    /// # Errors
    /// As [`Looked::open`].
    pub fn open_to_write(&self) -> Result<File> {
        self.reopen(OFlags::RDWR)
    }

    fn reopen(&self, access: OFlags) -> Result<File> {
        if !self.metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        let name = self.file.as_raw_fd().to_string();
        Ok(fs::openat(descriptors()?, name, access | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())?.into())
    }
}

/// `/proc/self/fd`, opened once.
pub(crate) fn descriptors() -> Result<BorrowedFd<'static>> {
    static OPENED: OnceLock<OwnedFd> = OnceLock::new();
    if let Some(opened) = OPENED.get() {
        return Ok(opened.as_fd());
    }
    let needed = |error: io::Error| {
        io::Error::new(error.kind(), format!("/proc/self/fd, which is needed to open files safely: {error}"))
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = fs::open("/proc/self/fd", flags, Mode::empty()).map_err(|error| needed(error.into()))?;
    if magic(&opened).map_err(needed)? != PROC {
        return Err(needed(io::Error::other("procfs is not mounted at /proc")));
    }
    Ok(OPENED.get_or_init(|| opened).as_fd())
}

/// The kind of filesystem that `fd` is on, as statfs(2) tells it (linux/magic.h).
pub(crate) fn magic(fd: impl AsFd) -> Result<u32> {
    // Magic numbers are 32 bits, in a field that is signed and wider on most machines.
    let kind = fs::fstatfs(fd)?.f_type;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "see above")]
    Ok(kind as u32)
}

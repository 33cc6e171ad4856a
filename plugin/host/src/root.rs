//! An allowed root, open.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use chunked_linux::{Dir, Looked, Mounts};

/// A directory below which files may be indexed and used.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) path: PathBuf,
    pub(crate) dir: Dir,
    mounts: Mounts,
}

impl Root {
    pub(crate) fn open(path: &Path, mounts: Mounts) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), dir: Dir::open_plain(path)?, mounts })
    }

    /// The directory at `path` below the root.
    pub(crate) fn directory(&self, path: &[u8]) -> io::Result<Dir> {
        self.dir.open_dir_beneath(path, self.mounts)
    }

    /// Looks at `path` below the root; nothing is opened.
    pub(crate) fn look(&self, path: &[u8]) -> io::Result<Looked> {
        self.dir.look_beneath(path, self.mounts)
    }

    /// The key of this root in the database.
    pub(crate) fn key(&self) -> &[u8] {
        self.path.as_os_str().as_bytes()
    }
}

/// `directory` and `name` as one path below a root.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() {
        return name.to_vec();
    }
    [directory, b"/", name].concat()
}

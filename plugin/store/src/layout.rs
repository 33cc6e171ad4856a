//! Where things are below the root, and the moves between those places.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::fs::{DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::error::{StoreError, at};
use crate::suitable;

/// The directories of one store.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    /// Held for its lock; also the handle for `syncfs`.
    lock: File,
}

impl Layout {
    /// Creates what is missing below `root` and locks it for this process.
    ///
    /// Fails when another daemon has it, or when its path cannot stand in overlay mount options
    /// (containerd.md §4).
    pub(crate) fn open(root: &Path) -> Result<Self, StoreError> {
        let layout = Self::make(root).map_err(|error| suitable::explain(root, error))?;
        suitable::check(&layout.root, &layout.staging())?;
        Ok(layout)
    }

    fn make(root: &Path) -> Result<Self, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(at("create", root))?;
        let root = root.canonicalize().map_err(at("resolve", root))?;
        check_root(&root)?;
        set_mode(&root, 0o700)?;
        for name in ["snapshots", "staging", "partial", "trash"] {
            make_dir(&root.join(name), 0o700).or_else(unless_exists)?;
        }
        let path = root.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(at("open", &path))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root, lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Busy { root }),
            Err(error) => Err(at("lock", &path)(error)),
        }
    }

    /// The root, absolute and without symlinks.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All snapshot and layer directories.
    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join("snapshots")
    }

    /// Directory of snapshot or layer `id`.
    pub(crate) fn snapshot(&self, id: u64) -> PathBuf {
        self.snapshots().join(id.to_string())
    }

    /// Tree of snapshot or layer `id`.
    pub(crate) fn fs(&self, id: u64) -> PathBuf {
        self.snapshot(id).join("fs")
    }

    /// Overlay work directory of snapshot `id`.
    pub(crate) fn work(&self, id: u64) -> PathBuf {
        self.snapshot(id).join("work")
    }

    /// Layers being built.
    pub(crate) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Trees that jobs left unfinished.
    pub(crate) fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// What waits for deletion.
    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// Directories that a lost database leaves without an owner.
    pub(crate) fn orphans(&self) -> PathBuf {
        self.root.join("orphans")
    }

    /// Moves `path` into the trash as `name`; a path that is gone already is fine.
    pub(crate) fn discard(&self, path: &Path, name: &str) -> Result<PathBuf, StoreError> {
        let target = self.trash().join(name);
        match std::fs::rename(path, &target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("discard", path)(error)),
            _ => Ok(target),
        }
    }

    /// Writes everything on the store's file system to disk.
    pub(crate) fn sync_data(&self) -> Result<(), StoreError> {
        rustix::fs::syncfs(&self.lock).map_err(at("sync file system of", &self.root))
    }

    /// Makes renames into `snapshots` durable.
    pub(crate) fn sync_names(&self) -> Result<(), StoreError> {
        let path = self.snapshots();
        File::open(&path).and_then(|dir| dir.sync_all()).map_err(at("sync", &path))
    }
}

/// Creates a directory with exactly this mode, whatever the umask.
pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<(), StoreError> {
    DirBuilder::new().mode(mode).create(path).map_err(at("create", path))?;
    set_mode(path, mode)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StoreError> {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(at("set mode of", path))
}

fn unless_exists(error: StoreError) -> Result<(), StoreError> {
    match &error {
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    }
}

fn check_root(root: &Path) -> Result<(), StoreError> {
    let reason = match root.to_str() {
        None => "is not UTF-8",
        Some(text) if text.contains([':', ',', '\\']) => "contains ':', ',' or '\\'",
        Some(_) => return Ok(()),
    };
    Err(StoreError::Root { root: root.to_owned(), reason })
}

//! Disk usage of a tree.

use std::collections::HashSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{StoreError, at};

/// What a snapshot itself occupies, without its parents.
///
/// A layer counts in every snapshot that points to it, as containerd's overlay counts. Blocks and inodes that a
/// layer shares with older layers, by reflink or hard link, count only in the oldest: the sum over all layers is
/// what the disk holds. When the oldest goes and others stay, its count goes, although the shared part stays until
/// the last of them is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes: 512 × blocks, hard links once.
    pub bytes: u64,
    /// Inodes, the root of the tree included.
    pub inodes: u64,
}

impl Usage {
    /// What is left without `shared`.
    #[must_use]
    pub fn without(self, shared: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(shared.bytes),
            inodes: self.inodes.saturating_sub(shared.inodes),
        }
    }
}

/// Measures the tree at `root`. What disappears meanwhile is not counted: containers may be writing.
pub(crate) fn measure(root: &Path) -> Result<Usage, StoreError> {
    let mut usage = Usage::default();
    let mut seen = HashSet::new();
    let mut pending: Vec<PathBuf> = vec![root.to_owned()];
    let mut count = |path: &Path| -> io::Result<bool> {
        let meta = path.symlink_metadata()?;
        if meta.is_dir() || meta.nlink() == 1 || seen.insert((meta.dev(), meta.ino())) {
            usage.bytes += meta.blocks() * 512;
            usage.inodes += 1;
        }
        Ok(meta.is_dir())
    };
    count(root).map_err(at("measure", root))?;
    while let Some(dir) = pending.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at("list", &dir)(error)),
        };
        for entry in entries {
            let path = entry.map_err(at("list", &dir))?.path();
            match count(&path) {
                Ok(true) => pending.push(path),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at("measure", &path)(error)),
            }
        }
    }
    Ok(usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_links_count_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        let empty = measure(dir.path()).unwrap();
        std::fs::write(dir.path().join("d/a"), vec![1; 100_000]).unwrap();
        let one = measure(dir.path()).unwrap();
        std::fs::hard_link(dir.path().join("d/a"), dir.path().join("b")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("d/loop")).unwrap();
        let all = measure(dir.path()).unwrap();
        assert_eq!(empty.inodes, 2);
        assert_eq!(one.inodes, 3);
        assert!(one.bytes - empty.bytes >= 100_000);
        assert_eq!((all.bytes, all.inodes), (one.bytes, 4));
    }
}

//! Disk usage of a tree.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use chunked_linux::{Dir, FileType, Stat, Step, Walk};

use crate::error::{StoreError, at};

/// What a snapshot itself occupies, without its parents.
///
/// A layer counts in every snapshot that points to it, as containerd's overlay counts. Blocks and inodes that a
/// layer shares with older layers, by reflink or hard link, count only in the oldest: the sum over all layers is
/// what the disk holds. When the oldest goes and others stay, its count goes, although the shared part stays until
/// the last of them is gone: what becomes free is another question, see [`crate::Store::reclaimable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes: 512 × blocks, hard links once.
    pub bytes: u64,
    /// Inodes, the root of the tree included.
    pub inodes: u64,
}

impl Usage {
    /// Counts what has this status.
    pub(crate) fn count(&mut self, stat: &Stat) {
        self.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        self.inodes += 1;
    }

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
    let failed = |what| at(what, root);
    let dir = Dir::open(root).map_err(failed("open"))?;
    let mut sum = Sum::default();
    sum.count(&dir.status().map_err(failed("measure"))?);
    let mut walk = Walk::new(&dir).map_err(failed("list"))?;
    loop {
        let step = match walk.step() {
            Ok(Some(step)) => step,
            Ok(None) => return Ok(sum.usage),
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(failed("list")(error)),
        };
        if step == Step::Leave {
            continue;
        }
        match walk.stat() {
            Ok(stat) => sum.count(&stat),
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(failed("measure")(error)),
        }
        if step == Step::Entry(FileType::Directory) {
            walk.enter().map_err(failed("list"))?;
        }
    }
}

/// Removed, or moved away, while it was looked at.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::StaleNetworkFileHandle)
}

/// Adds up what is met on the way through a tree.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    usage: Usage,
    /// Device and inode of what has several names.
    seen: HashSet<(u64, u64)>,
}

impl Sum {
    /// Counts what has this status; a second name of the same counts nothing.
    pub(crate) fn count(&mut self, stat: &Stat) {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory || stat.st_nlink == 1 || self.seen.insert((stat.st_dev, stat.st_ino)) {
            self.usage.count(stat);
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        self.usage
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

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

    /// What a container may do in its own root while it is measured.
    #[test]
    fn planted_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        let (root, outside) = (base.path().join("root"), base.path().join("outside"));
        for n in 0..30 {
            std::fs::create_dir_all(root.join(format!("d{n}"))).unwrap();
            std::fs::create_dir_all(outside.join(format!("o{n}"))).unwrap();
        }
        let quiet = measure(&root).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (0..30).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let place = root.join(format!("d{n}"));
                    std::fs::remove_dir(&place).unwrap();
                    std::os::unix::fs::symlink(&outside, &place).unwrap();
                    std::fs::remove_file(&place).unwrap();
                    std::fs::create_dir(&place).unwrap();
                }
            });
            let begun = std::time::Instant::now();
            while begun.elapsed().as_millis() < 500 {
                let now = measure(&root).unwrap();
                assert!(now.inodes <= quiet.inodes, "{now:?} of {quiet:?}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

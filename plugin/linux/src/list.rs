//! Reading directories.

use rustix::fs::{self, FileType, RawDir};

use crate::{Dir, Result};

/// Bytes of directory entries asked for at a time.
const BUFFER: usize = 32 * 1024;

/// One name in a directory.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: Box<[u8]>,
    /// What the directory says it is: on some filesystems always [`FileType::Unknown`].
    pub(crate) kind: FileType,
    /// Number of its inode.
    pub(crate) number: u64,
    /// Where reading goes on behind it.
    pub(crate) next: u64,
}

/// One name in a directory, and what the directory says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: Vec<u8>,
    /// On some filesystems always [`FileType::Unknown`].
    pub kind: FileType,
    /// Number of its inode.
    pub number: u64,
}

impl Dir {
    /// What is in this directory, without `.` and `..`, in the directory's order. Nothing of it is looked at.
    ///
    /// # Errors
    /// Whatever reading the directory gives.
    pub fn list(&self) -> Result<Vec<Named>> {
        let mut all = Vec::new();
        self.go_on_at(0)?;
        loop {
            let some = self.some()?;
            if some.is_empty() {
                return Ok(all);
            }
            all.extend(some.into_iter().map(|Listed { name, kind, number, .. }| Named {
                name: name.into_vec(),
                kind,
                number,
            }));
        }
    }

    /// Names in this directory, sorted, without `.` and `..`.
    ///
    /// # Errors
    /// Whatever reading the directory gives.
    pub fn names(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        // From the start, also the second time.
        self.go_on_at(0)?;
        loop {
            let some = self.some()?;
            if some.is_empty() {
                break;
            }
            names.extend(some.into_iter().map(|listed| listed.name.into_vec()));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Has this directory no names?
    ///
    /// # Errors
    /// Whatever reading the directory gives.
    pub fn is_empty(&self) -> Result<bool> {
        self.go_on_at(0)?;
        Ok(self.some()?.is_empty())
    }

    pub(crate) fn go_on_at(&self, position: u64) -> Result<()> {
        Ok(fs::seek(self, fs::SeekFrom::Start(position)).map(drop)?)
    }

    /// Some of the names that come next, without `.` and `..`; none at the end.
    pub(crate) fn some(&self) -> Result<Vec<Listed>> {
        let mut buffer = Vec::<u8>::with_capacity(BUFFER);
        let mut entries = RawDir::new(self, buffer.spare_capacity_mut());
        let mut listed = Vec::new();
        while listed.is_empty() || !entries.is_buffer_empty() {
            let Some(entry) = entries.next() else { break };
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                listed.push(Listed {
                    name: name.into(),
                    kind: entry.file_type(),
                    number: entry.ino(),
                    next: entry.next_entry_cookie(),
                });
            }
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_list_says_what_a_look_would() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "").unwrap();
        std::fs::create_dir(at("dir")).unwrap();
        std::os::unix::fs::symlink("file", at("link")).unwrap();
        let opened = Dir::open(dir.path()).unwrap();
        for _ in 0..2 {
            let mut listed = opened.list().unwrap();
            listed.sort_by(|one, other| one.name.cmp(&other.name));
            let expected =
                [("dir", FileType::Directory), ("file", FileType::RegularFile), ("link", FileType::Symlink)];
            let looked = expected.map(|(name, kind)| {
                let number = at(name).symlink_metadata().unwrap().ino();
                Named { name: name.into(), kind, number }
            });
            assert_eq!(listed, looked);
        }
    }
}

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
    /// Where reading goes on behind it.
    pub(crate) next: u64,
}

impl Dir {
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
                    next: entry.next_entry_cookie(),
                });
            }
        }
        Ok(listed)
    }
}

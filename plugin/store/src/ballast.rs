//! Room kept back for the state database: a file that is given up when the filesystem is full, so that snapshots can be
//! removed and layers dropped, which frees more.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Bytes kept: some thousand small transactions.
const BYTES: u64 = 4 << 20;
/// Free bytes without which none are kept back.
const ROOM: u64 = 16 * BYTES;

/// The file.
#[derive(Debug)]
pub(crate) struct Ballast(PathBuf);

impl Ballast {
    pub(crate) fn new(root: &Path) -> Self {
        Self(root.join("ballast"))
    }

    /// Makes the file, if it is not there and the filesystem has room for it.
    pub(crate) fn restore(&self) {
        let there = self.0.metadata().is_ok_and(|meta| meta.len() == BYTES);
        if there || !self.0.parent().is_some_and(has_room) {
            return;
        }
        if let Err(error) = self.make() {
            tracing::debug!(path = %self.0.display(), %error, "no room is kept back");
            self.give_up();
        }
    }

    fn make(&self) -> io::Result<()> {
        let file = File::create(&self.0)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BYTES) {
            Err(Errno::OPNOTSUPP) => {
                io::copy(&mut io::Read::take(io::repeat(0), BYTES), &mut &file).map(drop)
            }
            done => Ok(done?),
        }
    }

    /// Deletes the file. True if it was there.
    pub(crate) fn give_up(&self) -> bool {
        std::fs::remove_file(&self.0).is_ok()
    }
}

fn has_room(root: &Path) -> bool {
    rustix::fs::statvfs(root).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= ROOM)
}

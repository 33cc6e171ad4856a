//! Content: clones, copies, durability.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::Result;

/// Makes `to` share all extents of `from` (FICLONE). `Ok(false)` when this pair of files cannot: another
/// filesystem, or one without reflinks.
pub fn clone_file(to: &File, from: &File) -> Result<bool> {
    match rustix::fs::ioctl_ficlone(to, from) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::NOSYS | Errno::INVAL | Errno::NOTTY | Errno::PERM) => {
            Ok(false)
        }
        Err(e) => Err(e.into()),
    }
}

/// Copies `from` to `to` from their present positions to the end of `from`, at most `limit` bytes; holes of
/// the source may become data. Gives the bytes copied.
pub fn copy_all(to: &mut File, from: &File, limit: u64) -> Result<u64> {
    let mut buffer = vec![0; 128 * 1024];
    let mut from = from.take(limit);
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                to.write_all(&buffer[..n])?;
                total += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Writes everything of the filesystem that holds `fd` to disk.
pub fn sync_filesystem(fd: impl AsFd) -> Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

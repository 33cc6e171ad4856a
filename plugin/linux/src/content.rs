//! Content: clones, copies, durability.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, Mode, OFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};

use crate::{Dir, Result};

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

/// Can files in `dir` share blocks? Tried with two empty files that never have a name.
pub fn can_share_blocks(dir: &Dir) -> bool {
    let unnamed = || {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::openat(dir, ".", flags, Mode::from_raw_mode(0o600)).map(File::from)
    };
    matches!((unnamed(), unnamed()), (Ok(to), Ok(from)) if clone_file(&to, &from).is_ok_and(|done| done))
}

/// Copies `len` bytes from offset `start` of `from` to offset `at` of `to`. Where filesystem and offsets allow it
/// the two files share the blocks afterwards: copy_file_range(2) remaps before it copies, on xfs and btrfs for
/// ranges that begin and end on a block. Gives the bytes copied, fewer than `len` only where `from` ends.
pub fn copy_range(to: &File, at: u64, from: &File, start: u64, len: u64) -> Result<u64> {
    let mut done = 0;
    while done < len {
        let (mut source, mut target) = (start + done, at + done);
        let room = usize::try_from(len - done).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), room) {
            Ok(0) => return Ok(done),
            Ok(n) => done += n as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                return Ok(done + copy_bytes(to, at + done, from, start + done, len - done)?);
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(done)
}

/// The same through a buffer of ours.
fn copy_bytes(to: &File, at: u64, from: &File, start: u64, len: u64) -> Result<u64> {
    let mut buffer = vec![0; 128 * 1024];
    let mut done = 0;
    while done < len {
        let room = usize::try_from(len - done).unwrap_or(usize::MAX).min(buffer.len());
        match from.read_at(&mut buffer[..room], start + done) {
            Ok(0) => break,
            Ok(n) => {
                to.write_all_at(&buffer[..n], at + done)?;
                done += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}

/// Bytes that [`copy_sparse`] copies between two looks whether that is still wanted.
const STEP: u64 = 64 << 20;

/// Copies the first `len` bytes of `from` to `to`, an empty file, which gets that length. Holes stay holes.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when `from` is shorter; [`io::ErrorKind::Interrupted`] once it is not `wanted` any more.
pub fn copy_sparse(to: &File, from: &File, len: u64, wanted: &dyn Fn() -> bool) -> Result<()> {
    to.set_len(len)?;
    let mut at = 0;
    while at < len {
        if !wanted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) if start < len => start,
            // Nothing but a hole up to the end.
            Ok(_) | Err(Errno::NXIO) => break,
            // Not every filesystem knows its holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            Err(e) => return Err(e.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(len).min(len);
        let end = end.min(start.saturating_add(STEP));
        if end <= start || copy_range(to, start, from, start, end - start)? != end - start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at = end;
    }
    if from.metadata()?.len() < len { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

/// Is the beginning of `file` in the page cache, so that reading it does not wait for the disk? Where the kernel cannot
/// tell, it says that it is.
pub fn is_cached(file: &File) -> bool {
    let mut byte = [0];
    let buffer = &mut [io::IoSliceMut::new(&mut byte)];
    !matches!(rustix::io::preadv2(file, buffer, 0, ReadWriteFlags::NOWAIT), Err(Errno::AGAIN))
}

/// Has the kernel read the first `most` bytes of `file` into the page cache, and does not wait for it. Gives the bytes
/// asked for; 0 where there is no such thing.
pub fn read_soon(file: &File, most: u64) -> u64 {
    let len = file.metadata().map_or(0, |meta| meta.len()).min(most);
    let asked = rustix::fs::fadvise(file, 0, NonZeroU64::new(len), Advice::WillNeed);
    if asked.is_ok() { len } else { 0 }
}

/// Writes everything of the filesystem that holds `fd` to disk.
pub fn sync_filesystem(fd: impl AsFd) -> Result<()> {
    Ok(rustix::fs::syncfs(fd)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn ranges_of_every_alignment() {
        let content: Vec<u8> = (0..60_000_u32).map(|i| u8::try_from(i % 253).unwrap()).collect();
        let from = tempfile::tempfile().unwrap();
        from.write_all_at(&content, 0).unwrap();
        for (start, at, len) in
            [(0, 0, 60_000), (4096, 8192, 8192), (5, 4101, 20_000), (7, 3, 1), (4096, 1, 9000)]
        {
            let to = tempfile::tempfile().unwrap();
            assert_eq!(copy_range(&to, at, &from, start, len).unwrap(), len);
            let mut got = vec![0; usize::try_from(len).unwrap()];
            to.read_exact_at(&mut got, at).unwrap();
            let start = usize::try_from(start).unwrap();
            assert!(got == content[start..start + got.len()], "{start} {at} {len}");
        }
        let to = tempfile::tempfile().unwrap();
        assert_eq!(copy_range(&to, 0, &from, 50_000, 20_000).unwrap(), 10_000, "up to its end");
    }

    #[test]
    fn what_was_just_written_is_cached() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[1; 10_000], 0).unwrap();
        assert!(is_cached(&file) && is_cached(&tempfile::tempfile().unwrap()));
        assert_eq!((read_soon(&file, 4096), read_soon(&file, 1 << 20)), (4096, 10_000));
    }

    #[test]
    fn holes_stay_holes() {
        let from = tempfile::tempfile().unwrap();
        from.write_all_at(b"begin", 0).unwrap();
        from.write_all_at(b"middle", 5 << 20).unwrap();
        from.set_len(20 << 20).unwrap();
        let to = tempfile::tempfile().unwrap();
        copy_sparse(&to, &from, 20 << 20, &|| true).unwrap();
        let mut got = [0; 6];
        to.read_exact_at(&mut got, 5 << 20).unwrap();
        assert_eq!((&got, to.metadata().unwrap().len()), (b"middle", 20 << 20));
        assert!(to.metadata().unwrap().blocks() <= from.metadata().unwrap().blocks() + 8);
        assert!(
            copy_sparse(&tempfile::tempfile().unwrap(), &from, 30 << 20, &|| true).is_err(),
            "it is shorter"
        );
        let given_up = copy_sparse(&tempfile::tempfile().unwrap(), &from, 20 << 20, &|| false);
        assert_eq!(given_up.unwrap_err().kind(), io::ErrorKind::Interrupted);
    }
}

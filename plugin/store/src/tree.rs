//! Reading a layer's tree: its paths are an image's, so nothing is followed and nothing outside is opened.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use chunked_core::{Digest, Hasher};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const BUFFER: usize = 256 * 1024;
/// How often an open is tried again that a rename elsewhere disturbed.
const DISTURBED: usize = 64;

/// An open root of a layer.
#[derive(Debug)]
pub(crate) struct Tree(File);

/// Something in a directory.
#[derive(Debug)]
pub(crate) struct Node {
    /// Path from the root.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: FileType,
}

impl Tree {
    pub(crate) fn open(fs: &Path) -> io::Result<Self> {
        Ok(Self(File::open(fs)?))
    }

    /// Opens a regular file.
    pub(crate) fn file(&self, path: &[u8]) -> io::Result<File> {
        let file = self.beneath(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }

    /// What is in the directory at `path`; the empty path is the root.
    pub(crate) fn list(&self, path: &[u8]) -> io::Result<Vec<Node>> {
        let here = if path.is_empty() { b".".as_slice() } else { path };
        let dir = self.beneath(here, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut nodes = Vec::new();
        for entry in rustix::fs::Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let path = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat =
                        rustix::fs::statat(&dir, entry.file_name(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                known => known,
            };
            nodes.push(Node { path, kind });
        }
        Ok(nodes)
    }

    fn beneath(&self, path: &[u8], flags: OFlags) -> io::Result<File> {
        let how = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let path = std::ffi::OsStr::from_bytes(path);
        let mut tries = 0;
        loop {
            match rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) if tries < DISTURBED => tries += 1,
                opened => return Ok(opened?.into()),
            }
        }
    }
}

/// Digest and length of what is left of `file`. `with` is told of each piece and may end it with an error.
pub(crate) fn digest(
    file: &mut File,
    mut with: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(Digest, u64)> {
    let mut hasher = Hasher::new();
    let mut len = 0;
    read(file, |bytes| {
        hasher.update(bytes);
        len += bytes.len() as u64;
        with(bytes)
    })?;
    Ok((hasher.finish(), len))
}

/// Reads what is left of `file`, in pieces. `with` may end it with an error.
pub(crate) fn read(file: &mut File, mut with: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => with(buffer.get(..n).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let fs = dir.path().join("fs");
        std::fs::create_dir_all(fs.join("d")).unwrap();
        std::fs::write(fs.join("d/file"), "x").unwrap();
        std::fs::write(dir.path().join("outside"), "secret").unwrap();
        for (link, to) in [("up", "../outside"), ("abs", "/etc/passwd"), ("dir", "d"), ("d/self", "file")] {
            std::os::unix::fs::symlink(to, fs.join(link)).unwrap();
        }
        rustix::fs::mknodat(rustix::fs::CWD, fs.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let tree = Tree::open(&fs).unwrap();
        for path in ["up", "abs", "dir/file", "d/self", "fifo", "../outside", "/etc/passwd", "d", ""] {
            assert!(tree.file(path.as_bytes()).is_err(), "{path}");
        }
        let (found, len) = digest(&mut tree.file(b"d/file").unwrap(), |_| Ok(())).unwrap();
        assert_eq!((found, len), (Digest::of(b"x"), 1));
        let mut names: Vec<_> = tree.list(b"").unwrap().into_iter().map(|node| node.path).collect();
        names.sort();
        assert_eq!(names, [b"abs".as_slice(), b"d", b"dir", b"fifo", b"up"]);
        assert_eq!(tree.list(b"d").unwrap().len(), 2);
        assert!(tree.list(b"dir").is_err() && tree.list(b"..").is_err());
    }
}

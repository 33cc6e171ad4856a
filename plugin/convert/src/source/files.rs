//! Files of a directory, or of a tar as if it were one.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use chunked_compression::{Compression, PEEK};
use chunked_core::ByteRange;

use crate::error::ConvertError;
use crate::temp::Temp;

/// Most entries of a tar that are looked at.
const MAX_ENTRIES: usize = 1_000_000;
/// Links to links followed.
const MAX_LINKS: usize = 8;
/// Longest document read from a file, in bytes.
pub(crate) const MAX_DOCUMENT: u64 = 8 << 20;

/// Where the files are.
#[derive(Debug, Clone)]
pub(crate) enum Files {
    Directory(PathBuf),
    Tar(Arc<TarFile>),
}

/// A tar, opened once, and where its files lie in it. Names are keys and never paths of this machine.
#[derive(Debug)]
pub(crate) struct TarFile {
    path: PathBuf,
    file: File,
    entries: HashMap<PathBuf, Found>,
}

#[derive(Debug)]
enum Found {
    /// Offset and length in bytes.
    At(u64, u64),
    Link(PathBuf),
}

/// A stretch of a file, read by position: readers do not disturb each other.
#[derive(Debug)]
pub(crate) struct Stretch {
    file: Arc<File>,
    offset: u64,
    left: u64,
}

impl Stretch {
    /// The bytes of `range` of it.
    pub(crate) fn range(&self, range: ByteRange) -> io::Result<Vec<u8>> {
        if range.end > self.left {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(range.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, self.offset + range.start)?;
        Ok(bytes)
    }
}

impl Read for Stretch {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(room) = buffer.get_mut(..wanted).filter(|room| !room.is_empty()) else { return Ok(0) };
        let n = self.file.read_at(room, self.offset)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}

impl Files {
    /// The files of the tar at `path`; one that is compressed is first unpacked into a temporary file.
    pub(crate) fn tar(path: &Path, temp: &Temp) -> Result<Self, ConvertError> {
        let failed = |source| ConvertError::File { path: path.to_path_buf(), source };
        let mut file = File::open(path).map_err(failed)?;
        let mut start = [0; PEEK];
        let n = file.read_at(&mut start, 0).map_err(failed)?;
        let compression = Compression::detect(&start[..n]);
        if compression != Compression::Tar {
            let mut unpacked = temp.file()?;
            let mut decoder = compression.decoder(&file);
            io::copy(&mut decoder, &mut unpacked).map_err(failed)?;
            drop(decoder);
            file = unpacked;
        }
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let entries = entries(&file).map_err(failed)?;
        if entries.is_empty() {
            return Err(ConvertError::place(path.display(), "it is no tar with files in it"));
        }
        Ok(Self::Tar(Arc::new(TarFile { path: path.to_path_buf(), file, entries })))
    }

    /// The place, for error texts.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Tar(tar) => tar.path.display().to_string(),
        }
    }

    /// Opens `name`; `None` when there is no such file. Gives its length in bytes, too.
    pub(crate) fn open(&self, name: &str) -> Result<Option<(Stretch, u64)>, ConvertError> {
        match self {
            Self::Directory(directory) => {
                let path = directory.join(name);
                let file = match File::open(&path) {
                    Ok(file) => file,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(source) => return Err(ConvertError::File { path, source }),
                };
                let left = file.metadata().map_err(ConvertError::file(path))?.len();
                Ok(Some((Stretch { file: Arc::new(file), offset: 0, left }, left)))
            }
            Self::Tar(tar) => {
                let Some((offset, left)) = tar.find(name) else { return Ok(None) };
                let file = tar.file.try_clone().map_err(ConvertError::file(&tar.path))?;
                Ok(Some((Stretch { file: Arc::new(file), offset, left }, left)))
            }
        }
    }

    /// The bytes of a document; `None` when there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, ConvertError> {
        let Some((mut stretch, size)) = self.open(name)? else { return Ok(None) };
        if size > MAX_DOCUMENT {
            let reason = format!("{name} has {size} bytes, at most {MAX_DOCUMENT} are read");
            return Err(ConvertError::place(self.place(), reason));
        }
        let mut bytes = Vec::new();
        let read = stretch.read_to_end(&mut bytes);
        read.map_err(|error| ConvertError::place(self.place(), format!("{name}: {error}")))?;
        Ok(Some(bytes))
    }
}

impl TarFile {
    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = clean(Path::new(name));
        for _ in 0..MAX_LINKS {
            match self.entries.get(&name)? {
                Found::At(offset, size) => return Some((*offset, *size)),
                Found::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

fn entries(file: &File) -> io::Result<HashMap<PathBuf, Found>> {
    let mut archive = tar::Archive::new(BufReader::with_capacity(4096, file));
    let mut found = HashMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if found.len() >= MAX_ENTRIES {
            return Err(io::Error::other("too many entries"));
        }
        let name = clean(&entry.path()?);
        let kind = entry.header().entry_type();
        if kind.is_file() {
            found.insert(name, Found::At(entry.raw_file_position(), entry.size()));
        } else if kind.is_hard_link() || kind.is_symlink() {
            let Some(target) = entry.link_name()? else { continue };
            let target = if kind.is_symlink() {
                clean(&name.parent().unwrap_or(Path::new("")).join(target))
            } else {
                clean(&target)
            };
            found.insert(name, Found::Link(target));
        }
    }
    Ok(found)
}

/// A name without `.`, `..` and leading `/`, by text alone.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => cleaned.push(part),
            Component::ParentDir => {
                cleaned.pop();
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn tar() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        builder.append_data(&mut header, "./a/layer.tar", b"hello".as_slice()).unwrap();
        for (name, target, kind) in [
            ("b/layer.tar", "../a/layer.tar", tar::EntryType::Symlink),
            ("c/layer.tar", "b/layer.tar", tar::EntryType::Link),
            ("loop", "loop", tar::EntryType::Symlink),
            ("out", "../../../../etc/passwd", tar::EntryType::Symlink),
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(kind);
            header.set_size(0);
            builder.append_link(&mut header, name, target).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn files_of_a_tar_by_name_and_link() {
        let directory = tempfile::tempdir().unwrap();
        let temp = Temp::new(Some(directory.path()));
        let path = directory.path().join("x.tar");
        let gzip = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&tar()).unwrap();
            encoder.finish().unwrap()
        };
        for bytes in [tar(), gzip] {
            std::fs::write(&path, bytes).unwrap();
            let files = Files::tar(&path, &temp).unwrap();
            for name in ["a/layer.tar", "b/layer.tar", "c/layer.tar", "./a/../a/layer.tar"] {
                assert_eq!(files.read(name).unwrap().as_deref(), Some(b"hello".as_slice()), "{name}");
            }
            for name in ["loop", "out", "/etc/passwd", "a"] {
                assert_eq!(files.read(name).unwrap(), None, "{name}");
            }
        }
        std::fs::write(&path, b"not a tar").unwrap();
        assert!(Files::tar(&path, &temp).is_err());
    }
}

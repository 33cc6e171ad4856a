//! An image's root file system as one plain tree, from its layers' directories.
//!
//! Overlay's rules applied in user space (kernel documentation, overlayfs.rst): a 0:0 character device removes
//! what lies below, an opaque directory hides it, directories merge with the upper one's metadata. Files are
//! reflinked or copied, never linked: whoever owns the tree may write to it, and the store must not change.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use chunked_core::{Timestamp, Xattr};
use chunked_linux::{Dir, NodeType, Times, clone_file};

/// Writes the merged tree of `layers` (lowest first) into `to`, which must be empty or not exist.
pub(crate) fn write(layers: &[PathBuf], to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    if fs::read_dir(to)?.next().is_some() {
        bail!("{} is not empty: name a new or empty directory with --to", to.display());
    }
    for layer in layers {
        let mut merge = Merge { links: HashMap::new() };
        merge.directory(layer, to).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(())
}

struct Merge {
    /// Files of this layer that have several names, by inode.
    links: HashMap<u64, PathBuf>,
}

impl Merge {
    fn directory(&mut self, from: &Path, to: &Path) -> Result<()> {
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(from)? {
            names.push(entry?.file_name());
        }
        names.sort_unstable();
        let target = Dir::open(to)?;
        for name in names {
            self.entry(&from.join(&name), &to.join(&name), &target, &name)
                .with_context(|| format!("{}", to.join(&name).display()))?;
        }
        let meta = fs::symlink_metadata(from)?;
        apply(&File::open(to)?, &meta, &xattrs(&File::open(from)?)?)
    }

    fn entry(&mut self, from: &Path, to: &Path, target: &Dir, name: &OsStr) -> Result<()> {
        let meta = fs::symlink_metadata(from)?;
        let kind = meta.file_type();
        let name = name.as_bytes();
        if kind.is_char_device() && meta.rdev() == 0 {
            return Ok(target.remove_all(name)?);
        }
        if kind.is_dir() {
            let opaque = is_opaque(from)?;
            let merges = fs::symlink_metadata(to).is_ok_and(|there| there.is_dir()) && !opaque;
            if !merges {
                target.remove_all(name)?;
                target.create_dir(name)?;
            }
            return self.directory(from, to);
        }
        target.remove_all(name)?;
        if meta.nlink() > 1 {
            if let Some(first) = self.links.get(&meta.ino()) {
                return Ok(fs::hard_link(first, to)?);
            }
            self.links.insert(meta.ino(), to.to_path_buf());
        }
        if kind.is_file() {
            return copy(from, &target.create_file(name, 0o600)?, &meta);
        }
        node(from, target, name, &meta)
    }
}

fn node(from: &Path, target: &Dir, name: &[u8], meta: &Metadata) -> Result<()> {
    let kind = meta.file_type();
    if kind.is_symlink() {
        target.create_symlink(name, fs::read_link(from)?.as_os_str().as_bytes())?;
    } else {
        let node = match () {
            () if kind.is_char_device() => NodeType::Char,
            () if kind.is_block_device() => NodeType::Block,
            () => NodeType::Fifo,
        };
        let device = meta.rdev();
        target.create_node(name, node, meta.mode(), rustix::fs::major(device), rustix::fs::minor(device))?;
    }
    let wanted = chunked_linux::Metadata {
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        times: times(meta),
    };
    Ok(target.set_node_metadata(name, &wanted, &[], kind.is_symlink())?)
}

fn copy(from: &Path, to: &File, meta: &Metadata) -> Result<()> {
    let source = File::options()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed())
        .open(from)?;
    if !clone_file(to, &source)? {
        let mut to = to;
        io::copy(&mut &source, &mut to)?;
    }
    apply(to, meta, &xattrs(&source)?)
}

fn apply(to: &File, meta: &Metadata, xattrs: &[Xattr]) -> Result<()> {
    let wanted = chunked_linux::Metadata {
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        times: times(meta),
    };
    Ok(chunked_linux::set_fd_metadata(to, &wanted, xattrs, None)?)
}

fn times(meta: &Metadata) -> Times {
    let time = |seconds, nanos| Timestamp { seconds, nanos: u32::try_from(nanos).unwrap_or(0) };
    Times {
        access: time(meta.atime(), meta.atime_nsec()),
        modification: time(meta.mtime(), meta.mtime_nsec()),
    }
}

fn is_opaque(directory: &Path) -> Result<bool> {
    let mut value = [0; 2];
    match rustix::fs::lgetxattr(directory, "trusted.overlay.opaque", &mut value) {
        Ok(n) => Ok(value.get(..n) == Some(b"y")),
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::RANGE) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Attributes of `file`, overlay's own left out.
fn xattrs(file: &File) -> Result<Vec<Xattr>> {
    let mut names = vec![0; 64 * 1024];
    let n = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(n) => n,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut list = Vec::new();
    let names = names.get(..n).unwrap_or_default();
    for name in names.split(|&b| b == 0).filter(|name| !name.is_empty() && !name.starts_with(b"trusted.")) {
        let mut value = vec![0; 64 * 1024];
        let n = rustix::fs::fgetxattr(file, OsStr::from_bytes(name), &mut value[..])?;
        value.truncate(n);
        list.push(Xattr { name: name.to_vec(), value });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_layers_win() {
        let base = tempfile::tempdir().unwrap();
        let (one, two, to) = (base.path().join("1"), base.path().join("2"), base.path().join("to"));
        for dir in ["1/kept", "1/hidden", "1/gone", "2/hidden", "2/kept"] {
            fs::create_dir_all(base.path().join(dir)).unwrap();
        }
        for (file, text) in [
            ("1/kept/a", "a"),
            ("1/hidden/b", "b"),
            ("1/gone/c", "c"),
            ("2/kept/d", "d"),
            ("1/f", "1"),
            ("2/f", "2"),
        ] {
            fs::write(base.path().join(file), text).unwrap();
        }
        fs::hard_link(two.join("f"), two.join("g")).unwrap();
        Dir::open(&two).unwrap().create_node(b"gone", NodeType::Char, 0, 0, 0).unwrap();
        Dir::open(&two.join("hidden")).unwrap().set_opaque().unwrap();
        write(&[one.clone(), two], &to).unwrap();
        assert!(to.join("kept/a").exists() && to.join("kept/d").exists());
        assert!(!to.join("gone").exists() && !to.join("hidden/b").exists());
        assert_eq!(fs::read(to.join("f")).unwrap(), b"2");
        let ino = |name: &str| fs::metadata(to.join(name)).unwrap().ino();
        assert_eq!(ino("f"), ino("g"));
        assert!(write(&[one], &to).is_err(), "a directory that is not empty is refused");
    }
}

//! Attributes of implied directories: found in the layers below, applied to a layer's tree.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use chunked_core::{Digest, Hasher, Timestamp, Xattr};
use chunked_linux::{Dir, Metadata};
use rustix::io::Errno;

use crate::error::{StoreError, at};

/// What containerd copies from a directory below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    modified: Timestamp,
    xattrs: Xattrs,
}

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// For each implied directory its attributes in the top-most of `parents` that has the path; `None` stands
/// for containerd's default: 0755, owner root, and the group that the kernel gives.
pub(crate) fn resolve(
    parents: &[PathBuf],
    implied: &[Vec<u8>],
) -> Result<Vec<Option<Attributes>>, StoreError> {
    let open = |path: &PathBuf| match Dir::open(path) {
        Ok(root) => Ok((path.clone(), root)),
        Err(error) => Err(at("open", path)(error)),
    };
    let roots: Vec<(PathBuf, Dir)> = parents.iter().map(open).collect::<Result<_, _>>()?;
    implied.iter().map(|path| resolve_one(&roots, path)).collect()
}

fn resolve_one(roots: &[(PathBuf, Dir)], path: &[u8]) -> Result<Option<Attributes>, StoreError> {
    for (root, handle) in roots {
        // A symlink in a layer leads where it would in a container, and never out of the layer.
        match handle.open_dir_following(path) {
            Ok(dir) => return read(&dir).map(Some).map_err(at("read attributes of", &join(root, path))),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => {}
                // Not a directory in this layer, or below something that is none (a whiteout, usually): what is
                // further down was replaced. containerd's unpack fails for the second case; an image must not.
                Some(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(None),
                _ => return Err(at("open", &join(root, path))(error)),
            },
        }
    }
    Ok(None)
}

fn read(dir: &Dir) -> io::Result<Attributes> {
    let Metadata { mode, uid, gid, times } = Metadata::from(&dir.status()?);
    Ok(Attributes { mode, uid, gid, modified: times.modification, xattrs: read_xattrs(dir)? })
}

/// All but `trusted.*`, which are overlay's and ours.
fn read_xattrs(dir: &Dir) -> io::Result<Xattrs> {
    let all = chunked_linux::xattrs(dir)?.into_iter();
    Ok(all
        .filter(|xattr| !xattr.name.starts_with(b"trusted."))
        .map(|xattr| (xattr.name, xattr.value))
        .collect())
}

/// The digest of what the implied directories are given, but for times: only empty directories keep one, and it is not
/// worth a tree of its own.
pub(crate) fn context(implied: &[Vec<u8>], wanted: &[Option<Attributes>]) -> Digest {
    let mut hasher = Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    for (path, attributes) in implied.iter().zip(wanted) {
        field(path);
        let Some(found) = attributes else {
            field(b"default");
            continue;
        };
        field(b"found");
        for number in [found.mode, found.uid, found.gid] {
            field(&number.to_le_bytes());
        }
        field(&(found.xattrs.len() as u64).to_le_bytes());
        for (name, value) in &found.xattrs {
            field(name);
            field(value);
        }
    }
    hasher.finish()
}

/// Gives the implied directories of the tree at `fs` their attributes; a second call with others undoes the
/// first. With `sync`, they are on disk when this returns.
///
/// The time of modification is that of the unpack, unless the directory is empty: containerd copies it from the layer
/// below, and loses it when it fills the directory.
pub(crate) fn apply(
    fs: &Path,
    implied: &[Vec<u8>],
    wanted: &[Option<Attributes>],
    sync: bool,
) -> Result<(), StoreError> {
    let root = Dir::open(fs).map_err(at("open", fs))?;
    let mut changed = Vec::new();
    for (path, attributes) in implied.iter().zip(wanted) {
        let full = join(fs, path);
        let dir = root.open_dir(path).map_err(at("open", &full))?;
        let group = if attributes.is_some() { Ok(0) } else { group_of_parent(&root, path) };
        let written = group.and_then(|group| write(&dir, attributes.as_ref(), group));
        written.map_err(at("set attributes of", &full))?;
        if sync {
            // The first sync writes the journal, the others find little to do; but not too many open files.
            changed.push(dir);
            if changed.len() == 256 {
                sync_all(&mut changed, fs)?;
            }
        }
    }
    sync_all(&mut changed, fs)
}

fn sync_all(dirs: &mut Vec<Dir>, fs: &Path) -> Result<(), StoreError> {
    dirs.drain(..).try_for_each(|dir| dir.sync()).map_err(at("sync directories of", fs))
}

/// The group that mkdir(2) gives a new directory at `path`: that of a parent with the setgid bit.
fn group_of_parent(root: &Dir, path: &[u8]) -> io::Result<u32> {
    let above = path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at)).unwrap_or_default();
    let parent = Metadata::from(&root.open_dir(above)?.status()?);
    Ok(if parent.mode & 0o2000 == 0 { 0 } else { parent.gid })
}

/// `group` is for a directory without attributes.
fn write(dir: &Dir, attributes: Option<&Attributes>, group: u32) -> io::Result<()> {
    let (uid, gid, mode) = attributes.map_or((0, group, 0o755), |found| (found.uid, found.gid, found.mode));
    dir.set_owner_and_mode(uid, gid, mode)?;
    let (have, none) = (read_xattrs(dir)?, Xattrs::new());
    let want = attributes.map_or(&none, |found| &found.xattrs);
    for name in have.keys().filter(|name| !want.contains_key(*name)) {
        chunked_linux::remove_xattr(dir, name)?;
    }
    for (name, value) in want.iter().filter(|(name, value)| have.get(*name) != Some(value)) {
        chunked_linux::set_xattr_fd(dir, &Xattr { name: name.clone(), value: value.clone() })?;
    }
    match attributes {
        Some(found) if dir.names()?.is_empty() => dir.set_modified(found.modified),
        _ => Ok(()),
    }
}

fn join(root: &Path, path: &[u8]) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path))
}

//! Attributes of implied directories: found in the layers below, applied to a layer's tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use chunked_core::{Digest, Hasher};
use rustix::fs::{Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, XattrFlags};
use rustix::io::Errno;

use crate::error::{StoreError, at};

/// Most bytes the kernel gives for a list of names or a value.
const XATTR_MAX: usize = 64 * 1024;
/// How often a look-up is tried again that a rename elsewhere disturbed.
const DISTURBED: usize = 64;

/// What containerd copies from a directory below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    mtime_nanos: i64,
    xattrs: Xattrs,
}

type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// For each implied directory its attributes in the top-most of `parents` that has the path; `None` stands
/// for containerd's default: 0755, owner root.
pub(crate) fn resolve(
    parents: &[PathBuf],
    implied: &[Vec<u8>],
) -> Result<Vec<Option<Attributes>>, StoreError> {
    let open = |path: &PathBuf| match File::open(path) {
        Ok(root) => Ok((path.clone(), root)),
        Err(error) => Err(at("open", path)(error)),
    };
    let roots: Vec<(PathBuf, File)> = parents.iter().map(open).collect::<Result<_, _>>()?;
    implied.iter().map(|path| resolve_one(&roots, path)).collect()
}

fn resolve_one(roots: &[(PathBuf, File)], path: &[u8]) -> Result<Option<Attributes>, StoreError> {
    for (root, handle) in roots {
        match open_dir(handle, path, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
            Ok(dir) => return read(&dir).map(Some).map_err(at("read attributes of", &join(root, path))),
            Err(Errno::NOENT) => {}
            // Not a directory in this layer, or below something that is none (a whiteout, usually): what is
            // further down was replaced. containerd's unpack fails for the second case; an image must not.
            Err(Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Ok(None),
            Err(error) => return Err(at("open", &join(root, path))(error)),
        }
    }
    Ok(None)
}

/// Opens a directory below `root`, which symlinks cannot leave.
fn open_dir(root: &File, path: &[u8], how: ResolveFlags) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) if tries < DISTURBED => tries += 1,
            opened => return opened.map(File::from),
        }
    }
}

fn read(dir: &File) -> io::Result<Attributes> {
    let meta = dir.metadata()?;
    Ok(Attributes {
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: meta.mtime(),
        mtime_nanos: meta.mtime_nsec(),
        xattrs: read_xattrs(dir)?,
    })
}

/// All but `trusted.*`, which are overlay's and ours.
fn read_xattrs(dir: &File) -> io::Result<Xattrs> {
    let mut list = vec![0; XATTR_MAX];
    let len = match rustix::fs::flistxattr(dir, list.as_mut_slice()) {
        Ok(len) => len,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    list.truncate(len);
    let mut xattrs = Xattrs::new();
    for name in list.split(|b| *b == 0).filter(|name| !name.is_empty() && !name.starts_with(b"trusted.")) {
        let mut value = vec![0; XATTR_MAX];
        match rustix::fs::fgetxattr(dir, name, value.as_mut_slice()) {
            Ok(len) => value.truncate(len),
            Err(Errno::NODATA | Errno::NOTSUP) => continue,
            Err(error) => return Err(error.into()),
        }
        xattrs.insert(name.to_vec(), value);
    }
    Ok(xattrs)
}

/// The digest of what the implied directories are given.
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
        field(&found.mtime.to_le_bytes());
        field(&found.mtime_nanos.to_le_bytes());
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
/// The time of modification is kept too where one was found. containerd loses it when it fills the
/// directory; ours stays the same from node to node.
pub(crate) fn apply(
    fs: &Path,
    implied: &[Vec<u8>],
    wanted: &[Option<Attributes>],
    sync: bool,
) -> Result<(), StoreError> {
    let root = File::open(fs).map_err(at("open", fs))?;
    let mut changed = Vec::new();
    for (path, attributes) in implied.iter().zip(wanted) {
        let full = join(fs, path);
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let dir = open_dir(&root, path, beneath).map_err(at("open", &full))?;
        write(&dir, attributes.as_ref()).map_err(at("set attributes of", &full))?;
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

fn sync_all(dirs: &mut Vec<File>, fs: &Path) -> Result<(), StoreError> {
    dirs.drain(..).try_for_each(|dir| dir.sync_all()).map_err(at("sync directories of", fs))
}

fn write(dir: &File, attributes: Option<&Attributes>) -> io::Result<()> {
    let (uid, gid, mode) = attributes.map_or((0, 0, 0o755), |found| (found.uid, found.gid, found.mode));
    let meta = dir.metadata()?;
    if (meta.uid(), meta.gid()) != (uid, gid) {
        std::os::unix::fs::fchown(dir, Some(uid), Some(gid))?;
    }
    dir.set_permissions(std::fs::Permissions::from_mode(mode))?;
    let (have, none) = (read_xattrs(dir)?, Xattrs::new());
    let want = attributes.map_or(&none, |found| &found.xattrs);
    for name in have.keys().filter(|name| !want.contains_key(*name)) {
        rustix::fs::fremovexattr(dir, name.as_slice())?;
    }
    for (name, value) in want.iter().filter(|(name, value)| have.get(*name) != Some(value)) {
        match rustix::fs::fsetxattr(dir, name.as_slice(), value, XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let Some(found) = attributes else { return Ok(()) };
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: found.mtime, tv_nsec: found.mtime_nanos },
    };
    Ok(rustix::fs::futimens(dir, &times)?)
}

fn join(root: &Path, path: &[u8]) -> PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path))
}

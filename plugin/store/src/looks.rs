//! What a layer's tree looks like apart from the bytes of its files: names, kinds, modes, owners, times, attributes. One
//! digest of all that is kept when the layer is committed; verification computes it again.

use std::path::Path;

use chunked_core::{Digest, Hasher};
use chunked_linux::{Dir, FileType, Stat, Step, Walk};

use crate::error::{StoreError, at};
use crate::usage::{Sum, Usage};

/// What SELinux says of a file is the node's business: relabelling changes it.
const OF_THE_NODE: &[u8] = b"security.selinux";

/// What was seen on the way through a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Looks {
    /// What the tree occupies.
    pub(crate) usage: Usage,
    /// Of everything but contents, and but the attributes of implied directories, which adoption sets.
    pub(crate) metadata: Digest,
}

/// Looks through the tree of a layer, `implied` being its directories that the tar does not describe.
pub(crate) fn look(root: &Path, implied: &[Vec<u8>]) -> Result<Looks, StoreError> {
    let failed = |what| at(what, root);
    let dir = Dir::open(root).map_err(failed("open"))?;
    let (mut sum, mut entries) = (Sum::default(), Vec::new());
    let stat = dir.status().map_err(failed("look at"))?;
    sum.count(&stat);
    let xattrs = chunked_linux::xattrs(&dir).map_err(failed("read attributes in"))?;
    entries.push(entry(b"", &stat, &[], xattrs));
    let mut implied: Vec<&[u8]> = implied.iter().map(Vec::as_slice).collect();
    implied.sort_unstable();
    let mut walk = Walk::new(&dir).map_err(failed("list"))?;
    while let Some(step) = walk.step().map_err(failed("list"))? {
        let Step::Entry(kind) = step else { continue };
        let stat = walk.stat().map_err(failed("look through"))?;
        sum.count(&stat);
        if implied.binary_search(&walk.path()).is_ok() {
            entries.push(Digest::of(walk.path()));
        } else {
            let here = walk.dir().map_err(failed("look through"))?;
            let target = if kind == FileType::Symlink { here.read_link(walk.name()) } else { Ok(Vec::new()) };
            let target = target.map_err(failed("read links in"))?;
            let xattrs = here.node_xattrs(walk.name()).map_err(failed("read attributes in"))?;
            entries.push(entry(walk.path(), &stat, &target, xattrs));
        }
        if kind == FileType::Directory {
            walk.enter().map_err(failed("list"))?;
        }
    }
    Ok(Looks { usage: sum.usage(), metadata: all(entries) })
}

/// In whatever order they were met.
fn all(mut entries: Vec<Digest>) -> Digest {
    entries.sort_unstable();
    let mut hasher = Hasher::new();
    entries.iter().for_each(|entry| hasher.update(entry.as_bytes()));
    hasher.finish()
}

fn entry(path: &[u8], stat: &Stat, target: &[u8], mut xattrs: Vec<chunked_core::Xattr>) -> Digest {
    let kind = FileType::from_raw_mode(stat.st_mode);
    // A directory's length is the filesystem's business.
    let len = if kind == FileType::RegularFile { stat.st_size } else { 0 };
    let device =
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) { stat.st_rdev } else { 0 };
    let mut hasher = Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    field(path);
    field(target);
    for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
        field(&number.to_le_bytes());
    }
    for number in
        [i128::from(stat.st_mtime), i128::from(stat.st_mtime_nsec), i128::from(len), i128::from(device)]
    {
        field(&number.to_le_bytes());
    }
    xattrs.retain(|xattr| xattr.name != OF_THE_NODE);
    xattrs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for xattr in &xattrs {
        field(&xattr.name);
        field(&xattr.value);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use super::*;

    type Change = (&'static str, fn(&Path));

    fn tree(root: &Path) {
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        fs::write(root.join("usr/bin/tool"), "0123456789").unwrap();
        symlink("tool", root.join("usr/bin/link")).unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::new(1_600_000_000, 7);
        for path in ["usr/bin/tool", "usr/bin", "usr", "empty", ""] {
            fs::File::open(root.join(path)).unwrap().set_modified(old).unwrap();
        }
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn every_change_shows_and_reading_does_not() {
        let changes: [Change; 9] = [
            ("mode", |root| mode(&root.join("usr/bin/tool"), 0o4755)),
            ("mode of a directory", |root| mode(&root.join("usr"), 0o700)),
            ("mode of the root", |root| mode(root, 0o700)),
            ("owner", |root| std::os::unix::fs::chown(root.join("usr/bin/tool"), Some(7), None).unwrap()),
            ("group of a link", |root| {
                std::os::unix::fs::lchown(root.join("usr/bin/link"), None, Some(7)).unwrap();
            }),
            ("time", |root| {
                fs::File::open(root.join("usr/bin/tool")).unwrap().set_modified(SystemTime::now()).unwrap();
            }),
            ("length", |root| {
                fs::File::options().write(true).open(root.join("usr/bin/tool")).unwrap().set_len(3).unwrap();
            }),
            ("a file more", |root| fs::write(root.join("usr/more"), "").unwrap()),
            ("a directory less", |root| fs::remove_dir(root.join("empty")).unwrap()),
        ];
        for (what, change) in changes {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("fs");
            tree(&root);
            let before = look(&root, &[]).unwrap();
            fs::read(root.join("usr/bin/tool")).unwrap();
            fs::hard_link(root.join("usr/bin/tool"), dir.path().join("twin")).unwrap();
            assert_eq!(look(&root, &[]).unwrap(), before, "{what}: a reader and a twin change nothing");
            change(&root);
            assert_ne!(look(&root, &[]).unwrap().metadata, before.metadata, "{what}");
        }
    }

    #[test]
    fn attributes_and_targets_count() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("fs");
        tree(&root);
        let before = look(&root, &[]).unwrap().metadata;
        let tool = fs::File::open(root.join("usr/bin/tool")).unwrap();
        let xattr = chunked_core::Xattr { name: b"user.x".to_vec(), value: b"1".to_vec() };
        chunked_linux::set_xattr_fd(&tool, &xattr).unwrap();
        let with = look(&root, &[]).unwrap().metadata;
        chunked_linux::remove_xattr(&tool, b"user.x").unwrap();
        assert_eq!(look(&root, &[]).unwrap().metadata, before);
        // Filesystems without such attributes have nothing to compare.
        if !chunked_linux::xattrs(&tool).unwrap().is_empty() || with != before {
            assert_ne!(with, before);
        }
        let bin = root.join("usr/bin");
        let time = fs::symlink_metadata(&bin).unwrap().modified().unwrap();
        fs::remove_file(bin.join("link")).unwrap();
        symlink("/bin/sh", bin.join("link")).unwrap();
        fs::File::open(&bin).unwrap().set_modified(time).unwrap();
        assert_ne!(look(&root, &[]).unwrap().metadata, before);
    }

    #[test]
    fn what_adoption_sets_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("fs");
        tree(&root);
        let implied = [b"usr".to_vec(), b"usr/bin".to_vec()];
        let before = look(&root, &implied).unwrap();
        mode(&root.join("usr"), 0o700);
        assert_eq!(look(&root, &implied).unwrap(), before);
        mode(&root.join("usr/bin/tool"), 0o700);
        assert_ne!(look(&root, &implied).unwrap(), before);
        fs::remove_dir_all(root.join("usr")).unwrap();
        assert_ne!(look(&root, &implied).unwrap(), before);
    }
}

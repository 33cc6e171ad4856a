//! Refuses a root that cannot hold layers, before anything is pulled into it.

use std::io;
use std::path::Path;

use chunked_linux::{Dir, Lack, filesystem_name, lacks};

use crate::error::StoreError;

/// Where it is tried, below `staging`: what a killed daemon leaves there goes at the next start.
const SCRATCH: &[u8] = b"probe";

/// Tries in `staging`, a directory of the store at `root`, what layers need.
///
/// A full or failing disk is no reason to refuse: removing and reading must go on.
pub(crate) fn check(root: &Path, staging: &Path) -> Result<(), StoreError> {
    match tried(staging, SCRATCH) {
        Ok(None) => Ok(()),
        Ok(Some(lack)) => Err(unsuitable(root, lack)),
        Err(error) => {
            tracing::warn!(root = %root.display(), %error, "it could not be tried whether the root can hold layers");
            Ok(())
        }
    }
}

/// Tries whether a store at `root` could hold layers, without opening it, and beside a daemon that has it open. Where there
/// is no store yet, the directory is tried that it would be made in. Nothing is left behind.
///
/// # Errors
/// [`StoreError::Unsuitable`] says what is lacking; others say why it could not be tried.
pub fn try_root(root: &Path) -> Result<(), StoreError> {
    let staging = root.join("staging");
    let mut places = std::iter::once(staging.as_path()).chain(root.ancestors());
    let place = places.find(|place| Dir::open(place).is_ok()).unwrap_or(root);
    // A daemon that starts meanwhile tries under its own name.
    let scratch = format!(".chunked-snapshotter-probe-{}", std::process::id());
    match tried(place, scratch.as_bytes()) {
        Ok(None) => Ok(()),
        Ok(Some(lack)) => Err(unsuitable(root, lack)),
        Err(error) => Err(explain(root, crate::error::at("try", place)(error))),
    }
}

fn tried(place: &Path, scratch: &[u8]) -> io::Result<Option<Lack>> {
    let place = Dir::open(place)?;
    place.remove_all(scratch)?;
    place.create_dir_with(scratch, 0o700)?;
    let tried = place.open_dir(scratch).and_then(|scratch| lacks(&scratch));
    place.remove_all(scratch)?;
    tried
}

/// Says of an error at the very beginning when it is the filesystem's nature.
pub(crate) fn explain(root: &Path, error: StoreError) -> StoreError {
    match &error {
        StoreError::Io { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            unsuitable(root, Lack::Writing)
        }
        StoreError::Io { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied && rustix::process::geteuid().is_root() =>
        {
            unsuitable(root, Lack::Root)
        }
        _ => error,
    }
}

fn unsuitable(root: &Path, lack: Lack) -> StoreError {
    // The root itself may be missing yet.
    let magic = root.ancestors().find_map(|path| Dir::open(path).ok()?.filesystem().ok());
    let filesystem = match magic.map(|magic| (magic, filesystem_name(magic))) {
        Some((_, Some(name))) => name.to_owned(),
        Some((magic, None)) => format!("a filesystem of kind {magic:#x}"),
        None => "an unknown filesystem".to_owned(),
    };
    let advice = advice(&filesystem, lack);
    StoreError::Unsuitable { root: root.to_owned(), filesystem, reason: lack.reason(), advice }
}

/// What to do about it.
fn advice(filesystem: &str, lack: Lack) -> &'static str {
    match (filesystem, lack) {
        (_, Lack::Writing) => "mount it writable, or choose a root on a disk that is",
        ("xfs", Lack::Types) => "make the filesystem anew with `mkfs.xfs -n ftype=1`, or choose another root",
        ("ext4", Lack::Types) => {
            "switch it on with `tune2fs -O filetype` and `e2fsck -f` while it is not mounted, or choose another root"
        }
        ("ext4" | "f2fs", Lack::Mounting | Lack::Case) => {
            "it is probably made with `-O casefold`, which overlayfs does not take: choose a root on a filesystem without"
        }
        ("overlay", _) => {
            "layers cannot lie on overlayfs itself: choose a root on a local disk with ext4, xfs or btrfs; in a container, on a volume"
        }
        _ => "choose a root on a local disk with ext4, xfs or btrfs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_filesystem_reason_and_remedy() {
        let text = |lack| unsuitable(Path::new("/proc/none/x"), lack).to_string();
        assert_eq!(
            text(Lack::Devices),
            "root /proc/none/x is on a filesystem of kind 0x9fa0, which does not allow device nodes, which whiteouts are: \
             choose a root on a local disk with ext4, xfs or btrfs"
        );
        assert!(text(Lack::Writing).contains("is read-only: mount it writable"));
        assert!(advice("xfs", Lack::Types).contains("ftype=1"));
    }

    #[test]
    fn nothing_is_left_behind() {
        let root = tempfile::tempdir().unwrap();
        check(root.path(), root.path()).unwrap();
        try_root(&root.path().join("not/there/yet")).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

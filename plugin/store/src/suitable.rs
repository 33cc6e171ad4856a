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
    let tried = Dir::open(staging).and_then(|staging| {
        staging.remove_all(SCRATCH)?;
        staging.create_dir_with(SCRATCH, 0o700)?;
        let tried = staging.open_dir(SCRATCH).and_then(|scratch| lacks(&scratch));
        staging.remove_all(SCRATCH)?;
        tried
    });
    match tried {
        Ok(None) => Ok(()),
        Ok(Some(lack)) => Err(unsuitable(root, lack)),
        Err(error) => {
            tracing::warn!(root = %root.display(), %error, "it could not be tried whether the root can hold layers");
            Ok(())
        }
    }
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
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

//! Directories that a lost state database left without an owner: what containers had written, and snapshots that containerd
//! committed itself.
//!
//! They are kept because containers may be running on them, and because somebody may want to save what is in them. So they
//! stay for a week, and as long as an overlay mount has them, whatever the free space; only [`crate::Prune::All`] takes those
//! earlier that are not mounted.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{StoreError, at};
use crate::held::Held;
use crate::layout::{Layout, make_dir};
use crate::mounted;
use crate::usage::{self, is_gone};

/// Kept for so long.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

/// Moves the directory `name` out of the snapshots. An overlay mount does not mind.
pub(crate) fn keep(layout: &Layout, name: &str) -> Result<(), StoreError> {
    let orphans = layout.orphans();
    if !orphans.exists() {
        make_dir(&orphans, 0o700)?;
    }
    let path = layout.snapshots().join(name);
    tracing::warn!(path = %path.display(), "state database is new, its old snapshots are kept in {} for a week", orphans.display());
    fs::rename(&path, orphans.join(name)).map_err(at("move aside", &path))
}

/// Their names.
pub(crate) fn names(layout: &Layout) -> Result<Vec<String>, StoreError> {
    let orphans = layout.orphans();
    let entries = match fs::read_dir(&orphans) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at("list", &orphans))?,
    };
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| entry.map(name).map_err(at("list", &orphans))).collect()
}

/// Those that no overlay mount has.
pub(crate) fn unmounted(layout: &Layout) -> Result<Vec<PathBuf>, StoreError> {
    let names = names(layout)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // A mount goes on naming the place where the directory was when it was made.
    let mounted = mounted::directories(&layout.snapshots());
    let free = |name: &String| name.parse().map_or(true, |id| !mounted.contains(&id));
    Ok(names.into_iter().filter(free).map(|name| layout.orphans().join(name)).collect())
}

/// What they occupy.
pub(crate) fn held(layout: &Layout) -> Result<Held, StoreError> {
    let mut held = Held::default();
    for name in names(layout)? {
        let usage = match usage::measure(&layout.orphans().join(name)) {
            Err(StoreError::Io { source, .. }) if is_gone(&source) => continue,
            usage => usage?,
        };
        held.add(usage);
    }
    Ok(held)
}

/// Moves those to the trash that no mount has and that are older than `older`, if one is given. Gives their number.
pub(crate) fn discard(layout: &Layout, older: Option<Duration>) -> Result<usize, StoreError> {
    let mut discarded = 0;
    for path in unmounted(layout)? {
        if older.is_none_or(|older| age(&path).is_some_and(|age| age > older)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            layout.discard(&path, &format!("orphan-{name}"))?;
            discarded += 1;
        }
    }
    Ok(discarded)
}

/// How long ago it was moved here: a rename sets the time of a directory's last change, and nothing does afterwards.
fn age(path: &Path) -> Option<Duration> {
    use std::os::unix::fs::MetadataExt;
    let changed = u64::try_from(path.symlink_metadata().ok()?.ctime()).ok()?;
    (SystemTime::UNIX_EPOCH + Duration::from_secs(changed)).elapsed().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::testing::{Temporary, create};
    use crate::{Kind, Prune, Store, Usage};

    /// A store that lost its database, and what a container had in it.
    fn lost(temp: &Temporary) -> (Store, PathBuf) {
        let store = temp.open();
        let container = create(&store, Kind::Active, "container", None).unwrap();
        fs::write(container.fs.join("written"), vec![1; 100_000]).unwrap();
        drop(store);
        for name in ["state.db", "state.db-wal"] {
            fs::remove_file(temp.dir.path().join(name)).unwrap_or_default();
        }
        let store = temp.open();
        let name = container.fs.parent().unwrap().file_name().unwrap();
        let orphan = temp.dir.path().join("orphans").join(name);
        assert!(orphan.join("fs/written").exists());
        (store, orphan)
    }

    #[test]
    fn they_are_counted_and_go_only_when_asked_for() {
        let temp = Temporary::new();
        let (store, orphan) = lost(&temp);
        let held = store.counts().unwrap().orphans;
        assert!(held.number == 1 && held.usage.bytes >= 100_000 && held.usage.inodes >= 3, "{held:?}");
        assert_eq!(store.reclaimable().unwrap(), held.usage);
        assert!(age(&orphan).unwrap() < Duration::from_secs(60));
        store.cleanup().unwrap();
        store.prune(Prune::To(0)).unwrap();
        assert!(!store.make_room().unwrap() && orphan.exists(), "a full disk is no reason");
        let cleaned = store.prune(Prune::All).unwrap();
        assert_eq!((cleaned.orphans, cleaned.layers, cleaned.directories), (1, 0, 1));
        assert!(!orphan.exists());
        assert_eq!(store.counts().unwrap().orphans, Held::default());
        assert_eq!(store.reclaimable().unwrap(), Usage::default());
        let next = create(&store, Kind::Active, "next", None).unwrap();
        assert_ne!(
            next.fs.parent().unwrap().file_name(),
            orphan.file_name(),
            "its number is not given again"
        );
    }

    #[test]
    fn those_that_are_too_old_go() {
        let temp = Temporary::new();
        let (store, orphan) = lost(&temp);
        let layout = &store.inner.layout;
        assert_eq!(discard(layout, Some(Duration::from_secs(3600))).unwrap(), 0);
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(discard(layout, Some(Duration::from_secs(1))).unwrap(), 1);
        assert!(!orphan.exists());
    }

    #[test]
    fn what_a_mount_has_stays() {
        let temp = Temporary::new();
        let (store, orphan) = lost(&temp);
        // As containerd mounts it, before the database is lost.
        let place = store.inner.layout.snapshots().join(orphan.file_name().unwrap());
        fs::rename(&orphan, &place).unwrap();
        fs::create_dir(place.join("work")).unwrap();
        let (lower, at) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options = format!(
            "lowerdir={},upperdir={place}/fs,workdir={place}/work",
            lower.path().display(),
            place = place.display()
        );
        let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(at.path()));
        fs::rename(&place, &orphan).unwrap();
        let (pruned, reclaimable) = (store.prune(Prune::All), store.reclaimable());
        run(Command::new("umount").arg(at.path()));
        assert_eq!(pruned.unwrap().orphans, 0);
        assert_eq!(reclaimable.unwrap(), Usage::default(), "nor is it promised");
        assert_eq!(store.prune(Prune::All).unwrap().orphans, 1);
    }
}

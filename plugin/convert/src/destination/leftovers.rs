//! What a killed run leaves beside its destination, told from what a living one is writing by a lock.
//!
//! A lock of flock(2) ends with the process that holds it. Its file or directory exists for a moment before it is locked;
//! whoever takes it for a dead one then removes it, and its maker notices and makes another.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use tempfile::{Builder, NamedTempFile, TempDir};

/// Start of the names of directories that become archives.
pub(super) const DIRECTORY: &str = ".chunked-convert-";
/// Start of the names of files that become blobs and indexes.
pub(super) const PART: &str = ".part-";
/// Length of what follows it.
const RANDOM: usize = 6;
/// Times that something of ours may be taken away before it is locked.
const TRIES: usize = 100;

/// A new directory beside `parent`'s other files, and the lock that says that it is alive.
pub(super) fn directory_in(parent: &Path) -> io::Result<(TempDir, File)> {
    for _ in 0..TRIES {
        let directory = Builder::new().prefix(DIRECTORY).rand_bytes(RANDOM).tempdir_in(parent)?;
        // It may be gone by now.
        if let Ok(lock) = File::open(directory.path())
            && is_ours(&lock, directory.path())?
        {
            return Ok((directory, lock));
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// A new file in `directory`, locked by its own descriptor.
pub(super) fn part_in(directory: &Path) -> io::Result<NamedTempFile> {
    for _ in 0..TRIES {
        let part = Builder::new().prefix(PART).rand_bytes(RANDOM).tempfile_in(directory)?;
        if is_ours(part.as_file(), part.path())? {
            return Ok(part);
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Locks a file that was just made; false when another process has taken it for a dead one.
fn is_ours(file: &File, path: &Path) -> io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
        // Where there are no locks, nothing is taken for dead either.
        Err(_) => return Ok(true),
    }
    let made = file.metadata()?;
    Ok(fs::symlink_metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (made.dev(), made.ino())))
}

/// Removes directories in `parent` that dead runs left. What cannot be removed stays: it is in nobody's way.
pub(super) fn clear_directories(parent: &Path) {
    clear(parent, DIRECTORY, |path, meta| meta.is_dir() && holds_a_layout(path));
}

/// Removes parts in `directory` that dead runs left.
pub(super) fn clear_parts(directory: &Path) {
    clear(directory, PART, |_, meta| meta.is_file());
}

fn clear(parent: &Path, prefix: &str, is_ours: impl Fn(&Path, &fs::Metadata) -> bool) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(prefix));
        if !random.is_some_and(|random| {
            random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }) {
            continue;
        }
        let path = entry.path();
        let Some(meta) = fs::symlink_metadata(&path).ok().filter(|meta| is_ours(&path, meta)) else {
            continue;
        };
        let Ok(file) = File::open(&path) else { continue };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let removed = if meta.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Ok(()) => tracing::info!(path = %path.display(), "removed what a killed conversion left"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot remove what a killed conversion left");
            }
        }
    }
}

/// Whether there is nothing in it but what a conversion puts there.
fn holds_a_layout(path: &Path) -> bool {
    let known = |name: &str| {
        matches!(name, "blobs" | "index.json" | "oci-layout" | "archive.tar") || name.starts_with(PART)
    };
    fs::read_dir(path).is_ok_and(|mut inside| {
        inside.all(|entry| entry.is_ok_and(|entry| entry.file_name().to_str().is_some_and(known)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_locked_stays() {
        let parent = tempfile::tempdir().unwrap();
        let (alive, lock) = directory_in(parent.path()).unwrap();
        let (dead, dead_lock) = directory_in(parent.path()).unwrap();
        fs::create_dir_all(dead.path().join("blobs/sha256")).unwrap();
        fs::write(dead.path().join("blobs/sha256/abc"), "blob").unwrap();
        fs::write(dead.path().join(".part-123456"), "part").unwrap();
        // As after a kill: no destructor ran, the lock is gone.
        let dead = dead.keep();
        clear_directories(parent.path());
        assert!(dead.exists(), "its lock is still held");
        drop(dead_lock);
        clear_directories(parent.path());
        assert!(!dead.exists() && alive.path().exists());
        drop(lock);
    }

    #[test]
    fn what_is_not_ours_stays() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        fs::create_dir(path(".chunked-convert-backup7")).unwrap();
        fs::create_dir(path(".chunked-convert-abcdef")).unwrap();
        fs::write(path(".chunked-convert-abcdef/thesis.txt"), "").unwrap();
        fs::write(path(".chunked-convert-ghijkl"), "a file").unwrap();
        std::os::unix::fs::symlink(parent.path(), path(".chunked-convert-mnopqr")).unwrap();
        fs::create_dir(path(".part-abcdef")).unwrap();
        let before = names(parent.path());
        clear_directories(parent.path());
        clear_parts(parent.path());
        assert_eq!(names(parent.path()), before);
    }

    #[test]
    fn parts_of_dead_runs_go() {
        let parent = tempfile::tempdir().unwrap();
        let alive = part_in(parent.path()).unwrap();
        let (file, dead) = part_in(parent.path()).unwrap().keep().unwrap();
        drop(file);
        clear_parts(parent.path());
        assert!(!dead.exists() && alive.path().exists());
        // Renamed, it has no lock that would concern anybody.
        alive.persist(parent.path().join("blob")).unwrap();
        clear_parts(parent.path());
        assert_eq!(names(parent.path()), ["blob"]);
    }

    /// Makers and a cleaner at the same time: what a maker holds exists.
    #[test]
    fn nothing_alive_is_lost() {
        let parent = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let (directory, _lock) = directory_in(parent.path()).unwrap();
                        let part = part_in(parent.path()).unwrap();
                        std::thread::yield_now();
                        assert!(directory.path().is_dir() && part.path().is_file());
                    }
                });
            }
            scope.spawn(|| {
                for _ in 0..300 {
                    clear_directories(parent.path());
                    clear_parts(parent.path());
                }
            });
        });
        assert_eq!(names(parent.path()), Vec::<String>::new());
    }
}

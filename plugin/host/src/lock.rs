//! One pass at a time, over all processes.

#![allow(clippy::disallowed_methods, reason = "our own lock")]

use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::HostError;

/// Held while a pass runs; the kernel gives it up with the process.
#[derive(Debug)]
pub(crate) struct PassLock {
    _file: File,
}

impl PassLock {
    /// Takes the lock of the store at `root`, which is made if need be.
    pub(crate) fn take(root: &Path) -> Result<Self, HostError> {
        let io = |source| HostError::Io { path: root.join("host.lock"), source };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|source| HostError::Io { path: root.to_owned(), source })?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(root.join("host.lock"))
            .map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => Err(HostError::Busy),
            Err(error) => Err(io(error.into())),
        }
    }

    /// True while some process holds it.
    pub(crate) fn is_held(root: &Path) -> bool {
        let Ok(file) = File::open(root.join("host.lock")) else { return false };
        matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(Errno::WOULDBLOCK))
    }
}

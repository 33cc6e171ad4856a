//! What can go wrong in the store, and how a caller should class it.

use std::io;
use std::path::{Path, PathBuf};

use chunked_core::Digest;

use crate::snapshot::Kind;

/// How a caller reacts to a [`StoreError`]; the snapshot service maps it to a gRPC code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The named snapshot or parent does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The snapshot is in a state that forbids the operation.
    FailedPrecondition,
    /// The request can never succeed.
    InvalidArgument,
    /// The disk or the database failed.
    Internal,
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A database failed.
    #[error("state database: {source}")]
    Database {
        /// Why it failed.
        #[from]
        source: rusqlite::Error,
    },
    /// What SQLite found when it looked through the database.
    #[error("state database: {found}")]
    DamagedDatabase {
        /// In its words.
        found: String,
    },
    /// A value in the database is not what this version writes.
    #[error("state database: {what} of {name} is broken")]
    BrokenRow {
        /// Which column.
        what: &'static str,
        /// Of which row.
        name: String,
    },
    /// Another process has the root open.
    #[error("{root} is in use by another daemon; stop it, or choose another root")]
    Busy {
        /// The store's root.
        root: PathBuf,
    },
    /// Verification found a layer damaged that was to be used just then.
    #[error("layer {diff_id} was found damaged meanwhile; pull again, and it will be fetched anew")]
    DamagedLayer {
        /// Digest of its tar.
        diff_id: Digest,
    },
    /// The root cannot be part of overlay mount options.
    #[error("root {root:?} {reason}; choose another root")]
    Root {
        /// The store's root.
        root: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The root's filesystem cannot hold layers.
    #[error("root {root} is on {filesystem}, which {reason}: {advice}")]
    Unsuitable {
        /// The store's root.
        root: PathBuf,
        /// Name of the filesystem.
        filesystem: String,
        /// What it lacks.
        reason: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The database was written by a newer version.
    #[error(
        "state database {path} has schema {found}, this version knows up to {known}; install the newer version again{back}"
    )]
    NewerSchema {
        /// Version in the file.
        found: i64,
        /// Newest version known here.
        known: i64,
        /// The file.
        path: PathBuf,
        /// How to go back instead.
        back: GoBack,
    },
    /// No snapshot of this name.
    #[error("snapshot {name:?}: not found")]
    NotFound {
        /// Key or committed name.
        name: String,
    },
    /// No snapshot of the parent's name.
    #[error("parent snapshot {name:?}: not found")]
    ParentNotFound {
        /// The parent's name.
        name: String,
    },
    /// The key or name is taken.
    #[error("snapshot {name:?}: already exists")]
    Exists {
        /// Key or committed name.
        name: String,
    },
    /// The parent of a new snapshot is not committed.
    #[error("parent snapshot {name:?} is not committed")]
    ParentNotCommitted {
        /// The parent's name.
        name: String,
    },
    /// The parent of a rebasing commit is not committed.
    #[error("new parent snapshot {name:?} is not committed")]
    RebaseNotCommitted {
        /// The parent's name.
        name: String,
    },
    /// A commit names another parent than the snapshot has.
    #[error("snapshot {name:?} has parent {parent:?} already, it cannot move to {wanted:?}")]
    OtherParent {
        /// Key of the snapshot.
        name: String,
        /// The parent it has.
        parent: String,
        /// The parent the commit names.
        wanted: String,
    },
    /// The operation needs another kind of snapshot.
    #[error("snapshot {name:?} is {kind}, cannot {what} it")]
    WrongKind {
        /// Key or name.
        name: String,
        /// What it is.
        kind: Kind,
        /// What was tried.
        what: &'static str,
    },
    /// Children keep a snapshot alive.
    #[error("cannot remove snapshot {name:?} with child {child:?}")]
    HasChild {
        /// The parent.
        name: String,
        /// One of its children.
        child: String,
    },
    /// The directory behind a row is gone.
    #[error(
        "snapshot {name:?} is damaged: its directory {path} is missing; remove the images and containers that use it, \
         wait for garbage collection, and pull the image again"
    )]
    Damaged {
        /// The damaged snapshot.
        name: String,
        /// The directory that should be there.
        path: PathBuf,
    },
    /// A name is empty, or a layer does not fit where it should go.
    #[error("{0}")]
    Invalid(String),
}

/// A copy of the state database that this version can use, if one was kept; shown as what to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoBack(pub(crate) Option<PathBuf>);

impl std::fmt::Display for GoBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(copy) = &self.0 else { return Ok(()) };
        write!(
            f,
            ", or go back to what was there before it: remove the containers made since then, stop the daemon, delete state.db, \
             state.db-wal and state.db-shm beside {0}, and copy {0} to state.db",
            copy.display()
        )
    }
}

/// Does the error, or one that it was made of, say that there is no room: neither bytes nor inodes, on the disk or in a
/// quota?
pub fn is_full(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
                return true;
            }
            // What another error was put into is not among its sources.
            if io.get_ref().is_some_and(|inner| is_full(inner)) {
                return true;
            }
        }
        if let Some(rusqlite::Error::SqliteFailure(failure, _)) = error.downcast_ref()
            && failure.code == rusqlite::ErrorCode::DiskFull
        {
            return true;
        }
        next = error.source();
    }
    false
}

impl StoreError {
    /// The state database's file is not one any more, or not a whole one.
    pub(crate) fn is_damaged_database(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match self {
            Self::DamagedDatabase { .. } => true,
            Self::Database { source: rusqlite::Error::SqliteFailure(failure, _) } => {
                matches!(failure.code, DatabaseCorrupt | NotADatabase)
            }
            _ => false,
        }
    }

    /// See [`is_full()`].
    pub fn is_full(&self) -> bool {
        is_full(self)
    }

    /// The snapshot that there is none of, if that is what this says.
    pub fn missing(&self) -> Option<&str> {
        match self {
            Self::NotFound { name } | Self::ParentNotFound { name } => Some(name),
            _ => None,
        }
    }

    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::ParentNotFound { .. } => ErrorKind::NotFound,
            Self::Exists { .. } => ErrorKind::AlreadyExists,
            Self::WrongKind { .. }
            | Self::HasChild { .. }
            | Self::RebaseNotCommitted { .. }
            | Self::Damaged { .. } => ErrorKind::FailedPrecondition,
            Self::ParentNotCommitted { .. } | Self::OtherParent { .. } | Self::Invalid(_) => {
                ErrorKind::InvalidArgument
            }
            Self::Io { .. }
            | Self::DamagedLayer { .. }
            | Self::Database { .. }
            | Self::DamagedDatabase { .. }
            | Self::BrokenRow { .. }
            | Self::Busy { .. }
            | Self::Root { .. }
            | Self::Unsuitable { .. }
            | Self::NewerSchema { .. } => ErrorKind::Internal,
        }
    }
}

/// Adds what was tried, and on which path, to an I/O error.
pub(crate) fn at<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> StoreError {
    move |source| StoreError::Io { what, path: path.to_owned(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_recognized_wherever_it_shows() {
        let io = |number| io::Error::from_raw_os_error(number);
        let store = |source| StoreError::Io { what: "write", path: "/x".into(), source };
        let sqlite = |code| {
            let failure = rusqlite::ffi::Error::new(code);
            StoreError::from(rusqlite::Error::SqliteFailure(failure, None))
        };
        for number in [28, 122] {
            assert!(is_full(&io(number)) && store(io(number)).is_full(), "errno {number}");
            assert!(is_full(&io::Error::other(store(io(number)))), "within another");
        }
        assert!(sqlite(rusqlite::ffi::SQLITE_FULL).is_full());
        for other in [store(io(5)), store(io(24)), store(io(30)), sqlite(rusqlite::ffi::SQLITE_IOERR)] {
            assert!(!other.is_full(), "{other}");
        }
    }
}

//! Finding host files by content.

#![allow(clippy::disallowed_methods, reason = "our own database")]

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chunked_core::Digest;
use chunked_linux::Looked;
use parking_lot::Mutex;
use rusqlite::ErrorCode;

use crate::database::{Database, Row};
use crate::lock::PassLock;
use crate::options::{HostOptions, Policy};
use crate::pass::{FINISHED, RUNNING};
use crate::root::{Root, join};
use crate::rules::{Facts, admit, is_public};
use crate::stamp::Stamp;
use crate::status::{HostStatus, PassReport};

/// The index of one store, as pulls use it. Cheap to clone; its methods block on the disk.
///
/// It never fails: without an index, or with a broken one, nothing is found.
#[derive(Debug, Clone)]
pub struct HostIndex(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The store's root.
    store: PathBuf,
    options: HostOptions,
    rules: i64,
    /// Opened when first used, because a pass may create it at any time.
    database: Mutex<Option<Database>>,
}

/// A host file that had a wanted content. A hint until it is opened and what is copied from it is hashed.
#[derive(Debug, Clone)]
pub struct HostDonor {
    root: Arc<Root>,
    index: HostIndex,
    digest: Digest,
    /// Below the root.
    path: Vec<u8>,
    device: u64,
    stamp: Stamp,
}

impl HostIndex {
    /// The index of the store at `store`, under these rules. Opens nothing yet.
    pub fn new(store: &Path, options: HostOptions) -> Self {
        let rules = options.fingerprint();
        Self(Arc::new(Inner { store: store.to_owned(), options, rules, database: Mutex::default() }))
    }

    /// The rules.
    pub fn options(&self) -> &HostOptions {
        &self.0.options
    }

    /// For each wanted (digest, length in bytes) a host file that has not changed since its content was read, if
    /// there is one. Files that turn out to have changed are forgotten.
    pub fn lookup(&self, wanted: &[(Digest, u64)]) -> Vec<Option<HostDonor>> {
        let mut hits = vec![None; wanted.len()];
        let rules = self.0.rules;
        let Some(found) = self.with("look up files", |database| database.find(wanted, rules)) else {
            return hits;
        };
        let mut check =
            Check { index: self, roots: HashMap::new(), public: HashMap::new(), stale: Vec::new() };
        for ((hit, rows), (digest, _)) in hits.iter_mut().zip(found).zip(wanted) {
            *hit = rows.into_iter().find_map(|row| check.donor(row, *digest));
        }
        let stale = check.stale;
        if !stale.is_empty() {
            tracing::debug!(files = stale.len(), "host files changed since they were indexed");
            self.with("forget files", |database| database.forget(&stale));
        }
        hits
    }

    /// Forgets every file with this content: one of them was not what its row says.
    pub fn forget(&self, content: &Digest) {
        self.with("forget files", |database| database.forget_content(content));
    }

    /// What is indexed, and how far a running pass is. Reads the whole index.
    pub fn status(&self) -> HostStatus {
        let enabled = self.0.options.policy != Policy::Off;
        let path = self.0.store.join("host.db");
        let index_bytes = std::fs::metadata(&path).map_or(0, |meta| meta.len());
        let running = PassLock::is_held(&self.0.store);
        let mut status = HostStatus { enabled, running, index_bytes, ..HostStatus::default() };
        let rules = self.0.rules;
        self.with("read the state", |database| {
            (status.files, status.bytes) = database.totals(rules)?;
            let latest = match database.state(RUNNING)? {
                Some(text) => Some(text),
                None => database.state(FINISHED)?,
            };
            status.pass = latest.and_then(|text| serde_json::from_str::<PassReport>(&text).ok());
            Ok(())
        });
        status
    }

    /// Works with the index, if it is on and there is one.
    fn with<T>(&self, what: &str, work: impl FnOnce(&mut Database) -> rusqlite::Result<T>) -> Option<T> {
        if self.0.options.policy == Policy::Off {
            return None;
        }
        let path = self.0.store.join("host.db");
        let mut slot = self.0.database.lock();
        let result = match slot.as_mut() {
            Some(database) => work(database).map(Some),
            None => Database::open(&path).and_then(|opened| {
                *slot = opened;
                slot.as_mut().map(work).transpose()
            }),
        };
        result.unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), what, %error, "host index cannot be used: nothing is taken from the host");
            // The next pass makes a broken file anew; a handle to the old one would not see it.
            if !matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy)) {
                *slot = None;
            }
            None
        })
    }
}

/// Compares rows with what is there, one look-up long.
struct Check<'a> {
    index: &'a HostIndex,
    roots: HashMap<Vec<u8>, Option<Arc<Root>>>,
    /// Directories, by root and path, and whether everybody may read them and all above them.
    public: HashMap<(Vec<u8>, Vec<u8>), bool>,
    /// Rows that are wrong: directory and name.
    stale: Vec<(i64, Vec<u8>)>,
}

impl Check<'_> {
    fn donor(&mut self, row: Row, digest: Digest) -> Option<HostDonor> {
        let root = self.root(&row.root)?;
        let donor = HostDonor {
            path: join(&row.path, &row.name),
            index: self.index.clone(),
            digest,
            device: row.device,
            stamp: row.stamp,
            root,
        };
        if self.is_public(&donor.root, &row.path) && donor.look().is_ok() {
            return Some(donor);
        }
        self.stale.push((row.directory, row.name));
        None
    }

    /// The root, if it is still an allowed one.
    fn root(&mut self, key: &[u8]) -> Option<Arc<Root>> {
        if let Some(root) = self.roots.get(key) {
            return root.clone();
        }
        use std::os::unix::ffi::OsStrExt;
        let options = self.index.options();
        let path = options.roots.iter().find(|path| path.as_os_str().as_bytes() == key);
        let root = path.and_then(|path| Root::open(path, options.mounts).ok()).map(Arc::new);
        self.roots.insert(key.to_vec(), root.clone());
        root
    }

    fn is_public(&mut self, root: &Arc<Root>, path: &[u8]) -> bool {
        let key = (root.key().to_vec(), path.to_vec());
        if let Some(known) = self.public.get(&key) {
            return *known;
        }
        let above = match path.iter().rposition(|b| *b == b'/') {
            Some(at) => self.is_public(root, &path[..at]),
            None => path.is_empty() || self.is_public(root, b""),
        };
        let public = above
            && root
                .directory(path)
                .and_then(|dir| dir.status())
                .is_ok_and(|status| is_public(status.st_mode));
        self.public.insert(key, public);
        public
    }
}

impl HostDonor {
    /// Opens the file, provided it is still the one that was indexed and still qualifies. Copy from this
    /// descriptor only, and hash the copy: the file may be written to at any moment.
    ///
    /// # Errors
    /// What opening gives, or that it is another file now.
    pub fn open(&self) -> io::Result<File> {
        // A device or FIFO in its place must not notice: only what compares is opened.
        self.look()?.open()
    }

    fn look(&self) -> io::Result<Looked> {
        let looked = self.root.look(&self.path)?;
        self.compare(looked.metadata())?;
        Ok(looked)
    }

    fn compare(&self, meta: &Metadata) -> io::Result<()> {
        if meta.dev() != self.device || Stamp::from(meta) != self.stamp {
            return Err(io::Error::other("it changed since it was indexed"));
        }
        admit(&Facts::from(meta), self.index.options())
            .map_err(|skip| io::Error::other(format!("it does not qualify any more ({})", skip.name())))
    }

    /// Forgets this file, and others of the same content: what was copied from it was something else.
    pub fn forget(&self) {
        self.index.forget(&self.digest);
    }

    /// Where it is on the host, for logs.
    pub fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStrExt;
        self.root.path.join(std::ffi::OsStr::from_bytes(&self.path))
    }
}

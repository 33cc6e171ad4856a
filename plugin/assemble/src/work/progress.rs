//! What unpacking a layer leaves: counts while it runs, the result at its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use chunked_core::Digest;
use chunked_linux::Dir;
use parking_lot::{Condvar, Mutex};

use crate::error::{AssembleError, lossy};
use crate::source::promise::Made;
use crate::source::twin::{Known, LargeTwin};

/// A regular file of the layer, for the reuse index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Path from the layer's root.
    pub path: Vec<u8>,
    /// Digest of its content.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// What of it was hashed.
    pub proof: Proof,
}

/// Which digests of a file were computed from its bytes. The DiffID proves that the bytes are the image's, but not that
/// they have the digest that a TOC names for the whole file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The whole file: [`Stored::digest`] is the digest of its bytes.
    Whole,
    /// Each of its pieces alone: [`Stored::digest`] is what the TOC says.
    Pieces,
}

impl Proof {
    /// Of a file whose bytes have the digest `known`, if they were hashed in one go, and are said to have `digest`.
    pub(crate) fn of(known: Option<Digest>, digest: Digest) -> Self {
        if known == Some(digest) { Self::Whole } else { Self::Pieces }
    }
}

/// A layer's tree, complete in staging.
#[derive(Debug)]
pub struct Extracted {
    /// SHA-256 of the tar stream.
    pub diff_id: Digest,
    /// Bytes of the tar stream.
    pub tar_bytes: u64,
    /// Regular files with content, for the index.
    pub files: Vec<Stored>,
    /// Directories that no entry described, by path from the root.
    pub implied: Vec<Vec<u8>>,
    /// True when the tree holds whiteouts or opaque directories, or lost files to them.
    pub has_whiteouts: bool,
    /// Disk usage in bytes, in blocks of 4 KiB.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
    /// Of `bytes`, what is shared with other layers or the host: blocks of reflinked files and parts of files, linked files.
    pub shared_bytes: u64,
    /// Of `inodes`, hard links to files of other layers.
    pub shared_inodes: u64,
}

/// Spares (pieces or files that had to be fetched alone, because a local file was bad) that one attempt at a layer
/// may cost: beyond that, planning anew is cheaper.
const SPARES: usize = 64;

/// State that a layer's workers share.
#[derive(Debug)]
pub(crate) struct Progress {
    /// Root of the staging tree.
    root: Arc<Dir>,
    /// What the node has, for layers that are not planned.
    pub(crate) known: Option<Arc<dyn Known>>,
    spares: AtomicUsize,
    twins: Mutex<Vec<LargeTwin>>,
    stored: Mutex<Vec<Stored>>,
    error: Mutex<Option<AssembleError>>,
    failed: AtomicBool,
    work: Mutex<Work>,
    idle: Condvar,
    /// Can files of this filesystem share blocks?
    pub(crate) reflinks: bool,
    /// Files that are not ours are on another filesystem, or cannot share blocks.
    pub(crate) no_foreign_reflinks: AtomicBool,
    pub(crate) bytes: AtomicU64,
    pub(crate) inodes: AtomicU64,
    pub(crate) shared_bytes: AtomicU64,
    pub(crate) shared_inodes: AtomicU64,
}

/// Units of work of one layer that are not done.
#[derive(Debug, Default)]
struct Work {
    running: usize,
    /// Waiting for promised content.
    held: usize,
}

impl Progress {
    pub(crate) fn new(root: Arc<Dir>, known: Option<Arc<dyn Known>>) -> Self {
        Self {
            reflinks: chunked_linux::can_share_blocks(&root),
            root,
            known,
            spares: AtomicUsize::new(0),
            twins: Mutex::default(),
            stored: Mutex::default(),
            error: Mutex::default(),
            failed: AtomicBool::default(),
            work: Mutex::default(),
            idle: Condvar::new(),
            no_foreign_reflinks: AtomicBool::default(),
            bytes: AtomicU64::default(),
            inodes: AtomicU64::default(),
            shared_bytes: AtomicU64::default(),
            shared_inodes: AtomicU64::default(),
        }
    }

    /// What is at `offset` of the finished part of the file at `path`.
    pub(crate) fn made(&self, path: &[u8], offset: u64) -> Made {
        Made { root: Arc::clone(&self.root), path: path.into(), offset }
    }

    /// Counts what is shared with another layer: bytes of a file or a part of one, and the inode if it is linked.
    pub(crate) fn shared(&self, bytes: u64, linked: bool) {
        self.shared_bytes.fetch_add(bytes.next_multiple_of(4096), Ordering::Relaxed);
        self.shared_inodes.fetch_add(linked.into(), Ordering::Relaxed);
    }

    /// Counts a bad local file.
    pub(crate) fn spend_spare(&self, path: &[u8], reason: &str) -> Result<(), AssembleError> {
        if self.spares.fetch_add(1, Ordering::Relaxed) < SPARES {
            return Ok(());
        }
        Err(AssembleError::Donors { path: lossy(path), reason: reason.to_owned() })
    }

    /// A large file of which the node has a twin, to be joined with it when everything is written.
    pub(crate) fn twin(&self, twin: LargeTwin) {
        self.twins.lock().push(twin);
    }

    pub(crate) fn take_twins(&self) -> Vec<LargeTwin> {
        std::mem::take(&mut self.twins.lock())
    }

    pub(crate) fn stored(&self, file: Stored) {
        self.bytes.fetch_add(file.size.next_multiple_of(4096), Ordering::Relaxed);
        self.stored.lock().push(file);
    }

    /// Keeps the first error.
    pub(crate) fn fail(&self, error: AssembleError) {
        self.error.lock().get_or_insert(error);
        self.failed.store(true, Ordering::Release);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn take_error(&self) -> Option<AssembleError> {
        self.error.lock().take()
    }

    /// Work is given to a worker.
    pub(crate) fn begin(&self) {
        self.work.lock().running += 1;
    }

    /// Work waits for promised content.
    pub(crate) fn hold(&self) {
        self.work.lock().held += 1;
    }

    /// Work that waited is given to a worker.
    pub(crate) fn release(&self) {
        let mut work = self.work.lock();
        work.held -= 1;
        work.running += 1;
    }

    /// A worker has done its work.
    pub(crate) fn end(&self) {
        let mut work = self.work.lock();
        work.running -= 1;
        if work.running == 0 {
            self.idle.notify_all();
        }
    }

    /// Waits until no work is running or waiting for anything.
    pub(crate) fn wait(&self) {
        let mut work = self.work.lock();
        while work.running > 0 || work.held > 0 {
            self.idle.wait(&mut work);
        }
    }

    /// Waits until no work is running.
    pub(crate) fn settle(&self) {
        let mut work = self.work.lock();
        while work.running > 0 {
            self.idle.wait(&mut work);
        }
    }

    /// Forgets stored files at or below `path`: a later entry replaced them. Nothing may be running.
    pub(crate) fn forget(&self, path: &[u8]) {
        let below = |p: &[u8]| p.strip_prefix(path).is_some_and(|rest| rest.first() == Some(&b'/'));
        self.stored.lock().retain(|file| file.path != path && !below(&file.path));
        self.twins.lock().retain(|twin| twin.path() != path && !below(twin.path()));
    }

    pub(crate) fn take_stored(&self) -> Vec<Stored> {
        std::mem::take(&mut self.stored.lock())
    }
}

//! What the jobs of one layer have in common: its tree on the disk, and what they note for its end.

use std::any::Any;
use std::collections::HashSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use chunked_core::Digest;
use chunked_linux::Dir;
use parking_lot::Mutex;

use crate::error::{AssembleError, lossy};
use crate::report::Proof;
use crate::tree::model::NodeId;
use crate::work::budget::Budget;
use crate::work::progress::Progress;

/// Pieces or files that had to be fetched alone, because a local file was bad, that one attempt at a layer may cost:
/// beyond that, planning anew is cheaper.
const REFETCHES: usize = 64;

/// An inode of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inode {
    /// Number of its filesystem's device.
    pub device: u64,
    /// Its number there.
    pub number: u64,
}

impl Inode {
    /// The inode that `meta` is of.
    pub fn of(meta: &Metadata) -> Self {
        Self { device: meta.dev(), number: meta.ino() }
    }
}

/// A regular file whose content is known.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) node: NodeId,
    pub(crate) digest: Digest,
    /// Bytes.
    pub(crate) size: u64,
    pub(crate) proof: Proof,
}

/// What a file shares with another layer or the host.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) node: NodeId,
    /// Bytes on the disk.
    pub(crate) bytes: u64,
    /// The inode, too.
    pub(crate) linked: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Root of the staging tree.
    pub(crate) root: Arc<Dir>,
    /// What keeps the tree on the disk.
    pub(crate) lease: Option<Weak<dyn Any + Send + Sync>>,
    /// The layer's memory, for what is needed besides what was charged beforehand.
    pub(crate) budget: Arc<Budget>,
    progress: Arc<Progress>,
    /// Can files of this filesystem share blocks?
    pub(crate) reflinks: bool,
    /// Files of the host are on another filesystem, or cannot share blocks.
    pub(crate) no_host_reflinks: AtomicBool,
    refetches: AtomicUsize,
    /// Files that others were to make, and did not.
    broken: AtomicUsize,
    known: Mutex<Vec<Known>>,
    shared: Mutex<Vec<Shared>>,
    /// Files that got an inode of their own after they had shared one.
    own_again: Mutex<HashSet<NodeId>>,
    /// Inodes in the tree that are not its own alone. They are never written.
    borrowed: Mutex<HashSet<Inode>>,
}

impl Layer {
    pub(crate) fn new(
        root: Arc<Dir>,
        budget: Arc<Budget>,
        progress: Arc<Progress>,
        lease: Option<Weak<dyn Any + Send + Sync>>,
    ) -> Self {
        Self {
            reflinks: chunked_linux::can_share_blocks(&root),
            root,
            lease,
            budget,
            progress,
            broken: AtomicUsize::default(),
            no_host_reflinks: AtomicBool::default(),
            refetches: AtomicUsize::default(),
            known: Mutex::default(),
            shared: Mutex::default(),
            own_again: Mutex::default(),
            borrowed: Mutex::default(),
        }
    }

    /// Does anybody still want the layer? Asked by whatever goes through many bytes or entries of it.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.progress.has_failed()
    }

    /// The same as a result.
    ///
    /// # Errors
    /// [`AssembleError::Cancelled`] when the layer failed or was given up.
    pub(crate) fn check(&self) -> Result<(), AssembleError> {
        if self.is_wanted() { Ok(()) } else { Err(AssembleError::Cancelled) }
    }

    /// Counts what a file shares: some bytes, and the inode if it is linked.
    pub(crate) fn shares(&self, node: NodeId, bytes: u64, linked: bool) {
        self.shared.lock().push(Shared { node, bytes: bytes.next_multiple_of(4096), linked });
    }

    /// The file has an inode of its own now.
    pub(crate) fn shares_no_more(&self, node: NodeId) {
        self.own_again.lock().insert(node);
    }

    /// Notes that `inode`, which belongs to another tree, too, is about to become part of this one.
    pub(crate) fn borrow(&self, inode: Inode) {
        self.borrowed.lock().insert(inode);
    }

    /// True when the inode belongs to another tree, too.
    pub(crate) fn is_borrowed(&self, inode: Inode) -> bool {
        self.borrowed.lock().contains(&inode)
    }

    /// Counts a bad local file.
    ///
    /// # Errors
    /// [`AssembleError::Donors`] when there were too many.
    pub(crate) fn count_refetch(&self, path: &[u8], reason: &str) -> Result<(), AssembleError> {
        if self.refetches.fetch_add(1, Ordering::Relaxed) < REFETCHES {
            return Ok(());
        }
        Err(AssembleError::Donors { path: lossy(path), reason: reason.to_owned() })
    }

    /// Counts a file that somebody else was to make, and did not. That says nothing against the files of the node.
    ///
    /// # Errors
    /// [`AssembleError::Broken`] when there were too many.
    pub(crate) fn count_broken(&self, path: &[u8]) -> Result<(), AssembleError> {
        if self.broken.fetch_add(1, Ordering::Relaxed) < REFETCHES {
            return Ok(());
        }
        Err(AssembleError::Broken { path: lossy(path) })
    }

    /// The content of a file is known.
    pub(crate) fn knows(&self, known: Known) {
        self.known.lock().push(known);
    }

    pub(crate) fn take_known(&self) -> Vec<Known> {
        std::mem::take(&mut self.known.lock())
    }

    pub(crate) fn take_shared(&self) -> Vec<Shared> {
        let (mut shared, own_again) = (std::mem::take(&mut *self.shared.lock()), self.own_again.lock());
        shared.retain(|shared| !own_again.contains(&shared.node));
        shared
    }
}

//! The tree of a layer that is being built, and who still needs it.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use chunked_store::Staging;
use parking_lot::Mutex;

use crate::blocking::off_the_runtime;

/// A staging tree. It is deleted, or kept for a later try, once its job and all jobs that take files from it have
/// let go of it: what a job fetched stays for those who count on it, also when that job fails.
#[derive(Debug)]
pub(crate) struct Tree {
    fs: PathBuf,
    lease: Arc<Lease>,
}

#[derive(Debug)]
struct Lease(Mutex<Option<Staging>>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(staging) = self.0.get_mut().take() {
            // Deleting a tree of many files takes long.
            off_the_runtime(move || drop(staging));
        }
    }
}

impl Tree {
    pub(crate) fn new(staging: Staging) -> Self {
        Self { fs: staging.fs().to_owned(), lease: Arc::new(Lease(Mutex::new(Some(staging)))) }
    }

    /// The directory to fill.
    pub(crate) fn fs(&self) -> &Path {
        &self.fs
    }

    /// Keeps the tree for whoever has it.
    pub(crate) fn lease(&self) -> Weak<dyn Any + Send + Sync> {
        let lease: Arc<dyn Any + Send + Sync> = Arc::clone(&self.lease) as _;
        Arc::downgrade(&lease)
    }

    /// Says that the tree is of no use to anybody but those who have its files in use.
    pub(crate) fn spoil(&self) {
        if let Some(staging) = &mut *self.lease.0.lock() {
            staging.spoil();
        }
    }

    /// Says that nobody writes to the tree any more, and that the next try of its layer is on its way.
    pub(crate) fn settle(&self) {
        if let Some(staging) = &*self.lease.0.lock() {
            staging.settle();
        }
    }

    /// The tree, to become a layer; once.
    pub(crate) fn take(self) -> Option<Staging> {
        self.lease.0.lock().take()
    }

    /// Ends it here and now, unless others need it. Blocks on the disk.
    pub(crate) fn end(self) {
        if let Some(lease) = Arc::into_inner(self.lease) {
            let staging = lease.0.lock().take();
            drop(staging);
        }
    }
}

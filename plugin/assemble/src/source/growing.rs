//! A file that is written part by part, perhaps by several workers at once.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use chunked_core::Digest;
use parking_lot::Mutex;

use crate::error::AssembleError;
use crate::source::file::NewFile;
use crate::source::promise::{Made, Promise};

/// See the module. The last one to leave it completes it.
#[derive(Debug)]
pub(crate) struct Growing {
    pub(crate) file: File,
    pub(crate) new: NewFile,
    users: AtomicUsize,
    end: Mutex<End>,
}

/// What is done when the file is complete.
#[derive(Debug, Default)]
pub(crate) struct End {
    /// These are kept.
    pub(crate) promises: Vec<Promise>,
    /// The digest of its bytes, if they were hashed in one go.
    pub(crate) known: Option<Digest>,
}

impl Growing {
    /// Creates the file, for one user.
    pub(crate) fn create(new: NewFile, end: End) -> Result<Arc<Self>, AssembleError> {
        let file = new.target.create()?;
        Ok(Arc::new(Self { file, new, users: AtomicUsize::new(1), end: Mutex::new(end) }))
    }

    /// Sets its length at once, so that holes, also a last one, need no write.
    pub(crate) fn set_len(&self) -> Result<(), AssembleError> {
        let set = self.file.set_len(self.new.size);
        set.map_err(self.new.target.io("setting the file's length"))
    }

    pub(crate) fn entry(&self) -> &[u8] {
        self.new.target.entry()
    }

    pub(crate) fn write(&self, bytes: &[u8], at: u64) -> Result<(), AssembleError> {
        self.file.write_all_at(bytes, at).map_err(self.new.target.io("writing the file"))
    }

    /// What is at `offset` of its finished part.
    pub(crate) fn made(&self, offset: u64) -> Made {
        let target = &self.new.target;
        let lease = target.layer.lease.as_ref().and_then(Weak::upgrade);
        Made { root: Arc::clone(&target.layer.root), path: Arc::clone(target.path()), offset, lease }
    }

    /// Says what is done when it is complete. Its last user is yet to leave it.
    pub(crate) fn end_with(&self, end: End) {
        *self.end.lock() = end;
    }

    pub(crate) fn enter(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn leave(&self) -> Result<(), AssembleError> {
        if self.users.fetch_sub(1, Ordering::AcqRel) > 1 {
            return Ok(());
        }
        self.new.target.finish(&self.file)?;
        let End { promises, known } = std::mem::take(&mut *self.end.lock());
        self.new.complete(known);
        for promise in promises {
            promise.keep(&self.made(0));
        }
        Ok(())
    }
}

//! What the store holds besides layers and snapshots: trees of broken pulls, and what waits for deletion.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::path::Path;

use crate::error::{StoreError, at};
use crate::partial;
use crate::store::Inner;
use crate::usage::{self, Usage};

/// Some directories, and what they occupy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Directories.
    pub number: u64,
    /// All of them together.
    pub usage: Usage,
}

impl Held {
    pub(crate) fn add(&mut self, usage: Usage) {
        self.number += 1;
        self.usage.bytes = self.usage.bytes.saturating_add(usage.bytes);
        self.usage.inodes = self.usage.inodes.saturating_add(usage.inodes);
    }
}

impl Inner {
    /// Trees that broken pulls left for the next try.
    pub(crate) fn partial(&self) -> Result<Held, StoreError> {
        partial::held(&self.layout)
    }

    /// What waits for deletion.
    pub(crate) fn trash(&self) -> Result<Held, StoreError> {
        let trash = self.layout.trash();
        let mut held = Held::default();
        for entry in std::fs::read_dir(&trash).map_err(at("list", &trash))? {
            // Gone meanwhile: no longer held.
            let path = entry.map_err(at("list", &trash))?.path();
            held.add(occupied(&path)?);
        }
        Ok(held)
    }
}

fn occupied(path: &Path) -> Result<Usage, StoreError> {
    match usage::measure(path) {
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Ok(Usage::default())
        }
        measured => measured,
    }
}

//! What is really free when directories of the store go: inodes whose last name is in them, and blocks that nothing else has.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

mod ranges;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use chunked_linux::{Dir, Extent, FileType, Stat, Step, Walk, can_share_blocks, extents};

use crate::error::{StoreError, at};
use crate::store::{Inner, Store};
use crate::usage::{Usage, is_gone};
use ranges::Ranges;

impl Store {
    /// What dropping everything unused would free: layers that nobody uses, the trees of broken pulls, and what waits for
    /// deletion. Looks through all of them, and where blocks are shared through everything else: not for hot paths.
    ///
    /// Exact as long as nobody outside the store has links to its files or shares their blocks; then it is more than what
    /// becomes free. Blocks of a compressing filesystem count as if they were not compressed.
    ///
    /// # Errors
    /// When the database or a directory cannot be read.
    pub fn reclaimable(&self) -> Result<Usage, StoreError> {
        let layout = &self.inner.layout;
        let unused = self.inner.unused()?.into_iter().map(|layer| layout.snapshot(layer.id));
        let mut going: Vec<PathBuf> = unused.collect();
        going.extend(below(&layout.partial())?);
        going.extend(self.inner.trash_dirs()?);
        self.inner.freed_by(&going)
    }
}

impl Inner {
    /// What waits for deletion.
    pub(crate) fn trash_dirs(&self) -> Result<Vec<PathBuf>, StoreError> {
        below(&self.layout.trash())
    }

    /// What is free when the directories `going`, which are below the root, are gone.
    pub(crate) fn freed_by(&self, going: &[PathBuf]) -> Result<Usage, StoreError> {
        let root = self.layout.root();
        let may_share = Dir::open(root).map(|root| can_share_blocks(&root)).map_err(at("open", root))?;
        let mut found = Found::default();
        for dir in going {
            found.look_through(dir, may_share)?;
        }
        let Counted { mut usage, shared } = found.counted();
        if shared.is_empty() {
            return Ok(usage);
        }
        let leaving: HashSet<&PathBuf> = going.iter().collect();
        let mut staying = Found::default();
        for place in
            [self.layout.snapshots(), self.layout.partial(), self.layout.staging(), self.layout.orphans()]
        {
            for dir in below(&place)?.iter().filter(|dir| !leaving.contains(dir)) {
                staying.look_through(dir, true)?;
            }
        }
        usage.bytes = usage.bytes.saturating_add(shared.without(&staying.all_shared()).len());
        Ok(usage)
    }
}

/// Directories in `place`; none if that is not there.
fn below(place: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = match std::fs::read_dir(place) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at("list", place))?,
    };
    entries.map(|entry| Ok(entry.map_err(at("list", place))?.path())).collect()
}

/// An inode, and how many of its names were met.
#[derive(Debug)]
struct Inode {
    met: u64,
    names: u64,
    bytes: u64,
    /// Parts of it that other files may have, too.
    shared: Vec<Extent>,
}

/// What was met in some directories.
#[derive(Debug, Default)]
struct Found {
    usage: Usage,
    shared: Vec<Extent>,
    /// Inodes with several names, by device and number.
    linked: HashMap<(u64, u64), Inode>,
}

/// What goes with the directories.
struct Counted {
    /// Inodes, and blocks that nobody shares.
    usage: Usage,
    /// Blocks that somebody shares.
    shared: Ranges,
}

impl Found {
    fn look_through(&mut self, dir: &Path, may_share: bool) -> Result<(), StoreError> {
        let failed = |what| at(what, dir);
        // What goes meanwhile is not there.
        let root = match Dir::open(dir) {
            Err(error) if is_gone(&error) => return Ok(()),
            root => root.map_err(failed("open"))?,
        };
        self.usage.count(&root.status().map_err(failed("measure"))?);
        let mut walk = Walk::new(&root).map_err(failed("list"))?;
        loop {
            let kind = match walk.step() {
                Ok(None) => break,
                Ok(Some(Step::Entry(kind))) => kind,
                Ok(Some(Step::Leave)) => continue,
                Err(error) if is_gone(&error) => continue,
                Err(error) => return Err(failed("list")(error)),
            };
            match walk.stat() {
                Err(error) if is_gone(&error) => continue,
                stat => self.count(&walk, kind, &stat.map_err(failed("measure"))?, may_share),
            }
            if kind == FileType::Directory {
                walk.enter().map_err(failed("list"))?;
            }
        }
        Ok(())
    }

    fn count(&mut self, walk: &Walk, kind: FileType, stat: &Stat, may_share: bool) {
        #[allow(clippy::useless_conversion, reason = "32 bits on other architectures")]
        let names = u64::from(stat.st_nlink);
        let several = kind != FileType::Directory && names > 1;
        let key = (stat.st_dev, stat.st_ino);
        if several && let Some(inode) = self.linked.get_mut(&key) {
            inode.met += 1;
            return;
        }
        let has_blocks = kind == FileType::RegularFile && stat.st_blocks > 0;
        let mut shared = Vec::new();
        if may_share && has_blocks
            // A file that cannot be asked counts as nobody else's.
            && let Ok(found) = walk.file().and_then(|file| extents(&file))
        {
            shared = found.into_iter().filter(|extent| extent.shared).collect();
        }
        let of_others: u64 = shared.iter().map(|extent| extent.place.end - extent.place.start).sum();
        let bytes = (u64::try_from(stat.st_blocks).unwrap_or(0) * 512).saturating_sub(of_others);
        if several {
            self.linked.insert(key, Inode { met: 1, names, bytes, shared });
        } else {
            self.usage.bytes += bytes;
            self.usage.inodes += 1;
            self.shared.extend(shared);
        }
    }

    /// What goes if all of it goes.
    fn counted(self) -> Counted {
        let Self { mut usage, mut shared, linked } = self;
        for inode in linked.into_values().filter(|inode| inode.met >= inode.names) {
            usage.bytes += inode.bytes;
            usage.inodes += 1;
            shared.extend(inode.shared);
        }
        Counted { usage, shared: Ranges::of(shared.into_iter().map(|extent| extent.place)) }
    }

    fn all_shared(self) -> Ranges {
        let of_linked = self.linked.into_values().flat_map(|inode| inode.shared);
        Ranges::of(self.shared.into_iter().chain(of_linked).map(|extent| extent.place))
    }
}

#[cfg(test)]
mod tests;

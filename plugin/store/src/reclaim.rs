//! What is really free when directories of the store go: inodes whose last name is in them, and blocks that nothing else has.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

mod ranges;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use chunked_linux::{Dir, FileType, Stat, Step, Walk, can_share_blocks, extents};

use crate::error::{StoreError, at};
use crate::orphans;
use crate::store::{Inner, Store};
use crate::usage::{Usage, is_gone};
use ranges::{Gathered, Ranges};

impl Store {
    /// What dropping everything unused would free: layers that nobody uses, the trees of broken pulls, what a lost state
    /// database left and no container has mounted, and what waits for deletion. Looks through all of them, and where blocks are shared through everything else: not for hot paths.
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
        going.extend(orphans::unmounted(layout)?);
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
        let mut found = Found { may_share, ..Found::default() };
        for dir in going {
            found.look_through(dir)?;
        }
        let Found { mut usage, shared, .. } = found;
        let mut left = shared.joined();
        let leaving: HashSet<&PathBuf> = going.iter().collect();
        for place in
            [self.layout.snapshots(), self.layout.partial(), self.layout.staging(), self.layout.orphans()]
        {
            for dir in below(&place)?.iter().filter(|dir| !leaving.contains(dir)) {
                if !left.is_empty() {
                    left = left.without(&shared_in(dir)?);
                }
            }
        }
        usage.bytes = usage.bytes.saturating_add(left.len());
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

/// An inode of which not all names were met yet.
#[derive(Debug)]
struct Inode {
    /// Names that were not met.
    lacking: u64,
    bytes: u64,
    /// Parts of it that other files may have, too.
    shared: Vec<Range<u64>>,
}

/// What goes with some directories. Grows with the inodes of which names are met and lacking, and with the blocks that are shared; not
/// with the number of files.
#[derive(Debug, Default)]
struct Found {
    may_share: bool,
    /// Inodes, and blocks that nobody shares.
    usage: Usage,
    /// Blocks that somebody shares.
    shared: Gathered,
    /// By device and number.
    lacking: HashMap<(u64, u64), Inode>,
}

impl Found {
    fn look_through(&mut self, dir: &Path) -> Result<(), StoreError> {
        let root = each(dir, |walk, kind, stat| self.count(walk, kind, stat))?;
        root.iter().for_each(|root| self.usage.count(root));
        Ok(())
    }

    fn count(&mut self, walk: &Walk, kind: FileType, stat: &Stat) {
        let (key, names) = ((stat.st_dev, stat.st_ino), names(kind, stat));
        let inode = match self.lacking.remove(&key) {
            Some(inode) => Inode { lacking: inode.lacking - 1, ..inode },
            None => self.inode(walk, kind, stat, names - 1),
        };
        if inode.lacking > 0 {
            self.lacking.insert(key, inode);
            return;
        }
        self.usage.bytes += inode.bytes;
        self.usage.inodes += 1;
        self.shared.extend(inode.shared);
    }

    fn inode(&self, walk: &Walk, kind: FileType, stat: &Stat, lacking: u64) -> Inode {
        let shared = if self.may_share { shared_of(walk, kind, stat) } else { Vec::new() };
        let of_others: u64 = shared.iter().map(|place| place.end - place.start).sum();
        let bytes = (u64::try_from(stat.st_blocks).unwrap_or(0) * 512).saturating_sub(of_others);
        Inode { lacking, bytes, shared }
    }
}

/// Names of what has this status; those of a directory are not names of its own.
fn names(kind: FileType, stat: &Stat) -> u64 {
    #[allow(clippy::useless_conversion, reason = "32 bits on other architectures")]
    let names = u64::from(stat.st_nlink);
    if kind == FileType::Directory { 1 } else { names.max(1) }
}

/// The blocks below `dir` that other files may have, too.
fn shared_in(dir: &Path) -> Result<Ranges, StoreError> {
    let (mut shared, mut seen) = (Gathered::default(), HashSet::new());
    each(dir, |walk, kind, stat| {
        if names(kind, stat) == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
            shared.extend(shared_of(walk, kind, stat));
        }
    })?;
    Ok(shared.joined())
}

/// The blocks of the file at hand that other files may have, too.
fn shared_of(walk: &Walk, kind: FileType, stat: &Stat) -> Vec<Range<u64>> {
    if kind != FileType::RegularFile || stat.st_blocks == 0 {
        return Vec::new();
    }
    // A file that cannot be asked counts as nobody else's.
    let found = walk.file().and_then(|file| extents(&file)).unwrap_or_default();
    found.into_iter().filter(|extent| extent.shared).map(|extent| extent.place).collect()
}

/// Calls `visit` for everything below `dir`, and gives the status of `dir` itself. What goes meanwhile is not there.
fn each(dir: &Path, mut visit: impl FnMut(&Walk, FileType, &Stat)) -> Result<Option<Stat>, StoreError> {
    let failed = |what| at(what, dir);
    let root = match Dir::open(dir) {
        Err(error) if is_gone(&error) => return Ok(None),
        root => root.map_err(failed("open"))?,
    };
    let status = root.status().map_err(failed("measure"))?;
    let mut walk = Walk::new(&root).map_err(failed("list"))?;
    loop {
        let kind = match walk.step() {
            Ok(None) => return Ok(Some(status)),
            Ok(Some(Step::Entry(kind))) => kind,
            Ok(Some(Step::Leave)) => continue,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(failed("list")(error)),
        };
        match walk.stat() {
            Err(error) if is_gone(&error) => continue,
            stat => visit(&walk, kind, &stat.map_err(failed("measure"))?),
        }
        if kind == FileType::Directory {
            walk.enter().map_err(failed("list"))?;
        }
    }
}

#[cfg(test)]
mod tests;

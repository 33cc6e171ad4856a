//! Trees of jobs that ended in the middle: killed with the daemon, cancelled, or given up because the network failed.
//!
//! A later try of the same layer takes what is right in them, which it finds out by hashing: nothing here is trusted,
//! nothing here is in the index, and nothing here is ever mounted. They lie in `ROOT/partial/<id>`, bounded in age,
//! number and size.

#![allow(clippy::disallowed_methods, reason = "files of our own, in directories that only root can enter")]

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chunked_core::Digest;
use serde::{Deserialize, Serialize};

use crate::damage;
use crate::error::{StoreError, at};
use crate::held::Held;
use crate::layout::Layout;
use crate::store::Store;
use crate::usage::{self, Usage};

/// What says which layer a tree is of; written when the tree is begun.
const MARKER: &str = "resume.json";
/// What the tree occupies: bytes and inodes.
const USAGE: &str = "usage.json";
/// Longest marker read, in bytes.
const MAX_MARKER: u64 = 4096;
/// Kept for so long.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// So many are kept, the youngest.
const MAX_COUNT: usize = 8;
/// And so many bytes of disk.
const MAX_BYTES: u64 = 16 << 30;

#[derive(Serialize, Deserialize)]
struct Marker {
    version: u32,
    diff_id: Digest,
}

/// An unfinished tree of a layer, or a damaged one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partial {
    /// Its number, which no layer has.
    pub id: u64,
    /// The tree, absolute. Whatever is in it may be incomplete or wrong.
    pub fs: PathBuf,
    /// Nobody can still be writing to it: it is from before this daemon, or was declared so ([`crate::Staging::settle`]).
    pub settled: bool,
    /// It goes when the layer is committed ([`Store::drop_partials`]): what the layer shares with it is then the layer's own.
    pub goes: bool,
}

impl Store {
    /// Unfinished trees of the layer `diff_id`, youngest first, and damaged ones that are used.
    pub fn partials(&self, diff_id: &Digest) -> Vec<Partial> {
        let damaged = self.inner.database.read(|db| damage::of(db, diff_id)).unwrap_or_default();
        let damaged = damaged.into_iter().map(|id| Partial {
            id,
            fs: self.inner.layout.fs(id),
            settled: true,
            goes: false,
        });
        let all = list(&self.inner.layout).unwrap_or_default();
        all.into_iter()
            .filter(|tree| tree.diff_id == *diff_id)
            .filter_map(|tree| {
                let id = tree.id?;
                let settled = tree.begun < self.inner.opened || self.inner.settled.lock().contains(&id);
                Some(Partial { id, fs: tree.dir.join("fs"), settled, goes: true })
            })
            .chain(damaged)
            .collect()
    }

    /// Deletes the unfinished trees of `diff_id`, or with `None` of all layers: moves them to the trash, and empties
    /// what it moved. Gives their number. Blocks on the disk.
    ///
    /// # Errors
    /// When the directory cannot be read or a tree not be moved.
    pub fn drop_partials(&self, diff_id: Option<&Digest>) -> Result<usize, StoreError> {
        self.drop_trees(|tree| diff_id.is_none_or(|id| tree.diff_id == *id))
    }

    /// The same for all but those whose next try is on its way.
    pub(crate) fn drop_forsaken(&self) -> Result<usize, StoreError> {
        let kept = self.inner.settled.lock().clone();
        self.drop_trees(|tree| tree.id.is_none_or(|id| !kept.contains(&id)))
    }

    fn drop_trees(&self, wanted: impl Fn(&Tree) -> bool) -> Result<usize, StoreError> {
        let mut dropped = 0;
        for tree in list(&self.inner.layout)?.into_iter().filter(wanted) {
            discard(&self.inner.layout, &tree.dir)?;
            if let Some(id) = tree.id {
                self.inner.settled.lock().remove(&id);
            }
            dropped += 1;
        }
        Ok(dropped)
    }
}

/// One directory of `ROOT/partial`.
struct Tree {
    dir: PathBuf,
    /// `None`: a stranger.
    id: Option<u64>,
    diff_id: Digest,
    begun: SystemTime,
}

/// All trees with a marker, youngest first.
fn list(layout: &Layout) -> Result<Vec<Tree>, StoreError> {
    let partial = layout.partial();
    let mut trees = Vec::new();
    for entry in fs::read_dir(&partial).map_err(at("list", &partial))? {
        let dir = entry.map_err(at("list", &partial))?.path();
        let name = dir.file_name().and_then(|name| name.to_str());
        let id = name.and_then(|name| name.parse().ok());
        match read(&dir) {
            Some((diff_id, begun)) => trees.push(Tree { dir, id, diff_id, begun }),
            None => drop(discard(layout, &dir)),
        }
    }
    trees.sort_by_key(|tree| std::cmp::Reverse(tree.begun));
    Ok(trees)
}

/// Begins a tree in `dir` that may be of use to a later try of `diff_id`.
pub(crate) fn mark(dir: &Path, diff_id: Digest) -> Result<(), StoreError> {
    let path = dir.join(MARKER);
    let text = serde_json::to_vec(&Marker { version: 1, diff_id }).map_err(at("encode", &path))?;
    fs::write(&path, text).map_err(at("write", &path))
}

/// Takes the mark off a tree that became a layer.
pub(crate) fn unmark(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(MARKER);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(at("remove", &path)(error)),
        _ => Ok(()),
    }
}

fn read(dir: &Path) -> Option<(Digest, SystemTime)> {
    let file = File::open(dir.join(MARKER)).ok()?;
    let begun = file.metadata().ok()?.modified().ok()?;
    let mut text = Vec::new();
    file.take(MAX_MARKER).read_to_end(&mut text).ok()?;
    let marker: Marker = serde_json::from_slice(&text).ok()?;
    (marker.version == 1).then_some((marker.diff_id, begun))
}

/// Moves the tree in `dir` to where later tries look, if it is marked and has something in it; else gives false.
pub(crate) fn keep(layout: &Layout, dir: &Path) -> Result<bool, StoreError> {
    let has_files = || fs::read_dir(dir.join("fs")).is_ok_and(|mut entries| entries.next().is_some());
    let Some(name) = dir.file_name().filter(|_| read(dir).is_some() && has_files()) else { return Ok(false) };
    fs::rename(dir, layout.partial().join(name)).map_err(at("keep", dir))?;
    trim(layout)?;
    Ok(true)
}

/// What all of them occupy.
pub(crate) fn held(layout: &Layout) -> Result<Held, StoreError> {
    let mut held = Held::default();
    for tree in list(layout)? {
        held.add(measured(&tree.dir)?);
    }
    Ok(held)
}

/// What the tree in `dir` occupies: nothing changes in it any more, so that it is measured once.
fn measured(dir: &Path) -> Result<Usage, StoreError> {
    let path = dir.join(USAGE);
    let known = fs::read(&path).ok().and_then(|text| serde_json::from_slice::<(u64, u64)>(&text).ok());
    if let Some((bytes, inodes)) = known {
        return Ok(Usage { bytes, inodes });
    }
    let usage = usage::measure(dir)?;
    // On a full disk it is measured again the next time.
    if let Ok(text) = serde_json::to_vec(&(usage.bytes, usage.inodes))
        && fs::write(&path, text).is_err()
    {
        let _ = fs::remove_file(&path);
    }
    Ok(usage)
}

/// Deletes what is too old, too many or too large.
pub(crate) fn trim(layout: &Layout) -> Result<(), StoreError> {
    let mut bytes = 0_u64;
    for (index, tree) in list(layout)?.into_iter().enumerate() {
        let young = tree.begun.elapsed().is_ok_and(|age| age <= MAX_AGE);
        if young && index < MAX_COUNT && tree.id.is_some() {
            bytes = bytes.saturating_add(measured(&tree.dir)?.bytes);
            if bytes <= MAX_BYTES {
                continue;
            }
        }
        discard(layout, &tree.dir)?;
    }
    Ok(())
}

fn discard(layout: &Layout, dir: &Path) -> Result<(), StoreError> {
    // Its own name may be in the trash already, from a failed deletion.
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let trash = layout.discard(dir, &format!("partial-{name}"))?;
    if let Err(error) = chunked_linux::remove_tree(&trash) {
        tracing::debug!(path = %trash.display(), %error, "left in the trash for cleanup");
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! The inodes of other layers that an image's layers may be hard-linked to.
//!
//! Counted by inode, not by path: one inode may have names in many layers. No two files of an image become one inode
//! that the image did not ask for, whichever of its layers comes first. So an inode is free for an image only if none
//! of its layers has it: those that are being made claim it here, those that are in the store are looked through, also
//! those that come into it in the middle of the pull.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chunked_assemble::{Inode, Links};
use chunked_core::Digest;
use chunked_linux::Dir;
use chunked_store::{LayerId, LayerPin, Store};
use parking_lot::Mutex;

/// Counts commits of layers, so that others know when to look again.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Commits {
    /// Runs `commit`.
    pub(crate) fn count<T>(&self, commit: impl FnOnce() -> T) -> T {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let done = commit();
        self.ended.fetch_add(1, Ordering::SeqCst);
        done
    }

    /// Another value whenever a commit began or ended.
    fn now(&self) -> (u64, u64) {
        (self.begun.load(Ordering::SeqCst), self.ended.load(Ordering::SeqCst))
    }
}

/// Inodes that the layers of one image were linked to while they were made.
pub(crate) type Linked = Mutex<HashSet<Inode>>;

/// See the module.
#[derive(Debug)]
pub(crate) struct ImageLinks {
    store: Arc<Store>,
    commits: Arc<Commits>,
    diff_ids: HashSet<Digest>,
    linked: Arc<Linked>,
    known: Mutex<KnownLayers>,
}

/// Layers of the store.
#[derive(Debug, Default)]
struct KnownLayers {
    /// As of these commits.
    as_of: (u64, u64),
    /// Does it belong to the image?
    all: HashMap<LayerId, bool>,
    /// Regular files of those of the image that were looked through. `None`: unreadable.
    inodes: HashMap<LayerId, Option<HashSet<Inode>>>,
}

impl ImageLinks {
    pub(crate) fn new(
        store: Arc<Store>,
        commits: Arc<Commits>,
        diff_ids: impl IntoIterator<Item = Digest>,
        linked: Arc<Linked>,
    ) -> Self {
        let (diff_ids, known) = (diff_ids.into_iter().collect(), Mutex::default());
        Self { store, commits, diff_ids, linked, known }
    }

    /// Is this a layer of the image? Yes, as long as that is not known.
    pub(crate) fn has_layer(&self, layer: LayerId) -> bool {
        let mut known = self.known.lock();
        if !known.all.contains_key(&layer) {
            self.list(&mut known);
        }
        known.all.get(&layer).copied().unwrap_or(true)
    }

    /// Looks which layers there are. `None` when the store does not answer.
    fn list(&self, known: &mut KnownLayers) -> Option<()> {
        let as_of = self.commits.now();
        let all = self.store.layers().ok()?.into_iter();
        known.all = all.map(|layer| (layer.id, self.diff_ids.contains(&layer.diff_id))).collect();
        known.as_of = as_of;
        Some(())
    }

    /// Has, or may, a layer of the image that is in the store this inode, which has several names by now?
    fn is_in_the_store(&self, inode: Inode) -> bool {
        let mut known = self.known.lock();
        let known = &mut *known;
        // Whoever gave the inode a name in a third layer did so after the image's layer was committed, and has
        // committed since.
        let listed = if known.as_of == self.commits.now() { Some(()) } else { self.list(known) };
        let mut siblings = known.all.iter().filter(|(_, ours)| **ours);
        let look = |id| self.store.pin(id).and_then(|pin| regular_files(&pin));
        listed.is_none()
            || siblings.any(|(id, _)| {
                let inodes = known.inodes.entry(*id).or_insert_with(|| look(*id));
                inodes.as_ref().is_none_or(|inodes| inodes.contains(&inode))
            })
    }
}

impl Links for ImageLinks {
    fn claim(&self, inode: Inode, names: u64) -> bool {
        if !self.linked.lock().insert(inode) {
            return false;
        }
        // With a single name it is in the donor's layer alone.
        let free = names == 1 || !self.is_in_the_store(inode);
        if !free {
            self.release(inode);
        }
        free
    }

    fn release(&self, inode: Inode) {
        self.linked.lock().remove(&inode);
    }
}

/// The regular files of a layer. Also those with a single name: another layer may link to them any time. `None` when the
/// tree cannot be read.
fn regular_files(layer: &LayerPin) -> Option<HashSet<Inode>> {
    /// See inode(7).
    const KIND: u32 = 0o170_000;
    const DIRECTORY: u32 = 0o040_000;
    const FILE: u32 = 0o100_000;
    let root = Dir::open(&layer.fs()).ok()?;
    let (mut found, mut todo) = (HashSet::new(), vec![Vec::new()]);
    while let Some(path) = todo.pop() {
        let dir = root.open_dir(&path).ok()?;
        for name in dir.names().ok()? {
            let status = dir.stat(&name).ok()?;
            match status.st_mode & KIND {
                DIRECTORY => todo.push(if path.is_empty() { name } else { [&path[..], &name].join(&b'/') }),
                FILE => {
                    found.insert(Inode { device: status.st_dev, number: status.st_ino });
                }
                _ => {}
            }
        }
    }
    Some(found)
}

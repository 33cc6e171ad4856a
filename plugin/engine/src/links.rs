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
use chunked_linux::{Dir, FileType, Named};
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

/// What the layers of one image have in common while they are made.
#[derive(Debug, Default)]
pub(crate) struct Linked {
    /// Inodes that they were linked to.
    claimed: Mutex<HashSet<Inode>>,
    /// Regular files of the image's layers in the store that were looked through. `None`: unreadable.
    stored: Mutex<HashMap<LayerId, Option<HashSet<Inode>>>>,
}

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
    all: HashSet<LayerId>,
    /// Of these, those that belong to the image.
    siblings: Vec<LayerId>,
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
        if !known.all.contains(&layer) {
            self.list(&mut known);
        }
        !known.all.contains(&layer) || known.siblings.contains(&layer)
    }

    /// Looks which layers there are. `None` when the store does not answer.
    fn list(&self, known: &mut KnownLayers) -> Option<()> {
        let as_of = self.commits.now();
        let all = self.store.layers().ok()?;
        known.all = all.iter().map(|layer| layer.id).collect();
        let siblings = all.iter().filter(|layer| self.diff_ids.contains(&layer.diff_id));
        known.siblings = siblings.map(|layer| layer.id).collect();
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
        let look = |id| self.store.pin(id).and_then(|pin| regular_files(&pin));
        let mut stored = self.linked.stored.lock();
        listed.is_none()
            || known.siblings.iter().any(|id| {
                let inodes = stored.entry(*id).or_insert_with(|| look(*id));
                inodes.as_ref().is_none_or(|inodes| inodes.contains(&inode))
            })
    }
}

impl Links for ImageLinks {
    fn claim(&self, inode: Inode, names: u64) -> bool {
        if !self.linked.claimed.lock().insert(inode) {
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
        self.linked.claimed.lock().remove(&inode);
    }
}

/// The regular files of a layer. Also those with a single name: another layer may link to them any time. `None` when the
/// tree cannot be read.
fn regular_files(layer: &LayerPin) -> Option<HashSet<Inode>> {
    let root = Dir::open(&layer.fs()).ok()?;
    // A layer lies on one filesystem, as links do.
    let device = root.status().ok()?.st_dev;
    let (mut found, mut todo) = (HashSet::new(), vec![Vec::new()]);
    while let Some(path) = todo.pop() {
        for Named { name, kind, number } in root.open_dir(&path).ok()?.list().ok()? {
            match kind {
                FileType::Directory => {
                    todo.push(if path.is_empty() { name } else { [&path[..], &name].join(&b'/') });
                }
                FileType::RegularFile => {
                    found.insert(Inode { device, number });
                }
                // It cannot be told what it is.
                FileType::Unknown => return None,
                _ => {}
            }
        }
    }
    Some(found)
}

//! What a layer is to the store, and the pin that keeps it from being cleaned up.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use chunked_core::Digest;

use crate::store::Inner;
use crate::usage::Usage;

/// Names a layer's directory below `snapshots`; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub(crate) u64);

impl LayerId {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for LayerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// For which place in the stack a layer's tree was made. Whiteouts make the difference: the lowest layer
/// keeps none of them, a layer above others carries overlay's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Lowest layer.
    Base,
    /// Above other layers.
    Upper,
}

/// A regular file of a layer, for the reuse index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Path relative to the layer's tree, without leading slash or `.`/`..`.
    pub path: Vec<u8>,
    /// Digest of the whole content.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// Somebody computed the digest from the file's bytes. Otherwise it is what a TOC says.
    pub proven: bool,
}

/// A part of a regular file of a layer, for the reuse index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChunk {
    /// Digest of the part's content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// The file it is in: a path that is in [`NewLayer::files`], too.
    pub path: Vec<u8>,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Somebody computed the digest from these bytes of the file. Otherwise it is what a TOC says.
    pub proven: bool,
}

/// A finished and verified layer, see [`crate::Store::commit_layer`].
#[derive(Debug, Clone)]
pub struct NewLayer {
    /// Digest of the layer's tar, proven.
    pub diff_id: Digest,
    /// For which place the tree was made.
    pub flavour: Flavour,
    /// The tar has whiteouts. A layer without any serves in both places.
    pub has_whiteouts: bool,
    /// Directories that the tar needs but does not describe, relative to the tree; made with mode 0755 and
    /// owner root.
    pub implied: Vec<Vec<u8>>,
    /// What of the tree's blocks and inodes other layers have, too: reflinked files and chunks, hard-linked files.
    pub shared: Usage,
    /// Regular files worth finding again.
    pub files: Vec<NewFile>,
    /// Parts of them worth finding again; best without files of a single chunk. `None`: nobody knows them, and the
    /// indexer cuts the large files (see [`crate::Store::start_indexer`]).
    pub chunks: Option<Vec<NewChunk>>,
    /// Registry it was pulled from, as host or host:port. `None`: not from a registry; only look-ups that
    /// allow any origin find its files.
    pub origin: Option<String>,
}

/// Keeps a layer from being deleted by `cleanup` while it lives. Cheap to clone.
pub struct LayerPin {
    inner: Arc<Inner>,
    id: LayerId,
}

impl LayerPin {
    /// Pins `id`; the caller knows that the layer exists.
    pub(crate) fn new(inner: &Arc<Inner>, pins: &mut Pins, id: LayerId) -> Self {
        *pins.entry(id.0).or_insert(0) += 1;
        Self { inner: Arc::clone(inner), id }
    }

    /// Which layer.
    pub fn id(&self) -> LayerId {
        self.id
    }

    /// The layer's tree, absolute.
    pub fn fs(&self) -> PathBuf {
        self.inner.layout.fs(self.id.0)
    }
}

impl Clone for LayerPin {
    fn clone(&self) -> Self {
        Self::new(&self.inner, &mut self.inner.pins.lock(), self.id)
    }
}

impl Drop for LayerPin {
    fn drop(&mut self) {
        let mut pins = self.inner.pins.lock();
        match pins.get_mut(&self.id.0) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                pins.remove(&self.id.0);
                // Its Prepare may be on its way from now on.
                if let Some(made) = self.inner.fresh.lock().get_mut(&self.id.0) {
                    *made = Instant::now();
                }
            }
        }
    }
}

impl fmt::Debug for LayerPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LayerPin({})", self.id)
    }
}

/// How many pins each pinned layer has.
pub(crate) type Pins = std::collections::HashMap<u64, usize>;

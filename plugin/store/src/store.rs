//! The handle everything goes through.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

use chunked_core::Digest;
use parking_lot::{Mutex, RwLock};

use crate::database::Database;
use crate::error::StoreError;
use crate::evict::Keep;
use crate::index::{Hit, Index};
use crate::indexer::Signal;
use crate::layer::{Flavour, LayerId, LayerPin, NewLayer, Pins};
use crate::layout::Layout;
use crate::origins::{Allowed, Known, Origins};
use crate::staging::Staging;
use crate::{publish, reconcile, rows};

/// How a store behaves.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// What `cleanup` keeps of the layers that no snapshot uses.
    pub keep: Keep,
    /// Wait for the disk before a layer is committed or adopted. Off only for tests and throw-away stores.
    pub sync: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { keep: Keep::default(), sync: true }
    }
}

/// Where the bytes of a wanted file can be copied from. A hint: the file may be gone or damaged, so open it
/// beneath `root`, and hash what you copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Donor {
    /// The layer that holds the file.
    pub layer: LayerId,
    /// The file, relative to `root`.
    pub path: Vec<u8>,
    /// That layer's tree, absolute.
    pub root: PathBuf,
    /// The file may be hard-linked into another layer. False for snapshots that containerd committed itself: who
    /// made them may have them mounted for writing yet.
    pub may_link: bool,
    /// Somebody computed the digest that it was found by from its bytes. Otherwise a TOC names it: hash what you copy
    /// before you rely on it, and tell [`Store::refute`] if it is something else.
    pub proven: bool,
}

/// Where the bytes of a wanted chunk can be copied from: [`ChunkDonor::offset`] of a file, under the same
/// conditions as [`Donor`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkDonor {
    /// The file that contains the chunk.
    pub donor: Donor,
    /// Where in the file, in bytes.
    pub offset: u64,
}

/// The store of one root. Cloning gives another handle to the same store; its methods block, some on the
/// disk.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: StoreOptions,
    pub(crate) database: Database,
    pub(crate) index: Index,
    pub(crate) ids: Ids,
    /// Lock order: `pins` before the database's writer.
    pub(crate) pins: Mutex<Pins>,
    /// Layers whose directory exists; rows of the index for any other are stale.
    pub(crate) layers: RwLock<Arc<Known>>,
    /// Directories that rows name and that were not there at start-up.
    pub(crate) missing: RwLock<HashSet<u64>>,
    /// One adoption at a time decides about implied directories.
    pub(crate) settling: Mutex<()>,
    /// One layer at a time gets its row, so that none gets two.
    pub(crate) publishing: Mutex<()>,
    pub(crate) cleaning: Mutex<()>,
    /// Layers that no snapshot has had yet, and when they were made or last pinned. Lock order: after `pins`.
    pub(crate) fresh: Mutex<HashMap<u64, Instant>>,
    /// Layers that were pinned as donors, and when; not yet in their rows.
    pub(crate) touched: Mutex<HashMap<u64, i64>>,
    /// How often room was made because something could not be written.
    pub(crate) rooms: AtomicU64,
    /// Layers dropped since it was opened, and bytes that came to the disk with them.
    pub(crate) evicted: (AtomicU64, AtomicU64),
    /// Unfinished trees that nobody writes to any more, and whose layers are tried again.
    pub(crate) settled: Mutex<HashSet<u64>>,
    /// Directories without a row that could not be moved to the trash.
    pub(crate) unburied: Mutex<HashSet<u64>>,
    pub(crate) indexing: Signal,
    pub(crate) layout: Layout,
    pub(crate) opened: SystemTime,
    /// See [`Store::has_lost_state`].
    pub(crate) lost_state: bool,
}

impl Store {
    /// Opens or creates the store at `root` with default options.
    ///
    /// Puts right what a crash left behind: see the crate's documentation, "Crash order". What the index lacks,
    /// [`Store::start_indexer`] and [`Store::complete_index`] add.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_with(root, StoreOptions::default())
    }

    /// Opens or creates the store at `root`.
    pub fn open_with(root: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let layout = Layout::open(root)?;
        let database = Database::open(&layout.root().join("state.db"), options.sync)?;
        let found = reconcile::run(&layout, &database)?;
        let index = Index::open(&layout.root().join("index.db"));
        let inner = Inner {
            options,
            ids: Ids::default(),
            database,
            index,
            pins: Mutex::default(),
            layers: RwLock::new(Arc::new(found.layers)),
            missing: RwLock::new(found.missing),
            settling: Mutex::default(),
            publishing: Mutex::default(),
            cleaning: Mutex::default(),
            fresh: Mutex::default(),
            touched: Mutex::default(),
            rooms: AtomicU64::new(0),
            evicted: Default::default(),
            settled: Mutex::default(),
            unburied: Mutex::default(),
            indexing: Signal::default(),
            layout,
            opened: SystemTime::now(),
            lost_state: found.lost_state,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The store's root: absolute, UTF-8, and free of characters that overlay mount options would need
    /// escaped.
    pub fn root(&self) -> &Path {
        self.inner.layout.root()
    }

    /// The state database was lost before this start: layers are here, their snapshots are not
    /// ([`Store::adopt_again`]).
    pub fn has_lost_state(&self) -> bool {
        self.inner.lost_state
    }

    /// An empty tree to build a layer in.
    pub fn stage(&self) -> Result<Staging, StoreError> {
        Staging::new(&self.inner)
    }

    /// An empty tree to build the layer `diff_id` in. If it is dropped before it is finished, or the daemon is killed,
    /// it is kept for the next try: see [`Store::partials`].
    ///
    /// # Errors
    /// As [`Store::stage`].
    pub fn stage_resumable(&self, diff_id: Digest) -> Result<Staging, StoreError> {
        let mut staging = Staging::new(&self.inner)?;
        staging.mark(diff_id)?;
        Ok(staging)
    }

    /// Makes a finished tree a layer: data on disk, rename, row, index rows. When the layer is there
    /// already, the staging tree is deleted and the old layer returned.
    #[allow(clippy::needless_pass_by_value, reason = "a layer is committed once")]
    pub fn commit_layer(&self, staging: Staging, layer: NewLayer) -> Result<LayerPin, StoreError> {
        publish::commit(&self.inner, staging, &layer)
    }

    /// The layer with this DiffID for this place in the stack, if it is here.
    pub fn layer(&self, diff_id: &Digest, flavour: Flavour) -> Result<Option<LayerPin>, StoreError> {
        self.inner.pin_layer(diff_id, flavour)
    }

    /// For each wanted (digest, length in bytes) a file of some layer that had this content when it was
    /// committed.
    pub fn lookup(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Donor>> {
        self.lookup_within(wanted, &Origins::Any)
    }

    /// As [`Store::lookup`], in layers of these origins only.
    pub fn lookup_within(&self, wanted: &[(Digest, u64)], origins: &Origins) -> Vec<Option<Donor>> {
        let allowed = self.inner.layers_of(origins);
        let found = self.inner.index.files(&self.inner.layout, wanted, &allowed);
        found.into_iter().map(|hit| hit.map(|hit| self.donor(hit, &allowed))).collect()
    }

    /// For each wanted (digest, length in bytes) a part of a file of some layer that had this content when it
    /// was committed. Whole files are not among them, see [`Store::lookup`].
    pub fn lookup_chunks(&self, wanted: &[(Digest, u64)]) -> Vec<Option<ChunkDonor>> {
        self.lookup_chunks_within(wanted, &Origins::Any)
    }

    /// As [`Store::lookup_chunks`], in layers of these origins only.
    pub fn lookup_chunks_within(
        &self,
        wanted: &[(Digest, u64)],
        origins: &Origins,
    ) -> Vec<Option<ChunkDonor>> {
        let allowed = self.inner.layers_of(origins);
        let found = self.inner.index.chunks(&self.inner.layout, wanted, &allowed);
        let donor = |(hit, offset)| ChunkDonor { donor: self.donor(hit, &allowed), offset };
        found.into_iter().map(|hit| hit.map(donor)).collect()
    }

    /// Keeps a layer that a look-up named from being deleted meanwhile, and counts as a use of it. `None` when it
    /// is gone already.
    pub fn pin(&self, layer: LayerId) -> Option<LayerPin> {
        let mut pins = self.inner.pins.lock();
        let here = self.inner.layers.read().contains_key(&layer.get());
        here.then(|| {
            self.inner.touched.lock().insert(layer.get(), now());
            LayerPin::new(&self.inner, &mut pins, layer)
        })
    }

    /// Notes that the layer came from the registry `origin` (host or host:port), too.
    ///
    /// # Errors
    /// When `origin` is not such a name, or the database fails.
    pub fn add_origin(&self, layer: LayerId, origin: &str) -> Result<(), StoreError> {
        self.inner.add_origin(layer, origin)
    }

    /// True when there are layers of other origins than these.
    pub fn has_beyond(&self, origins: &Origins) -> bool {
        self.inner.layers.read().values().any(|of| !origins.allow(of))
    }

    fn donor(&self, hit: Hit, allowed: &Allowed<'_>) -> Donor {
        Donor {
            layer: LayerId(hit.layer),
            path: hit.path,
            root: self.inner.layout.fs(hit.layer),
            may_link: !allowed.is_local(hit.layer),
            proven: hit.proven,
        }
    }
}

impl Inner {
    pub(crate) fn pin_layer(
        self: &Arc<Self>,
        diff_id: &Digest,
        flavour: Flavour,
    ) -> Result<Option<LayerPin>, StoreError> {
        // Pinned before anyone can decide to delete it: cleanup holds the same lock.
        let mut pins = self.pins.lock();
        let rows = self.database.read(|db| rows::layers_of(db, diff_id, flavour))?;
        let known = self.layers.read();
        let id = rows.into_iter().map(|row| row.id).find(|id| known.contains_key(id));
        Ok(id.map(|id| LayerPin::new(self, &mut pins, LayerId(id))))
    }

    pub(crate) fn pin(self: &Arc<Self>, id: u64) -> LayerPin {
        LayerPin::new(self, &mut self.pins.lock(), LayerId(id))
    }
}

/// Hands out directory ids. Taken from the database in blocks, so that most calls write nothing and no id
/// comes twice, even after a crash.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// Next id, and the end of the block it is from.
    block: Mutex<(u64, u64)>,
}

const BLOCK: u64 = 64;

impl Ids {
    pub(crate) fn next(&self, database: &Database) -> Result<u64, StoreError> {
        let mut block = self.block.lock();
        if block.0 == block.1 {
            let end = database.write(|db| rows::take_ids(db, BLOCK))?;
            *block = (end.saturating_sub(BLOCK), end);
        }
        let id = block.0;
        block.0 += 1;
        Ok(id)
    }
}

/// Nanoseconds since the epoch, for the database.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

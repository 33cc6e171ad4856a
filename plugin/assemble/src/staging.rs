//! The staging tree on the disk: directories are made as entries name them, the rest by jobs; when all is written, the
//! disk is made to be what the model says.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Weak};

use chunked_core::{Digest, Entry};
use chunked_linux::{Dir, NodeType};

use crate::error::AssembleError;
use crate::relink::LinkedInode;
use crate::report::{Extracted, Stored};
use crate::tidy::{Batches, OnDisk};
use crate::tree::model::tidy::Tidy;
use crate::tree::model::whiteouts::Whiteouts;
use crate::tree::model::{Directory, NodeId, Stale, Tree};
use crate::tree::path::split;
use crate::tree::placement::Placement;
use crate::work::budget::Budget;
use crate::work::dispatcher::Dispatcher;
use crate::work::layer::Layer;
use crate::work::node::FinishDirectory;
use crate::work::progress::Progress;
use crate::work::target::{Target, passing_name};

/// Open directories kept at once.
const OPEN_DIRS: usize = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Staging {
    layer: Arc<Layer>,
    placement: Placement,
    /// Where nodes lie that replace others, until the tree is tidied: the directory's name in the root, and itself.
    aside: Option<(Vec<u8>, Arc<Dir>)>,
    open: HashMap<NodeId, Arc<Dir>>,
    /// Whiteouts made.
    whiteouts: u64,
}

/// Says whether the layer is still wanted, and if not why.
pub(crate) type Check<'a> = &'a dyn Fn() -> Result<(), AssembleError>;

impl Staging {
    pub(crate) fn new(
        root: &Path,
        base: bool,
        budget: Arc<Budget>,
        progress: Arc<Progress>,
        lease: Option<Weak<dyn Any + Send + Sync>>,
    ) -> Result<Self, AssembleError> {
        let root = Dir::open(root).map_err(AssembleError::io(b"", "opening the staging directory"))?;
        Ok(Self {
            layer: Arc::new(Layer::new(Arc::new(root), budget, progress, lease)),
            placement: Placement::new(base),
            aside: None,
            open: HashMap::new(),
            whiteouts: 0,
        })
    }

    /// Finds the place of `entry`. `None`: nothing is to be made for it by a job.
    pub(crate) fn place(&mut self, entry: &Entry) -> Result<Option<Target>, AssembleError> {
        let placed = self.placement.place(entry);
        let placed = placed.map_err(|error| AssembleError::entry(&entry.path, error.to_string()))?;
        for directory in placed.directories {
            self.make_dir(directory)?;
        }
        let Some(node) = placed.node else { return Ok(None) };
        let (dir, path) = self.place_of(node)?;
        Ok(Some(Target::new(Arc::clone(&self.layer), node, dir, path, entry)))
    }

    fn make_dir(&mut self, id: NodeId) -> Result<(), AssembleError> {
        let (dir, path) = self.place_of(id)?;
        dir.create_dir(split(&path).1).map_err(AssembleError::io(&path, "creating the directory"))
    }

    /// The open directory that `id` lies in, and its path beneath the root.
    fn place_of(&mut self, id: NodeId) -> Result<(Arc<Dir>, Vec<u8>), AssembleError> {
        let location = self.placement.tree.location(id);
        let path = self.path_of(id)?;
        let dir = if location.aside.is_some() && location.path.is_empty() {
            self.aside()?.1
        } else {
            self.dir(self.placement.tree.parent(id))?
        };
        Ok((dir, path))
    }

    /// Where `id` lies beneath the root.
    fn path_of(&mut self, id: NodeId) -> Result<Vec<u8>, AssembleError> {
        let location = self.placement.tree.location(id);
        let Some(number) = location.aside else { return Ok(location.path) };
        let (name, _) = self.aside()?;
        let mut path = name;
        path.extend_from_slice(format!("/{number}").as_bytes());
        if !location.path.is_empty() {
            path.push(b'/');
            path.extend_from_slice(&location.path);
        }
        Ok(path)
    }

    fn aside(&mut self) -> Result<(Vec<u8>, Arc<Dir>), AssembleError> {
        if let Some((name, dir)) = &self.aside {
            return Ok((name.clone(), Arc::clone(dir)));
        }
        let name = passing_name();
        let io = || AssembleError::io(b"", "making a directory for what replaces something");
        self.layer.root.create_dir(&name).map_err(io())?;
        let dir = Arc::new(self.layer.root.open_dir(&name).map_err(io())?);
        self.aside = Some((name.clone(), Arc::clone(&dir)));
        Ok((name, dir))
    }

    fn dir(&mut self, id: NodeId) -> Result<Arc<Dir>, AssembleError> {
        if id == Tree::ROOT {
            return Ok(Arc::clone(&self.layer.root));
        }
        if let Some(dir) = self.open.get(&id) {
            return Ok(Arc::clone(dir));
        }
        if self.open.len() >= OPEN_DIRS {
            self.open.clear();
        }
        let path = self.path_of(id)?;
        let dir = self.layer.root.open_dir(&path);
        let dir = Arc::new(dir.map_err(AssembleError::io(&path, "opening the directory"))?);
        self.open.insert(id, Arc::clone(&dir));
        Ok(dir)
    }

    /// Makes the disk what the model says: gives linked inodes their final metadata, makes hard links, moves what lies
    /// aside to its place and removes what it replaces. Nothing else may be running.
    pub(crate) fn tidy(&mut self, work: &mut Dispatcher) -> Result<(), AssembleError> {
        let nodes = self.placement.tree.nodes();
        self.relink(&nodes, &|| work.check())?;
        let steps = self.placement.tree.tidy(&nodes);
        let (links, others): (Vec<_>, Vec<_>) =
            steps.into_iter().partition(|step| matches!(step, Tidy::Link { .. }));
        for steps in [links, others] {
            let mut batches = Batches::new(work);
            for step in steps {
                if let Some(step) = self.step(step, batches.progress())? {
                    batches.add(step)?;
                }
            }
            batches.finish()?;
        }
        let Some((name, dir)) = self.aside.take() else { return Ok(()) };
        let names = dir.names().map_err(AssembleError::io(b"", "listing what was replaced"))?;
        let mut batches = Batches::new(work);
        for name in names {
            batches.add(OnDisk::Remove { dir: Arc::clone(&dir), name })?;
        }
        batches.finish()?;
        self.layer.root.remove_all(&name).map_err(AssembleError::io(b"", "removing what was replaced"))
    }

    /// The step, for a worker; `None` when it is done already.
    fn step(&mut self, step: Tidy, progress: &Progress) -> Result<Option<OnDisk>, AssembleError> {
        Ok(Some(match step {
            Tidy::Link { first, node } => {
                let ((from, old), (to, new)) = (self.place_of(first)?, self.place_of(node)?);
                OnDisk::Link { from, name: split(&old).1.to_vec(), to, new: split(&new).1.to_vec() }
            }
            Tidy::Remove { directory, name } => OnDisk::Remove { dir: self.dir(directory)?, name },
            Tidy::Move { node, over } => {
                let (from, path) = self.place_of(node)?;
                let tree = &self.placement.tree;
                let is_directory = tree.directory(node).is_some();
                let (parent, new) = (tree.parent(node), tree.name(node).to_vec());
                let (name, to) = (split(&path).1.to_vec(), self.dir(parent)?);
                // What is no directory takes the place of what is none.
                let clear = over.is_some_and(|over| is_directory || over == Stale::Directory);
                let step = OnDisk::Move { from, name, to, new, clear };
                self.placement.tree.moved(node);
                if is_directory {
                    // What is in it is found by its path from now on.
                    step.take(progress)?;
                    return Ok(None);
                }
                step
            }
        }))
    }

    /// Gives the inodes that link entries lead to the metadata of the last of those. An inode that belongs to another
    /// layer, too, is replaced by a copy first, unless nothing would change.
    fn relink(&mut self, nodes: &[NodeId], check: Check<'_>) -> Result<(), AssembleError> {
        let relinked = self.placement.take_relinked();
        if relinked.is_empty() {
            return Ok(());
        }
        // What has no name any more is no concern.
        let wanted: HashSet<_> = nodes.iter().map(|id| self.placement.tree.first(*id)).collect();
        for (first, relinked) in relinked.into_iter().filter(|(first, _)| wanted.contains(first)) {
            check()?;
            let (dir, path) = self.place_of(first)?;
            let entry = self.placement.tree.path(first);
            let inode = LinkedInode { layer: &self.layer, node: first, dir: &dir, name: split(&path).1 };
            let set = if self.placement.tree.is_file(first) {
                inode.file(&relinked)
            } else {
                inode.special(&relinked, self.placement.tree.is_symlink(first))
            };
            set.map_err(AssembleError::io(&entry, "setting a hard link's metadata"))?;
        }
        Ok(())
    }

    /// Makes the whiteouts: overlayfs takes a 0:0 character device for one. Everything else must be in its place.
    ///
    /// Such a directory may turn out to have no counterpart in lower layers, and of what does not merge overlayfs would
    /// list the devices. The mark makes it look closer.
    pub(crate) fn whiteouts(&mut self, check: Check<'_>) -> Result<(), AssembleError> {
        for Whiteouts { directory, names } in self.placement.tree.settle_whiteouts() {
            check()?;
            let (dir, path) = (self.dir(directory)?, self.placement.tree.path(directory));
            dir.set_has_whiteouts()
                .map_err(AssembleError::io(&path, "marking a directory with whiteouts"))?;
            for (name, (uid, gid)) in names {
                check()?;
                dir.create_node(&name, NodeType::Char, 0, 0, 0)
                    .and_then(|()| dir.chown(&name, uid, gid))
                    .map_err(AssembleError::io(&name, "creating the whiteout"))?;
                self.whiteouts += 1;
            }
        }
        Ok(())
    }

    /// The last pass: final metadata of every directory.
    pub(crate) fn directories(&mut self) -> Result<Vec<FinishDirectory>, AssembleError> {
        let root = &self.layer.root;
        let directory = |id| self.placement.tree.directory(id);
        if directory(Tree::ROOT).is_some_and(Directory::is_opaque) {
            root.set_opaque().map_err(AssembleError::io(b"", "marking the root opaque"))?;
        }
        let mut jobs = Vec::new();
        for id in self.placement.tree.nodes() {
            let Some(opaque) = self.placement.tree.directory(id).map(Directory::is_opaque) else {
                continue;
            };
            let described = self.placement.take_described(id).map(|it| (it.meta, it.xattrs));
            if opaque || described.is_some() {
                let (root, path) = (Arc::clone(root), self.placement.tree.path(id));
                jobs.push(FinishDirectory { root, path, opaque, described });
            }
        }
        Ok(jobs)
    }

    /// The layer's counts and lists, when everything is in its place.
    pub(crate) fn extracted(&self, diff_id: Digest, tar_bytes: u64) -> Extracted {
        let tree = &self.placement.tree;
        let mut paths = HashMap::new();
        let (mut implied, mut directories) = (Vec::new(), 0);
        for id in tree.nodes() {
            if let Some(directory) = tree.directory(id) {
                directories += 1;
                if directory.takes_after_lower() {
                    implied.push(tree.path(id));
                }
            } else {
                // An inode whose first name was replaced lives on under another.
                paths.entry(tree.first(id)).and_modify(|name| *name = id.min(*name)).or_insert(id);
            }
        }
        implied.sort_unstable();
        let known = self.layer.take_known().into_iter();
        let stored = known.filter_map(|file| {
            let path = tree.path(*paths.get(&file.node)?);
            Some(Stored { path, digest: file.digest, size: file.size, proof: file.proof })
        });
        let files: Vec<_> = stored.collect();
        let mut shared = self.layer.take_shared();
        shared.retain(|shared| paths.contains_key(&shared.node));
        Extracted {
            diff_id,
            tar_bytes,
            implied,
            has_whiteouts: self.placement.has_whiteouts(),
            bytes: files.iter().map(|file| file.size.next_multiple_of(4096)).sum::<u64>()
                + (directories + 1) * 4096,
            inodes: paths.len() as u64 + directories + self.whiteouts + 1,
            shared_bytes: shared.iter().map(|shared| shared.bytes).sum(),
            shared_inodes: shared.iter().filter(|shared| shared.linked).count() as u64,
            files,
        }
    }
}

//! Where an entry goes: containerd's unpack rules applied to the model of the tree, directories made, things in
//! the way removed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chunked_core::{Digest, Entry, Kind, Xattr};
use chunked_linux::Dir;

use crate::error::{AssembleError, lossy};
use crate::work::dispatcher::Dispatcher;
use crate::work::job::{At, Job, What};

use crate::tree::metadata::metadata;
use crate::tree::model::{Directory, Leaf, Node, NodeId, Tree};
use crate::tree::whiteout::{Meaning, meaning};
use crate::work::entry::Placed;
use crate::work::progress::{Extracted, Progress};

/// Open directories kept at once.
const OPEN_DIRS: usize = 128;

#[derive(Debug)]
struct Link {
    target: Vec<Vec<u8>>,
    directory: NodeId,
    name: Vec<u8>,
    entry: Entry,
}

#[derive(Debug)]
pub(crate) struct Staging {
    root: Arc<Dir>,
    base: bool,
    tree: Tree,
    open: HashMap<NodeId, Arc<Dir>>,
    /// Parent of the previous entry, by the name it had in the archive.
    last_parent: Option<(Vec<u8>, NodeId)>,
    /// Hard links wait until the files they point to are written.
    links: Vec<Link>,
    directories: HashMap<NodeId, Entry>,
    has_whiteouts: bool,
}

impl Staging {
    pub(crate) fn new(root: &Path, base: bool) -> Result<Self, AssembleError> {
        let root = Dir::open(root).map_err(AssembleError::io(b"", "opening the staging directory"))?;
        Ok(Self {
            root: Arc::new(root),
            base,
            tree: Tree::new(),
            open: HashMap::new(),
            last_parent: None,
            links: Vec::new(),
            directories: HashMap::new(),
            has_whiteouts: false,
        })
    }

    /// The root of the tree.
    pub(crate) fn root(&self) -> Arc<Dir> {
        Arc::clone(&self.root)
    }

    /// Finds the place of `entry`. `None`: nothing is to be made now (the root, directories, whiteouts that
    /// only remove, hard links).
    pub(crate) fn entry(
        &mut self,
        entry: &Entry,
        work: &mut Dispatcher,
    ) -> Result<Option<Placed>, AssembleError> {
        let components = crate::tree::path::clean(&entry.path);
        // containerd ignores an entry for the root.
        let Some((&name, parents)) = components.split_last() else { return Ok(None) };
        if name.len() > 255 || name.contains(&0) {
            return Err(AssembleError::entry(
                &entry.path,
                "its name is longer than 255 bytes or has a zero byte",
            ));
        }
        let directory = self.parent(entry, &crate::tree::path::join(parents.iter().copied()))?;
        match meaning(name).map_err(|error| AssembleError::entry(&entry.path, error.to_string()))? {
            Meaning::Opaque => self.opaque(entry, directory, work)?,
            Meaning::Whiteout(hidden) => return self.whiteout(entry, directory, hidden, work),
            Meaning::Plain => return self.plain(entry, directory, name, work),
        }
        Ok(None)
    }

    /// The directory that `parent` leads to, made if need be.
    fn parent(&mut self, entry: &Entry, parent: &[u8]) -> Result<NodeId, AssembleError> {
        if let Some((known, id)) = &self.last_parent
            && known == parent
        {
            return Ok(*id);
        }
        let fail = |e: crate::tree::model::TreeError| AssembleError::entry(&entry.path, e.to_string());
        let components = self.tree.resolve(parent, true).map_err(fail)?;
        let mut created = Vec::new();
        let id = self.tree.ensure_dir(&components, &mut created).map_err(fail)?;
        for id in created {
            self.make_dir(id)?;
        }
        self.last_parent = Some((parent.to_vec(), id));
        Ok(id)
    }

    fn make_dir(&mut self, id: NodeId) -> Result<(), AssembleError> {
        let path = self.tree.path(id);
        let (parent, name) = split(&path);
        let dir = self.root.open_dir(parent).map_err(AssembleError::io(&path, "opening its parent"))?;
        dir.create_dir(name).map_err(AssembleError::io(&path, "creating the directory"))
    }

    fn dir(&mut self, id: NodeId) -> Result<Arc<Dir>, AssembleError> {
        if id == Tree::ROOT {
            return Ok(Arc::clone(&self.root));
        }
        if let Some(dir) = self.open.get(&id) {
            return Ok(Arc::clone(dir));
        }
        if self.open.len() >= OPEN_DIRS {
            self.open.clear();
        }
        let path = self.tree.path(id);
        let dir = self.root.open_dir(&path).map_err(AssembleError::io(&path, "opening the directory"))?;
        let dir = Arc::new(dir);
        self.open.insert(id, Arc::clone(&dir));
        Ok(dir)
    }

    fn full_path(&self, directory: NodeId, name: &[u8]) -> Vec<u8> {
        let mut path = self.tree.path(directory);
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    fn opaque(
        &mut self,
        entry: &Entry,
        directory: NodeId,
        work: &mut Dispatcher,
    ) -> Result<(), AssembleError> {
        self.has_whiteouts = true;
        if self.base {
            // In the lowest layer there is nothing to hide but what this layer's names only implied.
            for name in self.tree.implied_children(directory) {
                self.clear(directory, &name, work)?;
            }
        } else if directory == Tree::ROOT {
            let root = Arc::clone(&self.root);
            root.set_opaque().map_err(AssembleError::io(&entry.path, "marking the root opaque"))?;
        } else if let Some(directory) = self.tree.directory_mut(directory) {
            directory.opaque = true;
        }
        Ok(())
    }

    fn whiteout(
        &mut self,
        entry: &Entry,
        directory: NodeId,
        hidden: &[u8],
        work: &mut Dispatcher,
    ) -> Result<Option<Placed>, AssembleError> {
        self.has_whiteouts = true;
        if self.base {
            self.clear(directory, hidden, work)?;
            return Ok(None);
        }
        // A whiteout hides what lies below this layer (OCI image-spec, layer.md), never what is in it.
        if let Some(id) = self.tree.child(directory, hidden) {
            if let Some(directory) = self.tree.directory_mut(id) {
                directory.opaque = true;
            }
            return Ok(None);
        }
        self.add(entry, directory, hidden, Node::Leaf(Leaf::Whiteout))?;
        let dir = self.dir(directory)?;
        Ok(Some(Placed { dir, path: self.full_path(directory, hidden), whiteout: true }))
    }

    fn plain(
        &mut self,
        entry: &Entry,
        directory: NodeId,
        name: &[u8],
        work: &mut Dispatcher,
    ) -> Result<Option<Placed>, AssembleError> {
        let is_dir = entry.kind == Kind::Directory;
        if let Some(id) = self.tree.child(directory, name) {
            if is_dir && let Some(known) = self.tree.directory_mut(id) {
                known.explicit = true;
                self.merge(id, entry);
                return Ok(None);
            }
            self.clear(directory, name, work)?;
        }
        let node = match &entry.kind {
            Kind::Directory => Node::Directory(Directory::described()),
            Kind::Symlink(target) => Node::Symlink(target.clone()),
            Kind::File { .. } => Node::Leaf(Leaf::File),
            Kind::HardLink(target) => return self.link(entry, target, directory, name),
            Kind::GlobalHeader => return Ok(None),
            _ => Node::Leaf(Leaf::Special),
        };
        if matches!(node, Node::Symlink(_)) {
            self.last_parent = None;
        }
        let id = self.add(entry, directory, name, node)?;
        if is_dir {
            self.make_dir(id)?;
            self.directories.insert(id, entry.clone());
            return Ok(None);
        }
        let dir = self.dir(directory)?;
        Ok(Some(Placed { dir, path: self.full_path(directory, name), whiteout: false }))
    }

    /// A directory described twice: the later entry's metadata counts, attributes add up.
    fn merge(&mut self, id: NodeId, entry: &Entry) {
        let mut entry = entry.clone();
        if let Some(before) = self.directories.remove(&id) {
            let old = before.xattrs.into_iter().filter(|x| !entry.xattrs.iter().any(|y| y.name == x.name));
            let mut xattrs: Vec<Xattr> = old.collect();
            xattrs.append(&mut entry.xattrs);
            entry.xattrs = xattrs;
        }
        self.directories.insert(id, entry);
    }

    fn add(&mut self, entry: &Entry, dir: NodeId, name: &[u8], node: Node) -> Result<NodeId, AssembleError> {
        self.tree.insert(dir, name, node).map_err(|e| AssembleError::entry(&entry.path, e.to_string()))
    }

    /// Removes what stands at `name`, once nothing is being written any more.
    fn clear(&mut self, directory: NodeId, name: &[u8], work: &mut Dispatcher) -> Result<(), AssembleError> {
        if self.tree.child(directory, name).is_none() {
            return Ok(());
        }
        work.barrier()?;
        self.links()?;
        let path = self.full_path(directory, name);
        let dir = self.dir(directory)?;
        dir.remove_all(name).map_err(AssembleError::io(&path, "removing what an entry replaces"))?;
        work.progress.forget(&path);
        self.tree.remove(directory, name);
        self.open.clear();
        self.last_parent = None;
        Ok(())
    }

    fn link(
        &mut self,
        entry: &Entry,
        target: &[u8],
        directory: NodeId,
        name: &[u8],
    ) -> Result<Option<Placed>, AssembleError> {
        let fail = |reason: String| AssembleError::entry(&entry.path, reason);
        let components = self.tree.resolve(target, false).map_err(|e| fail(e.to_string()))?;
        let node = match self.tree.find(&components).and_then(|id| self.tree.node(id)) {
            Some(Node::Symlink(target)) => Node::Symlink(target.clone()),
            Some(Node::Leaf(leaf)) => Node::Leaf(*leaf),
            Some(Node::Directory(_)) => return Err(fail("it is a hard link to a directory".into())),
            None => {
                return Err(fail(format!(
                    "it is a hard link to {:?}, which is not in the layer",
                    lossy(target)
                )));
            }
        };
        if matches!(node, Node::Symlink(_)) {
            self.last_parent = None;
        }
        self.add(entry, directory, name, node)?;
        self.links.push(Link { target: components, directory, name: name.to_vec(), entry: entry.clone() });
        Ok(None)
    }

    /// Makes the hard links that waited. Nothing may be running.
    pub(crate) fn links(&mut self) -> Result<(), AssembleError> {
        for link in std::mem::take(&mut self.links) {
            let target = crate::tree::path::join(link.target.iter().map(Vec::as_slice));
            let (parent, name) = split(&target);
            let path = &link.entry.path;
            let from =
                self.root.open_dir(parent).map_err(AssembleError::io(path, "opening the link's target"))?;
            let dir = self.dir(link.directory)?;
            dir.link_from(&from, name, &link.name)
                .map_err(AssembleError::io(path, "creating the hard link"))?;
            // containerd gives the inode the link entry's metadata, the last one to win.
            let symlink = self
                .tree
                .find(&link.target)
                .is_some_and(|id| matches!(self.tree.node(id), Some(Node::Symlink(_))));
            dir.set_node_metadata(&link.name, &metadata(&link.entry), &link.entry.xattrs, symlink)
                .map_err(AssembleError::io(path, "setting the hard link's metadata"))?;
        }
        Ok(())
    }

    /// The last pass: metadata of every directory that an entry described.
    pub(crate) fn directory_jobs(&mut self) -> Result<Vec<Job>, AssembleError> {
        let mut jobs = Vec::new();
        for id in self.tree.directories() {
            let opaque = self.tree.directory_mut(id).is_some_and(|d| d.opaque);
            let Some(entry) = self.directories.remove(&id) else {
                if opaque {
                    let dir = self.dir(id)?;
                    let path = self.tree.path(id);
                    dir.set_opaque().map_err(AssembleError::io(&path, "marking the directory opaque"))?;
                }
                continue;
            };
            jobs.push(Job {
                place: At::Beneath(Arc::clone(&self.root)),
                path: self.tree.path(id),
                meta: metadata(&entry),
                xattrs: entry.xattrs,
                what: What::Directory { opaque },
            });
        }
        Ok(jobs)
    }

    pub(crate) fn extracted(&mut self, diff_id: Digest, tar_bytes: u64, progress: &Progress) -> Extracted {
        let mut implied = Vec::new();
        let mut directories = 0;
        for id in self.tree.directories() {
            directories += 1;
            if self.tree.directory_mut(id).is_some_and(|d| !d.explicit) {
                implied.push(self.tree.path(id));
            }
        }
        implied.sort_unstable();
        Extracted {
            diff_id,
            tar_bytes,
            files: progress.take_stored(),
            implied,
            has_whiteouts: self.has_whiteouts,
            bytes: progress.bytes.load(Ordering::Relaxed) + (directories + 1) * 4096,
            // Directories were counted when their last pass was queued; the root was not.
            inodes: progress.inodes.load(Ordering::Relaxed) + 1,
            shared_bytes: progress.shared_bytes.load(Ordering::Relaxed),
            shared_inodes: progress.shared_inodes.load(Ordering::Relaxed),
        }
    }
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

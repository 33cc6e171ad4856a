//! A model of the staging tree, kept while a layer is unpacked.
//!
//! It answers what containerd's unpack asks the disk: where does a name lead through the layer's own symlinks,
//! does its parent exist, what is in the way. So files can be written by workers, out of order, and the kernel
//! never resolves an image's symlink.
//!
//! It also knows what lies where on the disk. An entry that replaces another is not made in its place while
//! workers may be busy with that: it is made aside, and what is no longer in the tree stays where it is. When all is
//! written, `Tree::tidy` says how the disk becomes the tree. Pure: no I/O.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::tree::path;

/// Index of a node in the [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// What is at a path.
#[derive(Debug)]
pub(crate) enum Node {
    Directory(Directory),
    Symlink(Vec<u8>),
    /// File, device or FIFO.
    Leaf(Leaf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    File,
    Special,
}

type Name = Box<[u8]>;

#[derive(Debug, Default)]
pub(crate) struct Directory {
    children: HashMap<Name, NodeId>,
    /// Children that are implied directories.
    implied: HashSet<Name>,
    /// Names at which the disk has something that is no longer in the tree.
    stale: HashMap<Name, Stale>,
    /// Described by an entry; the others were only implied by the names of entries below them.
    explicit: bool,
    opaque: bool,
    /// An opaque marker of the lowest layer took its implied children away.
    cleared: bool,
    /// A whiteout hides what lower layers have at this directory's own path.
    removed: bool,
    /// Names that whiteouts hide in lower layers, with the whiteouts' owner and group. What this layer has there stays.
    hidden: BTreeMap<Name, (u32, u32)>,
}

impl Directory {
    /// A directory that an entry described.
    pub(crate) fn described() -> Self {
        Self { explicit: true, ..Self::default() }
    }

    /// Only implied: its attributes are those of the directory that lower layers have at its path.
    pub(crate) fn takes_after_lower(&self) -> bool {
        !self.explicit && !self.removed
    }

    /// Nothing of lower layers is to be seen in it.
    pub(crate) fn is_opaque(&self) -> bool {
        self.opaque || self.removed
    }
}

/// Where a node lies on the disk until the tree is tidied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Home {
    /// At its name in its parent.
    Own,
    /// Beside the tree, under this number: at its name lies what it replaced.
    Aside(u32),
}

/// What lies at a name though it is no longer in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stale {
    /// A directory, with all below it.
    Directory,
    /// Anything else.
    Leaf,
}

/// Why a name leads nowhere.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TreeError {
    #[error("its parent is not a directory")]
    NotADirectory,
    #[error("too many symlinks on the way")]
    Loop,
    #[error("a name is longer than 255 bytes or has a zero byte")]
    Name,
    #[error("the layer has too many entries")]
    Full,
    #[error("it is an invalid whiteout name")]
    Whiteout,
    #[error("it is a hard link to a directory")]
    LinkToDirectory,
    #[error("it is a hard link to {0:?}, which is not in the layer")]
    LinkToNothing(String),
}

#[derive(Debug)]
struct Slot {
    node: Node,
    parent: NodeId,
    name: Name,
    home: Home,
    /// For a hard link, the node whose entry made the inode.
    first: Option<NodeId>,
}

#[derive(Debug)]
pub(crate) struct Tree {
    slots: Vec<Slot>,
    /// Nodes that were given a place aside.
    asides: u32,
    links: Vec<NodeId>,
}

impl Tree {
    pub(crate) const ROOT: NodeId = NodeId(0);

    pub(crate) fn new() -> Self {
        let root = Slot {
            node: Node::Directory(Directory::described()),
            parent: Self::ROOT,
            name: Name::default(),
            home: Home::Own,
            first: None,
        };
        Self { slots: vec![root], asides: 0, links: Vec::new() }
    }

    fn slot(&self, id: NodeId) -> Option<&Slot> {
        self.slots.get(id.0 as usize)
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.slot(id).map(|slot| &slot.node)
    }

    pub(crate) fn directory(&self, id: NodeId) -> Option<&Directory> {
        match self.node(id)? {
            Node::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> Option<&mut Directory> {
        match &mut self.slots.get_mut(id.0 as usize)?.node {
            Node::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    pub(crate) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.directory(directory)?.children.get(name).copied()
    }

    /// The node whose entry made the inode of `id`: itself, unless it is a hard link.
    pub(crate) fn first(&self, id: NodeId) -> NodeId {
        self.slot(id).and_then(|slot| slot.first).unwrap_or(id)
    }

    pub(crate) fn is_file(&self, id: NodeId) -> bool {
        matches!(self.node(id), Some(Node::Leaf(Leaf::File)))
    }

    pub(crate) fn is_symlink(&self, id: NodeId) -> bool {
        matches!(self.node(id), Some(Node::Symlink(_)))
    }

    pub(crate) fn parent(&self, id: NodeId) -> NodeId {
        self.slot(id).map_or(Self::ROOT, |slot| slot.parent)
    }

    pub(crate) fn name(&self, id: NodeId) -> &[u8] {
        self.slot(id).map_or(&[], |slot| &slot.name)
    }

    /// The node at resolved `components`.
    pub(crate) fn find(&self, components: &[Vec<u8>]) -> Option<NodeId> {
        components.iter().try_fold(Self::ROOT, |id, part| self.child(id, part))
    }

    /// The directory at resolved `components`; those missing are added as implied and given to `created`, top
    /// down.
    pub(crate) fn ensure_dir(
        &mut self,
        components: &[Vec<u8>],
        created: &mut Vec<NodeId>,
    ) -> Result<NodeId, TreeError> {
        let mut id = Self::ROOT;
        for part in components {
            id = match self.child(id, part) {
                Some(child) if self.directory(child).is_some() => child,
                Some(_) => return Err(TreeError::NotADirectory),
                None => {
                    let child = self.insert(id, part, Node::Directory(Directory::default()))?;
                    created.push(child);
                    child
                }
            };
        }
        Ok(id)
    }

    /// Puts `node` at `name` in `directory`, in place of what was there.
    pub(crate) fn insert(&mut self, directory: NodeId, name: &[u8], node: Node) -> Result<NodeId, TreeError> {
        self.add(directory, name, node, None)
    }

    /// Puts a hard link to `target`, which is no directory, at `name` in `directory`, in place of what was there.
    pub(crate) fn link(
        &mut self,
        directory: NodeId,
        name: &[u8],
        target: NodeId,
    ) -> Result<NodeId, TreeError> {
        let node = match self.node(target) {
            Some(Node::Symlink(to)) => Node::Symlink(to.clone()),
            Some(Node::Leaf(leaf)) => Node::Leaf(*leaf),
            Some(Node::Directory(_)) | None => return Err(TreeError::LinkToDirectory),
        };
        let id = self.add(directory, name, node, Some(self.first(target)))?;
        self.links.push(id);
        Ok(id)
    }

    fn add(
        &mut self,
        directory: NodeId,
        name: &[u8],
        node: Node,
        first: Option<NodeId>,
    ) -> Result<NodeId, TreeError> {
        let id = NodeId(u32::try_from(self.slots.len()).map_err(|_| TreeError::Full)?);
        self.remove(directory, name);
        let implied = matches!(&node, Node::Directory(new) if !new.explicit);
        let parent = self.directory_mut(directory).ok_or(TreeError::NotADirectory)?;
        parent.children.insert(name.into(), id);
        if implied {
            parent.implied.insert(name.into());
        }
        let home = if parent.stale.contains_key(name) {
            self.asides += 1;
            Home::Aside(self.asides)
        } else {
            Home::Own
        };
        self.slots.push(Slot { node, parent: directory, name: name.into(), home, first });
        Ok(id)
    }

    /// Takes `name`, with all below it, out of `directory`. On the disk it stays where it is.
    pub(crate) fn remove(&mut self, directory: NodeId, name: &[u8]) {
        let Some(parent) = self.directory_mut(directory) else { return };
        let Some(id) = parent.children.remove(name) else { return };
        parent.implied.remove(name);
        // A hard link is made last, so there is nothing yet.
        let lies_there = self.slot(id).is_some_and(|slot| slot.home == Home::Own && slot.first.is_none());
        let stale = if self.directory(id).is_some() { Stale::Directory } else { Stale::Leaf };
        if lies_there && let Some(parent) = self.directory_mut(directory) {
            parent.stale.insert(name.into(), stale);
        }
    }

    /// An entry described the directory `id`.
    pub(crate) fn describe(&mut self, id: NodeId) {
        let (parent, name) = (self.parent(id), self.name(id).to_vec());
        if let Some(directory) = self.directory_mut(id) {
            directory.explicit = true;
        }
        if let Some(parent) = self.directory_mut(parent) {
            parent.implied.remove(&name[..]);
        }
    }

    /// Marks the directory `id` opaque; nothing happens to what is no directory.
    pub(crate) fn make_opaque(&mut self, id: NodeId) {
        if let Some(directory) = self.directory_mut(id) {
            directory.opaque = true;
        }
    }

    /// Takes out of `directory`, and of what is below it, the names that no entry of this layer described, with all that
    /// they have: what an opaque marker in the lowest layer takes away.
    /// containerd does that once for each directory.
    pub(crate) fn remove_implied(&mut self, directory: NodeId) {
        let first =
            self.directory_mut(directory).is_some_and(|here| !std::mem::replace(&mut here.cleared, true));
        let mut todo = if first { vec![directory] } else { Vec::new() };
        while let Some(id) = todo.pop() {
            let Some(here) = self.directory_mut(id) else { continue };
            for name in std::mem::take(&mut here.implied) {
                self.remove(id, &name);
            }
            todo.extend(self.directory(id).into_iter().flat_map(|here| here.children.values()));
        }
    }

    /// Path of `id` in the tree, without a leading slash; empty for the root.
    pub(crate) fn path(&self, id: NodeId) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = id;
        while at != Self::ROOT {
            let Some(slot) = self.slot(at) else { break };
            parts.push(&slot.name);
            at = slot.parent;
        }
        path::join(parts.into_iter().rev())
    }

    /// What the tree has, parents first, the root left out. Each node is given once.
    pub(crate) fn nodes(&self) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut todo = vec![Self::ROOT];
        while let Some(id) = todo.pop() {
            if id != Self::ROOT {
                found.push(id);
            }
            todo.extend(self.directory(id).into_iter().flat_map(|directory| directory.children.values()));
        }
        found
    }
}

pub(crate) mod resolve;
#[cfg(test)]
mod tests;
pub(crate) mod tidy;
pub(crate) mod whiteouts;

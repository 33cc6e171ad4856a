//! A model of the staging tree, kept while a layer is unpacked.
//!
//! It answers what containerd's unpack asks the disk: where does a name lead through the layer's own symlinks,
//! does its parent exist, what is in the way. So files can be written by workers, out of order, and the kernel
//! never resolves an image's symlink. Pure: no I/O.

use std::collections::HashMap;

use crate::tree::path::clean;

/// Symlinks followed for one name before it counts as a loop (as in containerd's continuity/fs.RootPath).
const MAX_LINKS: usize = 255;

/// Index of a node in the [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NodeId(u32);

/// What is at a path.
#[derive(Debug)]
pub(crate) enum Node {
    Directory(Directory),
    Symlink(Vec<u8>),
    /// File, device, FIFO or whiteout.
    Leaf(Leaf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    File,
    Special,
    Whiteout,
}

#[derive(Debug, Default)]
pub(crate) struct Directory {
    children: HashMap<Box<[u8]>, NodeId>,
    /// Described by an entry; the others were only implied by the names of entries below them.
    pub(crate) explicit: bool,
    pub(crate) opaque: bool,
}

impl Directory {
    /// A directory that an entry described.
    pub(crate) fn described() -> Self {
        Self { explicit: true, ..Self::default() }
    }
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
}

#[derive(Debug)]
struct Slot {
    node: Node,
    parent: NodeId,
    name: Box<[u8]>,
}

#[derive(Debug)]
pub(crate) struct Tree {
    slots: Vec<Slot>,
}

impl Tree {
    pub(crate) const ROOT: NodeId = NodeId(0);

    pub(crate) fn new() -> Self {
        let root = Directory::described();
        Self { slots: vec![Slot { node: Node::Directory(root), parent: Self::ROOT, name: Box::default() }] }
    }

    fn slot(&self, id: NodeId) -> Option<&Slot> {
        self.slots.get(id.0 as usize)
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.slot(id).map(|slot| &slot.node)
    }

    pub(crate) fn directory_mut(&mut self, id: NodeId) -> Option<&mut Directory> {
        match &mut self.slots.get_mut(id.0 as usize)?.node {
            Node::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    pub(crate) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        match self.node(directory)? {
            Node::Directory(d) => d.children.get(name).copied(),
            _ => None,
        }
    }

    /// Where `name` leads: its components with every symlink of this tree resolved within the root, except that
    /// the last component is taken as it is when `follow_last` is false. Components that are not there stay
    /// literal, like in containerd.
    pub(crate) fn resolve(&self, name: &[u8], follow_last: bool) -> Result<Vec<Vec<u8>>, TreeError> {
        let mut pending: Vec<Vec<u8>> = clean(name).into_iter().rev().map(<[u8]>::to_vec).collect();
        let mut path: Vec<(Vec<u8>, Option<NodeId>)> = Vec::new();
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == b".." {
                path.pop();
                continue;
            }
            if part.len() > 255 || part.contains(&0) {
                return Err(TreeError::Name);
            }
            let here = path.last().map_or(Some(Self::ROOT), |(_, id)| *id);
            let child = here.and_then(|id| self.child(id, &part));
            let target = match child.and_then(|id| self.node(id)) {
                Some(Node::Symlink(target)) if follow_last || !pending.is_empty() => target,
                _ => {
                    path.push((part, child));
                    continue;
                }
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(TreeError::Loop);
            }
            if target.starts_with(b"/") {
                path.clear();
            }
            let parts = target.split(|&b| b == b'/').filter(|p| !matches!(*p, b"" | b"."));
            let at = pending.len();
            pending.extend(parts.map(<[u8]>::to_vec));
            if let Some(new) = pending.get_mut(at..) {
                new.reverse();
            }
        }
        Ok(path.into_iter().map(|(part, _)| part).collect())
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
                Some(child) if matches!(self.node(child), Some(Node::Directory(_))) => child,
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
        let id = NodeId(u32::try_from(self.slots.len()).map_err(|_| TreeError::Full)?);
        let parent = self.directory_mut(directory).ok_or(TreeError::NotADirectory)?;
        parent.children.insert(name.into(), id);
        self.slots.push(Slot { node, parent: directory, name: name.into() });
        Ok(id)
    }

    /// Takes `name` out of `directory`. The nodes below stay in memory, unreachable.
    pub(crate) fn remove(&mut self, directory: NodeId, name: &[u8]) {
        if let Some(directory) = self.directory_mut(directory) {
            directory.children.remove(name);
        }
    }

    /// Names in `directory` that no entry of this layer described: what an opaque marker in the lowest layer
    /// takes away.
    pub(crate) fn implied_children(&self, directory: NodeId) -> Vec<Vec<u8>> {
        let Some(Node::Directory(d)) = self.node(directory) else { return Vec::new() };
        let implied = |id: &NodeId| matches!(self.node(*id), Some(Node::Directory(d)) if !d.explicit);
        d.children.iter().filter(|(_, id)| implied(id)).map(|(name, _)| name.to_vec()).collect()
    }

    /// Path of `id` from the root, without a leading slash; empty for the root.
    pub(crate) fn path(&self, id: NodeId) -> Vec<u8> {
        let mut parts: Vec<&[u8]> = Vec::new();
        let mut at = id;
        while at != Self::ROOT {
            let Some(slot) = self.slot(at) else { break };
            parts.push(&slot.name);
            at = slot.parent;
        }
        crate::tree::path::join(parts.into_iter().rev())
    }

    /// Every directory that can be reached from the root, parents first, the root left out.
    pub(crate) fn directories(&self) -> Vec<NodeId> {
        let mut found = Vec::new();
        let mut todo = vec![Self::ROOT];
        while let Some(id) = todo.pop() {
            let Some(Node::Directory(directory)) = self.node(id) else { continue };
            if id != Self::ROOT {
                found.push(id);
            }
            todo.extend(directory.children.values());
        }
        found
    }
}

#[cfg(test)]
mod tests;

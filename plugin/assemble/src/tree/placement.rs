//! Where an entry goes: containerd's unpack rules applied to the model of the tree. Pure: no I/O.

use std::collections::HashMap;

use chunked_core::{Entry, Kind, Xattr};
use chunked_linux::Metadata;

use crate::tree::inode::{Relinked, merge};
use crate::tree::metadata::changed;
use crate::tree::model::{Directory, Leaf, Node, NodeId, Tree, TreeError};
use crate::tree::path::{clean, is_component, join};
use crate::tree::whiteout::{Meaning, meaning};

/// What overlayfs takes for a whiteout, whatever its name.
const WHITEOUT_DEVICE: Kind = Kind::CharDevice { major: 0, minor: 0 };

/// What an entry said of a directory.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) meta: Metadata,
    pub(crate) xattrs: Vec<Xattr>,
}

/// What is to be made for an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Directories, in this order, to be made before anything else.
    pub(crate) directories: Vec<NodeId>,
    /// The node to make, unless that is done later or not at all: directories are among `directories`, hard links
    /// are made when the tree is tidied, and whiteouts when it is known what else the layer has.
    pub(crate) node: Option<NodeId>,
}

/// The tree, and what its entries said.
#[derive(Debug)]
pub(crate) struct Placement {
    pub(crate) tree: Tree,
    /// The lowest layer of an image: whiteouts remove within the layer and leave nothing.
    base: bool,
    /// Parent of the previous entry, by the name it had in the archive.
    last_parent: Option<(Vec<u8>, NodeId)>,
    described: HashMap<NodeId, Described>,
    /// By the node whose entry made the inode.
    relinked: HashMap<NodeId, Relinked>,
    has_whiteouts: bool,
}

impl Placement {
    pub(crate) fn new(base: bool) -> Self {
        Self {
            tree: Tree::new(),
            base,
            last_parent: None,
            described: HashMap::new(),
            relinked: HashMap::new(),
            has_whiteouts: false,
        }
    }

    /// True when an entry was a whiteout or an opaque marker.
    pub(crate) fn has_whiteouts(&self) -> bool {
        self.has_whiteouts
    }

    /// What entries said of the directory, once.
    pub(crate) fn take_described(&mut self, id: NodeId) -> Option<Described> {
        self.described.remove(&id)
    }

    /// Inodes that link entries gave metadata, by the node whose entry made them, once.
    pub(crate) fn take_relinked(&mut self) -> HashMap<NodeId, Relinked> {
        std::mem::take(&mut self.relinked)
    }

    /// Puts `entry` into the tree.
    ///
    /// # Errors
    /// [`TreeError`] when it has no place there.
    pub(crate) fn place(&mut self, entry: &Entry) -> Result<Placed, TreeError> {
        let mut placed = Placed::default();
        let components = clean(&entry.path);
        // containerd ignores an entry for the root.
        let Some((&name, parents)) = components.split_last() else { return Ok(placed) };
        if !is_component(name) {
            return Err(TreeError::Name);
        }
        if parents.iter().any(|parent| meaning(parent) == Ok(Meaning::Nothing)) {
            return Ok(placed);
        }
        let directory = self.parent(&join(parents.iter().copied()), &mut placed.directories)?;
        match meaning(name)? {
            Meaning::Opaque => self.opaque(directory),
            Meaning::Whiteout(hidden) => self.whiteout(directory, hidden, entry),
            Meaning::Nothing => {}
            Meaning::Plain => self.plain(entry, directory, name, &mut placed)?,
        }
        Ok(placed)
    }

    /// The directory that `parent` leads to; those that are missing are added to the tree and to `created`.
    fn parent(&mut self, parent: &[u8], created: &mut Vec<NodeId>) -> Result<NodeId, TreeError> {
        if let Some((known, id)) = &self.last_parent
            && known == parent
        {
            return Ok(*id);
        }
        let components = self.tree.resolve(parent, true)?;
        let id = self.tree.ensure_dir(&components, created)?;
        self.last_parent = Some((parent.to_vec(), id));
        Ok(id)
    }

    fn opaque(&mut self, directory: NodeId) {
        self.has_whiteouts = true;
        if self.base {
            // In the lowest layer there is nothing to hide but what this layer's names only implied.
            self.tree.remove_implied(directory);
            self.last_parent = None;
        } else {
            self.tree.make_opaque(directory);
        }
    }

    /// A whiteout hides what lies below this layer (OCI image-spec, layer.md), never what is in it, wherever it stands. In
    /// the lowest layer, where there is nothing to hide, containerd removes what came before it.
    fn whiteout(&mut self, directory: NodeId, hidden: &[u8], entry: &Entry) {
        self.has_whiteouts = true;
        if self.base {
            self.clear(directory, hidden);
        } else {
            self.tree.hide(directory, hidden, (entry.uid, entry.gid));
        }
    }

    fn plain(
        &mut self,
        entry: &Entry,
        directory: NodeId,
        name: &[u8],
        placed: &mut Placed,
    ) -> Result<(), TreeError> {
        let is_dir = entry.kind == Kind::Directory;
        if let Some(id) = self.tree.child(directory, name) {
            if is_dir && self.tree.directory(id).is_some() {
                self.tree.describe(id);
                self.describe(id, entry);
                return Ok(());
            }
            self.clear(directory, name);
        }
        if !self.base && entry.kind == WHITEOUT_DEVICE {
            self.whiteout(directory, name, entry);
            return Ok(());
        }
        let node = match &entry.kind {
            Kind::Directory => Node::Directory(Directory::described()),
            Kind::Symlink(target) => Node::Symlink(target.clone()),
            Kind::File { .. } => Node::Leaf(Leaf::File),
            Kind::HardLink(target) => return self.link(entry, target, directory, name),
            Kind::GlobalHeader => return Ok(()),
            Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => Node::Leaf(Leaf::Special),
        };
        if matches!(node, Node::Symlink(_)) {
            self.last_parent = None;
        }
        let id = self.tree.insert(directory, name, node)?;
        if is_dir {
            self.describe(id, entry);
            placed.directories.push(id);
        } else {
            placed.node = Some(id);
        }
        Ok(())
    }

    /// A directory described twice: the later entry's metadata counts, attributes add up.
    fn describe(&mut self, id: NodeId, entry: &Entry) {
        let before = self.described.remove(&id);
        let meta = changed(before.as_ref().map(|before| &before.meta), entry);
        let mut xattrs = before.map(|before| before.xattrs).unwrap_or_default();
        merge(&mut xattrs, &entry.xattrs);
        self.described.insert(id, Described { meta, xattrs });
    }

    /// Takes out what stands at `name`.
    fn clear(&mut self, directory: NodeId, name: &[u8]) {
        self.tree.remove(directory, name);
        self.last_parent = None;
    }

    fn link(
        &mut self,
        entry: &Entry,
        target: &[u8],
        directory: NodeId,
        name: &[u8],
    ) -> Result<(), TreeError> {
        // containerd takes the last component as it is, and a trailing slash makes an empty one.
        let follow_last = matches!(target.rsplit(|byte| *byte == b'/').next(), Some(b"" | b"."));
        let components = self.tree.resolve(target, follow_last)?;
        let nothing = || TreeError::LinkToNothing(String::from_utf8_lossy(target).into_owned());
        let target = self.tree.find(&components).ok_or_else(nothing)?;
        let id = self.tree.link(directory, name, target)?;
        if matches!(self.tree.node(id), Some(Node::Symlink(_))) {
            self.last_parent = None;
        }
        // containerd gives the inode the link entry's metadata.
        let first = self.tree.first(id);
        self.relinked
            .entry(first)
            .and_modify(|inode| inode.add(entry))
            .or_insert_with(|| Relinked::new(entry));
        Ok(())
    }
}

#[cfg(test)]
mod tests;

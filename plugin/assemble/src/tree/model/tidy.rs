//! From the disk as the workers leave it to the tree.

use super::{Home, Node, NodeId, Stale, Tree};
use crate::tree::path;

/// Where a node lies on the disk.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Location {
    /// The path begins beside the tree, at what has this number there; else at the tree's root.
    pub(crate) aside: Option<u32>,
    /// Path from there, without a leading slash; may be empty.
    pub(crate) path: Vec<u8>,
}

/// A step from the disk as the workers leave it to the tree. First all links are made; then directories come to their
/// names before what is in them. Apart from that the order does not matter.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Tidy {
    /// The hard link `node` is made, to the node `first`.
    Link { first: NodeId, node: NodeId },
    /// What lies at this name of the directory is removed, with all below it.
    Remove { directory: NodeId, name: Vec<u8> },
    /// The node, which lies aside, is moved to its name in its parent, in place of what lies there; afterwards
    /// [`Tree::moved`] is called.
    Move { node: NodeId, over: Option<Stale> },
}

impl Tree {
    /// Where `id` lies on the disk.
    pub(crate) fn location(&self, id: NodeId) -> Location {
        let (mut parts, mut aside, mut at): (Vec<&[u8]>, _, _) = (Vec::new(), None, id);
        while at != Self::ROOT {
            let Some(slot) = self.slot(at) else { break };
            if let Home::Aside(number) = slot.home {
                aside = Some(number);
                break;
            }
            parts.push(&slot.name);
            at = slot.parent;
        }
        Location { aside, path: path::join(parts.into_iter().rev()) }
    }

    /// How the disk becomes the tree, given the tree's [`nodes`](Self::nodes), once everything but hard links is
    /// made. Links come first, because what they lead to may lie where it is removed.
    pub(crate) fn tidy(&self, nodes: &[NodeId]) -> Vec<Tidy> {
        let link = |id: &NodeId| {
            let first = self.slot(*id)?.first?;
            Some(Tidy::Link { first, node: *id })
        };
        let mut steps: Vec<_> =
            if self.links.is_empty() { Vec::new() } else { nodes.iter().filter_map(link).collect() };
        for id in std::iter::once(&Self::ROOT).chain(nodes) {
            let Some(slot) = self.slot(*id) else { continue };
            if matches!(slot.home, Home::Aside(_)) {
                let over =
                    self.directory(slot.parent).and_then(|parent| parent.stale.get(&slot.name)).copied();
                steps.push(Tidy::Move { node: *id, over });
            }
            if let Node::Directory(directory) = &slot.node {
                // What has a name that is in the tree goes when that is moved there.
                let gone = directory.stale.keys().filter(|name| !directory.children.contains_key(*name));
                steps.extend(gone.map(|name| Tidy::Remove { directory: *id, name: name.to_vec() }));
            }
        }
        steps
    }

    /// Notes that `id` was moved to its name.
    pub(crate) fn moved(&mut self, id: NodeId) {
        if let Some(slot) = self.slots.get_mut(id.0 as usize) {
            slot.home = Home::Own;
        }
    }
}

//! Where a name leads through the layer's own symlinks.

use super::{Node, NodeId, Tree, TreeError};
use crate::tree::path;

/// Symlinks followed for one name before it counts as a loop (as in containerd's continuity/fs.RootPath).
const MAX_LINKS: usize = 255;

impl Tree {
    /// Where `name` leads: its components with every symlink of this tree resolved within the root, except that
    /// the last component is taken as it is when `follow_last` is false. Components that are not there stay
    /// literal, and `..` leaves the directory that what is before it leads to, like in containerd.
    pub(crate) fn resolve(&self, name: &[u8], follow_last: bool) -> Result<Vec<Vec<u8>>, TreeError> {
        let mut pending: Vec<Vec<u8>> = path::parts(name).rev().map(<[u8]>::to_vec).collect();
        let mut path: Vec<(Vec<u8>, Option<NodeId>)> = Vec::new();
        let mut links = 0;
        while let Some(part) = pending.pop() {
            if part == b".." {
                path.pop();
                continue;
            }
            if !path::is_component(&part) {
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
            pending.extend(path::parts(target).rev().map(<[u8]>::to_vec));
        }
        Ok(path.into_iter().map(|(part, _)| part).collect())
    }
}

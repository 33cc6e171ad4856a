//! What the whiteouts of a layer come to, when all its entries are placed.

use super::{NodeId, Tree};

/// Whiteouts to be made in one directory: names with owner and group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whiteouts {
    pub(crate) directory: NodeId,
    pub(crate) names: Vec<(Vec<u8>, (u32, u32))>,
}

impl Tree {
    /// Hides what lower layers have at `name` in `directory`.
    pub(crate) fn hide(&mut self, directory: NodeId, name: &[u8], owner: (u32, u32)) {
        if let Some(directory) = self.directory_mut(directory) {
            directory.hidden.insert(name.into(), owner);
        }
    }

    /// Settles what was hidden, when nothing more comes: a directory of this layer at a hidden path becomes opaque, and
    /// anything else covers that path by itself. The answer is what needs a whiteout: nothing in directories that do
    /// not merge with lower ones, because what is in those is all there is.
    pub(crate) fn settle_whiteouts(&mut self) -> Vec<Whiteouts> {
        let mut whiteouts = Vec::new();
        let mut todo = vec![(Self::ROOT, true)];
        while let Some((id, above_merges)) = todo.pop() {
            let Some(directory) = self.directory_mut(id) else { continue };
            let merges = above_merges && !directory.is_opaque();
            let children: Vec<NodeId> = directory.children.values().copied().collect();
            let (mut names, mut removed) = (Vec::new(), Vec::new());
            for (name, owner) in std::mem::take(&mut directory.hidden) {
                match directory.children.get(&name) {
                    Some(child) => removed.push(*child),
                    None if merges => names.push((name.into_vec(), owner)),
                    None => {}
                }
            }
            for id in removed {
                if let Some(directory) = self.directory_mut(id) {
                    directory.removed = true;
                }
            }
            if !names.is_empty() {
                whiteouts.push(Whiteouts { directory: id, names });
            }
            todo.extend(children.into_iter().map(|child| (child, merges)));
        }
        whiteouts
    }
}

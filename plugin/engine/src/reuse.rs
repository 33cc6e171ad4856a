//! The plan's view of the layer store.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chunked_assemble::Donor;
use chunked_core::Digest;
use chunked_linux::Dir;
use chunked_plan::Reuse;
use chunked_store::Store;

/// How donors are treated, decided anew for each attempt at a layer.
#[derive(Debug, Default, Clone)]
pub(crate) struct Policy {
    /// Take nothing from other layers.
    pub(crate) off: bool,
    /// Check every donor against its digest, because the DiffID did not match without.
    pub(crate) check: bool,
    /// Contents whose donors turned out bad.
    pub(crate) bad: HashSet<Digest>,
}

/// Looks files up in the store.
#[derive(Debug)]
pub(crate) struct StoreReuse<'a> {
    pub(crate) store: &'a Store,
    pub(crate) policy: &'a Policy,
}

impl Reuse for StoreReuse<'_> {
    type Donor = chunked_store::Donor;

    fn lookup(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Self::Donor>> {
        if self.policy.off {
            return wanted.iter().map(|_| None).collect();
        }
        let mut found = self.store.lookup(wanted);
        for ((digest, _), donor) in wanted.iter().zip(&mut found) {
            if self.policy.bad.contains(digest) {
                *donor = None;
            }
        }
        found
    }
}

/// Turns the store's donors into the extractor's.
#[derive(Debug)]
pub(crate) struct Donors {
    roots: HashMap<u64, Arc<Dir>>,
    linked: HashSet<(u64, Vec<u8>)>,
    /// Layers of the same image: a hard link between two of them would show in the merged tree as one file with
    /// two names.
    same_image: HashSet<u64>,
    check: bool,
}

impl Donors {
    pub(crate) fn new(same_image: HashSet<u64>, check: bool) -> Self {
        Self { roots: HashMap::new(), linked: HashSet::new(), same_image, check }
    }

    /// The donor to open. A layer that vanished since the look-up gives an error when it is opened.
    pub(crate) fn open(&mut self, donor: &chunked_store::Donor) -> std::io::Result<Donor> {
        let id = donor.layer.get();
        let root = match self.roots.get(&id) {
            Some(root) => Arc::clone(root),
            None => {
                let root = Arc::new(Dir::open(&donor.root)?);
                self.roots.insert(id, Arc::clone(&root));
                root
            }
        };
        // Each donor is linked once at most, so that no two files of this layer become one.
        let may_link = !self.same_image.contains(&id) && self.linked.insert((id, donor.path.clone()));
        Ok(Donor { root, path: donor.path.clone(), may_link, check: self.check })
    }
}

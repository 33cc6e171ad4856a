//! What the node has, for the plan; and the plan's donors, opened for the extractor.
//!
//! Sources are asked in order, each for what those before it lack: layers of the store, what an earlier try of the
//! same layer left, files of the host (layers and host files as far as the registry's domain allows), then what other
//! jobs are fetching now. A source says with each donor how far it may be used: only files of our own store may be
//! hard-linked.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use chunked_assemble::{Donor, Foreign, Known, Lender, Rights, Upcoming};
use chunked_core::Digest;
use chunked_host::{HostDonor, HostIndex};
use chunked_linux::Dir;
use chunked_plan::{FileSource, PieceSource, Plan, Reuse};
use chunked_store::{LayerPin, Origins, Store};
use chunked_toc::{PieceKind, Toc};
use parking_lot::Mutex;

use crate::blocking::{Heavy, Wanted};
use crate::in_flight::{Claimant, Claims, Flying, InFlight, Key};
use crate::links::ImageLinks;
use crate::report::Reused;
use crate::resume::{Leftover, Leftovers};

/// How donors are treated, decided anew for each attempt at a layer.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Policy {
    /// Take nothing from other layers.
    pub(crate) off: bool,
    /// Read every donor before planning with it, and check it again when it is used: an attempt without showed
    /// that some are bad.
    pub(crate) verify: bool,
}

/// A file on the node, or on its way to it.
#[derive(Debug, Clone)]
pub(crate) enum NodeDonor {
    /// Of a layer in the store.
    Layer(chunked_store::Donor),
    /// Of the host.
    Host(HostDonor),
    /// Of a layer that is being made.
    InFlight(Flying),
    /// Of an unfinished tree of the same layer.
    Leftover(Leftover),
}

impl From<Flying> for NodeDonor {
    fn from(flying: Flying) -> Self {
        Self::InFlight(flying)
    }
}

/// All sources, as one job's plan sees them.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) store: &'a Store,
    /// The host's files, where the registry's domain allows them.
    pub(crate) host: Option<&'a HostIndex>,
    /// Layers that the registry's domain allows.
    pub(crate) origins: &'a Origins,
    pub(crate) in_flight: &'a Arc<InFlight>,
    pub(crate) who: Claimant,
    pub(crate) policy: Policy,
    /// What earlier tries left.
    pub(crate) leftovers: &'a Leftovers,
    /// Is the plan still waited for?
    pub(crate) wanted: &'a Wanted,
    /// What the look-up claimed.
    pub(crate) claims: Mutex<Option<Claims>>,
}

impl Sources<'_> {
    /// Files that are here.
    fn files(&self, wanted: &[Key]) -> Vec<Option<NodeDonor>> {
        let left = |key| self.left_file(key);
        let mut found = self.store.lookup_within(wanted, self.origins);
        found.resize(wanted.len(), None);
        if self.policy.verify {
            for (key, donor) in wanted.iter().zip(&mut found) {
                donor.take_if(|donor| !self.holds(donor, 0, key));
            }
        }
        let found = found.into_iter().map(|donor| donor.map(NodeDonor::Layer));
        let mut found: Vec<_> = found.zip(wanted).map(|(donor, key)| donor.or_else(|| left(key))).collect();
        self.add_host_files(wanted, &mut found);
        found
    }

    /// Files that came into the store since [`Self::files`]. Reads no contents, so none where they must be read first.
    fn files_again(&self, wanted: &[Key]) -> Vec<Option<NodeDonor>> {
        if self.policy.verify {
            return Vec::new();
        }
        let found = self.store.lookup_within(wanted, self.origins);
        found.into_iter().map(|donor| donor.map(NodeDonor::Layer)).collect()
    }

    fn left_file(&self, key: &Key) -> Option<NodeDonor> {
        self.leftovers.file(key).map(NodeDonor::Leftover)
    }

    fn left_chunk(&self, key: &Key) -> Option<(NodeDonor, u64)> {
        self.leftovers.chunk(key).map(|(leftover, offset)| (NodeDonor::Leftover(leftover), offset))
    }

    /// Reads the donor: has it this content at `offset`? One that has not is forgotten.
    fn holds(&self, donor: &chunked_store::Donor, offset: u64, key: &Key) -> bool {
        if self.wanted.is_over() {
            return false;
        }
        let found = crate::resume::holds_at(&donor.root, &donor.path, offset, *key, self.wanted);
        if matches!(found, Ok(false)) {
            self.store.refute(donor.layer, &donor.path);
        }
        found.unwrap_or_default()
    }

    /// Files of the host for what is not `found`. They are compared with the index here and when they are opened,
    /// and hashed while they are copied, whatever the policy.
    fn add_host_files(&self, wanted: &[Key], found: &mut [Option<NodeDonor>]) {
        let Some(host) = self.host else { return };
        let (lacking, keys): (Vec<_>, Vec<_>) =
            found.iter_mut().zip(wanted).filter(|(donor, _)| donor.is_none()).unzip();
        for (place, donor) in lacking.into_iter().zip(host.lookup(&keys)) {
            *place = donor.map(NodeDonor::Host);
        }
    }
}

impl Reuse for Sources<'_> {
    type Donor = NodeDonor;

    fn lookup(&self, wanted: &[Key]) -> Vec<Option<NodeDonor>> {
        if self.wanted.is_over() {
            return Vec::new();
        }
        if self.policy.off {
            // Nothing from elsewhere, which what an earlier try of this layer left is not.
            return wanted.iter().map(|key| self.left_file(key)).collect();
        }
        let again = |keys: &[Key]| self.files_again(keys);
        let (found, claims) = self.in_flight.claim(&self.who, wanted, || self.files(wanted), again);
        *self.claims.lock() = Some(claims);
        found
    }

    fn lookup_chunks(&self, wanted: &[Key]) -> Vec<Option<(NodeDonor, u64)>> {
        if self.wanted.is_over() {
            return Vec::new();
        }
        if self.policy.off {
            return wanted.iter().map(|key| self.left_chunk(key)).collect();
        }
        let found = self.store.lookup_chunks_within(wanted, self.origins).into_iter().zip(wanted);
        found
            .map(|(chunk, key)| {
                let good = |chunk: &chunked_store::ChunkDonor| {
                    !self.policy.verify || self.holds(&chunk.donor, chunk.offset, key)
                };
                let chunk = chunk.filter(good).map(|chunk| (NodeDonor::Layer(chunk.donor), chunk.offset));
                chunk.or_else(|| self.left_chunk(key))
            })
            .collect()
    }
}

/// A file of the host, for the extractor.
#[derive(Debug)]
pub(crate) struct HostFile(pub(crate) HostDonor);

impl Foreign for HostFile {
    fn open(&self) -> std::io::Result<File> {
        self.0.open()
    }

    fn spoiled(&self) {
        tracing::debug!(path = %self.0.path().display(), "a file of the host is not what the index says");
        self.0.forget();
    }
}

/// What a plan takes from elsewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Bytes of the blob.
    pub(crate) bytes: Reused,
    /// Files of the host.
    pub(crate) host_files: u64,
}

/// Counts what `plan` takes from elsewhere, by source. All of it together is what the plan calls reused.
pub(crate) fn taken(toc: &Toc, plan: &Plan<NodeDonor>) -> Taken {
    let mut taken = Taken::default();
    for (file, source) in toc.files.iter().zip(&plan.sources) {
        let pieces = toc.pieces_of(file);
        match source {
            FileSource::Fetch => {}
            FileSource::Pieces(sources) => {
                for (piece, source) in pieces.iter().zip(sources) {
                    match source {
                        PieceSource::Fetch => {}
                        PieceSource::Donor(donor, _) => taken.add(Some((donor, true)), piece.blob.len()),
                        PieceSource::Repeat(_) => taken.add(None, piece.blob.len()),
                    }
                }
            }
            FileSource::Donor(_) | FileSource::Repeat(_) => {
                let donor = if let FileSource::Donor(donor) = source { Some((donor, false)) } else { None };
                let data = pieces.iter().filter(|piece| piece.kind == PieceKind::Data);
                taken.add(donor, data.map(|piece| piece.blob.len()).fold(0, u64::saturating_add));
                taken.host_files += u64::from(matches!(source, FileSource::Donor(NodeDonor::Host(_))));
            }
        }
    }
    taken
}

impl Taken {
    /// Adds bytes from a donor, whole or a part of it, or without one what the layer has twice.
    fn add(&mut self, donor: Option<(&NodeDonor, bool)>, bytes: u64) {
        let Reused { layer, chunk, in_flight, leftover, host, repeat } = &mut self.bytes;
        let counter = match donor {
            None => repeat,
            Some((NodeDonor::Layer(_), false)) => layer,
            Some((NodeDonor::Layer(_), true)) => chunk,
            Some((NodeDonor::InFlight(_), _)) => in_flight,
            Some((NodeDonor::Leftover(_), _)) => leftover,
            Some((NodeDonor::Host(_), _)) => host,
        };
        *counter = counter.saturating_add(bytes);
    }
}

/// A layer of the store that donors are taken from. Kept from deletion as long as this lives.
#[derive(Debug)]
struct StoreLayer {
    store: Arc<Store>,
    pin: LayerPin,
}

impl Lender for StoreLayer {
    fn refuted(&self, path: &[u8], reason: &str) {
        let name = String::from_utf8_lossy(path);
        tracing::debug!(layer = %self.pin.id(), path = %name, reason, "a donor is not what the index says");
        self.store.refute(self.pin.id(), path);
    }
}

/// A layer's tree, and who is told of what is wrong with it.
type Root = (Arc<Dir>, Arc<StoreLayer>);

/// Opens donors for the extractor.
#[derive(Debug)]
pub(crate) struct Donors {
    store: Arc<Store>,
    /// Roots of layers, which cannot be deleted meanwhile.
    roots: Mutex<HashMap<u64, Root>>,
    links: Arc<ImageLinks>,
    check: bool,
}

impl Donors {
    pub(crate) fn new(store: Arc<Store>, links: Arc<ImageLinks>, check: bool) -> Self {
        Self { store, roots: Mutex::default(), links, check }
    }

    /// How far a file may be used: its inode, or only its blocks, if it is immutable.
    fn rights(&self, immutable: bool, may_link: bool) -> Rights {
        match (immutable, may_link) {
            (true, true) => Rights::Link(Arc::<ImageLinks>::clone(&self.links)),
            (true, false) => Rights::Share,
            (false, _) => Rights::Read,
        }
    }

    /// The root of the donor's layer, and who is told if the donor is bad. An error means that the layer vanished since
    /// the look-up.
    pub(crate) fn root(&self, donor: &chunked_store::Donor) -> std::io::Result<(Arc<Dir>, Arc<dyn Lender>)> {
        let mut roots = self.roots.lock();
        let id = donor.layer.get();
        if let Some((root, layer)) = roots.get(&id) {
            return Ok((Arc::clone(root), Arc::clone(layer) as _));
        }
        let pin = self.store.pin(donor.layer).ok_or(std::io::ErrorKind::NotFound)?;
        let root = Arc::new(Dir::open(&donor.root)?);
        let layer = Arc::new(StoreLayer { store: Arc::clone(&self.store), pin });
        roots.insert(id, (Arc::clone(&root), Arc::clone(&layer)));
        Ok((root, layer))
    }

    /// A file that an earlier try of this layer left. It was read just now, and nobody else has it.
    pub(crate) fn leftover(&self, file: &Leftover) -> Donor {
        Donor {
            root: Arc::clone(&file.root),
            path: file.path.to_vec(),
            rights: self.rights(file.settled, true),
            fresh: false,
            goes: file.goes,
            check: self.check,
            lender: None,
        }
    }

    /// The donor to open. One whose digest nobody computed yet is checked.
    pub(crate) fn open(&self, donor: &chunked_store::Donor) -> std::io::Result<Donor> {
        let (root, lender) = self.root(donor)?;
        // A hard link between two layers of one image would show in the merged tree as one file with two names.
        let rights = self.rights(donor.may_link, donor.may_link && !self.links.has_layer(donor.layer));
        let (path, check, lender) = (donor.path.clone(), self.check || !donor.proven, Some(lender));
        Ok(Donor { root, path, rights, fresh: false, goes: false, check, lender })
    }
}

/// The donors of a plan, to be read before their turn.
#[derive(Debug)]
pub(crate) struct PlannedDonors {
    pub(crate) plan: Arc<Heavy<Plan<NodeDonor>>>,
    pub(crate) donors: Arc<Donors>,
}

impl Upcoming for PlannedDonors {
    fn count(&self) -> usize {
        self.plan.sources.len()
    }

    fn open(&self, number: usize) -> Option<File> {
        let FileSource::Donor(donor) = self.plan.sources.get(number)? else { return None };
        match donor {
            NodeDonor::Layer(donor) => self.donors.root(donor).ok()?.0.open_file(&donor.path).ok(),
            NodeDonor::Host(donor) => donor.open().ok(),
            // The one was read a moment ago, the other is yet to be written.
            NodeDonor::Leftover(_) | NodeDonor::InFlight(_) => None,
        }
    }
}

/// The store's files for a layer that comes whole.
#[derive(Debug)]
pub(crate) struct StoreKnown {
    pub(crate) donors: Donors,
}

impl Known for StoreKnown {
    fn find(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Donor>> {
        let found = self.donors.store.lookup(wanted).into_iter();
        found.map(|donor| self.donors.open(&donor?).ok()).collect()
    }
}

#[cfg(test)]
mod tests;

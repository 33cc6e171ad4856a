//! What the reuse policy costs: bytes of a layer that are fetched although the node has them.

use std::sync::Arc;

use chunked_core::Digest;
use chunked_host::HostIndex;
use chunked_plan::{FileSource, Plan};
use chunked_store::{Origins, Store};
use chunked_toc::{PieceKind, Toc};

use crate::blocking::off_the_runtime;
use crate::engine::Inner;
use crate::in_flight::Claimant;
use crate::reuse::NodeDonor;

/// Files that a plan fetches, and the bytes of the blob that each of them costs.
type Fetched = Vec<((Digest, u64), u64)>;

/// Counts, beside the transfer, what `plan` fetches although layers or host files have it which the registry's domain
/// keeps from it. Whole files only. Nothing is looked up where nothing is kept from it.
pub(crate) fn count(inner: &Arc<Inner>, who: &Claimant, (toc, plan): (&Toc, &Plan<NodeDonor>)) {
    let Claimant { registry, counters, .. } = who;
    let domain = inner.options.domains.of(registry);
    let layers = inner.store.inner().has_beyond(&domain.origins(registry));
    let host = inner.options.host.clone().filter(|_| !domain.host_files);
    if !layers && host.is_none() {
        let _ = counters.withheld.set(0);
        return;
    }
    let (fetched, counters) = (fetched(toc, plan), Arc::clone(counters));
    let store = Arc::clone(inner.store.inner());
    // Nobody waits for the count: the report has it if it is done by then, as it is of every layer of some size.
    off_the_runtime(move || {
        let _ = counters.withheld.set(look(&store, layers, host.as_ref(), &fetched));
    });
}

fn fetched(toc: &Toc, plan: &Plan<NodeDonor>) -> Fetched {
    let files = toc.files.iter().zip(&plan.sources);
    let files = files.filter(|(_, source)| matches!(source, FileSource::Fetch));
    let cost = |file| {
        let data = toc.pieces_of(file).iter().filter(|piece| piece.kind == PieceKind::Data);
        data.map(|piece| piece.blob.len()).fold(0, u64::saturating_add)
    };
    files.map(|(file, _)| ((file.digest, file.size), cost(file))).collect()
}

fn look(store: &Store, layers: bool, host: Option<&HostIndex>, fetched: &Fetched) -> u64 {
    let keys: Vec<_> = fetched.iter().map(|(key, _)| *key).collect();
    let mut here = vec![false; keys.len()];
    if layers {
        for (here, donor) in here.iter_mut().zip(store.lookup_within(&keys, &Origins::Any)) {
            *here |= donor.is_some();
        }
    }
    if let Some(host) = host {
        for (here, donor) in here.iter_mut().zip(host.lookup(&keys)) {
            *here |= donor.is_some();
        }
    }
    let bytes = fetched.iter().zip(here).filter(|(_, here)| *here).map(|((_, bytes), _)| *bytes);
    bytes.fold(0, u64::saturating_add)
}

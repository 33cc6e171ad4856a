//! From a blob to what is to be done about it: its table of contents, and a plan.

use std::sync::Arc;
use std::time::Duration;

use chunked_fair::{Denied, Permit};
use chunked_plan::Plan;
use chunked_toc::{Annotations, LayerIndex};
use parking_lot::Mutex;

use crate::blob::LayerBlob;
use crate::blocking::{Heavy, Waiting};
use crate::in_flight::{Claimant, Claims};
use crate::job::Job;
use crate::memory::LayerMemory;
use crate::resume::Leftovers;
use crate::reuse::{NodeDonor, Policy, Sources};
use crate::setback::Setback;

/// What a file of a table of contents takes in memory until its layer is complete: its entry, its place in the plan,
/// in the model of the tree and in the list for the index. In bytes, its name not included.
const FILE: u64 = 448;
/// What each byte of its name takes there.
const NAMES: u64 = 3;
/// What a piece takes.
const PIECE: u64 = 224;
/// What the tables of contents of usual writers take, in lengths of their text: some 920 bytes for a file, of which the text has 310.
const TEXTS: u64 = 3;
/// Longest window of the tar-splits of usual writers, in bytes.
const USUAL_WINDOW: u64 = 8 << 20;
/// How long a layer that holds memory waits for more of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The table of contents of a layer, and the memory that it takes.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) index: Heavy<LayerIndex>,
    /// Largest window that its tar-split may need, in bytes.
    pub(crate) window: u64,
    _memory: Permit,
}

/// What is to be done, and what nobody else does meanwhile.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) plan: Heavy<Plan<NodeDonor>>,
    pub(crate) claims: Claims,
}

impl Job {
    /// Fetches and reads the table of contents.
    pub(crate) async fn open(
        &self,
        memory: &LayerMemory,
        blob: &LayerBlob,
        annotations: Annotations,
    ) -> Result<Arc<Opened>, Setback> {
        // As it comes, as text and as tables; later without the text, but with a plan and a model of the tree.
        let comes = annotations.metadata_range().len().saturating_add(annotations.tar_split.compressed);
        let with_texts =
            |texts: u64| comes.saturating_add(annotations.toc.uncompressed.saturating_mul(texts));
        let later = with_texts(TEXTS).saturating_add(annotations.tar_split.uncompressed.min(USUAL_WINDOW));
        let needed = later.min(memory.large.most()).max(with_texts(2));
        let mut permit = match memory.large.take(needed).await {
            Ok(permit) => permit,
            Err(denied @ Denied::TooMuch { .. }) => {
                return Err(Setback::whole(format!("its table of contents: {denied}; raise [pull] memory")));
            }
            // Nobody waits for the layer any more.
            Err(denied @ Denied::Closed) => return Err(Setback::whole(denied.to_string())),
        };
        let index = self.metadata(memory, blob, annotations).await?;
        // As its frame declares it, however short the content: that is what a decoder gets hold of.
        let window = chunked_compression::window(&index.tar_split).unwrap_or_default();
        // Of that it touches no more than what it may give.
        let takes = takes(&index).saturating_add(window.min(index.tar_split_len));
        match takes.checked_sub(permit.bytes()) {
            None | Some(0) => drop(permit.split(permit.bytes() - takes)),
            // Waiting for long while holding something could be waiting for ever.
            Some(more) => match tokio::time::timeout(PATIENCE, memory.large.take(more)).await {
                Ok(Ok(more)) => permit.join(more),
                _ => return Err(Setback::whole("its table of contents takes more memory than is free")),
            },
        }
        Ok(Arc::new(Opened { index, window, _memory: permit }))
    }

    /// Plans, and claims what is going to be fetched.
    pub(crate) async fn plan(
        &self,
        blob: &LayerBlob,
        opened: &Arc<Opened>,
        policy: Policy,
    ) -> Result<Planned, Setback> {
        let (opened, inner) = (Arc::clone(opened), Arc::clone(&self.inner));
        let (costs, diff_id) = (self.costs(blob), self.layer.diff_id);
        let who =
            Claimant { registry: self.registry(), place: self.place, counters: Arc::clone(&self.counters) };
        let waiting = Waiting::new();
        let wanted = waiting.wanted();
        let planned = self.store(move |store| {
            let domain = inner.options.domains.of(&who.registry);
            let origins = domain.origins(&who.registry);
            let leftovers = &Leftovers::find(store, &diff_id, &opened.index, &wanted);
            let sources = Sources {
                store,
                host: inner.options.host.as_ref().filter(|_| domain.host_files),
                origins: &origins,
                in_flight: &inner.in_flight,
                who,
                policy,
                leftovers,
                wanted: &wanted,
                claims: Mutex::default(),
            };
            let plan = Heavy::new(chunked_plan::plan(&opened.index.toc, &sources, &costs));
            // A layer without files claims nothing, nor does one that takes nothing from elsewhere.
            crate::withheld::count(&inner, &sources.who, (&opened.index.toc, &*plan));
            let claims = sources.claims.into_inner().unwrap_or_else(|| inner.in_flight.none());
            Planned { plan, claims }
        });
        let planned = planned.await;
        drop(waiting);
        Ok(planned?)
    }
}

/// Bytes that a table of contents and what is made of it take.
fn takes(index: &LayerIndex) -> u64 {
    let names: usize = index.toc.files.iter().map(|file| file.name.len()).sum();
    let (files, pieces) = (index.toc.files.len() as u64, index.toc.pieces.len() as u64);
    files * FILE + pieces * PIECE + names as u64 * NAMES + index.tar_split.len() as u64
}

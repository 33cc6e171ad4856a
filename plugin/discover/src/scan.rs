//! The long way: every manifest of a namespace, likeliest first.

use crate::cache::Known;
use crate::candidates::{Candidate, Listing};
use crate::containerd::Containerd;
use crate::documents::{Documents, Outcome};
use crate::error::{DiscoverError, NoSource};
use crate::find::Search;
use crate::found::{Found, Source, found};
use crate::origin::Record;

/// Images that are offered besides the first.
const MAX_OTHER_IMAGES: usize = 3;

impl Containerd {
    /// Looks through all manifests of the namespace.
    pub(crate) async fn scan(&self, search: &Search<'_>) -> Result<Found, DiscoverError> {
        let mut listing = Listing::default();
        self.list_content(search.namespace, |info| listing.add(&info)).await?;
        listing.sort(search.hints);
        let records = self.records(search.namespace).await;
        let mut error = None;
        for candidates in [&listing.manifests, &listing.unknown] {
            let sources = self.scan_these(search, candidates, &listing, &records, &mut error).await?;
            if let Some(found) = found(sources) {
                return Ok(found);
            }
        }
        let manifests = listing.manifests.len();
        Err(error.unwrap_or_else(|| search.without_source(NoSource::NoImage { manifests })))
    }

    /// Sources among `candidates`, which are read in order until one has the layer; after that only those
    /// already known to have it are read. `error` gets the first reason why one that has it cannot serve.
    async fn scan_these(
        &self,
        search: &Search<'_>,
        candidates: &[Candidate],
        listing: &Listing,
        records: &[Record],
        error: &mut Option<DiscoverError>,
    ) -> Result<Vec<Source>, DiscoverError> {
        let mut sources = Vec::new();
        let mut images = 0;
        for candidate in candidates {
            let known = self.shared.manifests.lock().get(&candidate.digest);
            let worth_reading = match &known {
                Some(Known::Image(chains)) => chains.contains(search.target),
                Some(Known::Other) => false,
                None => images == 0,
            };
            if !worth_reading || images > MAX_OTHER_IMAGES {
                continue;
            }
            // Altered documents of an image that has nothing to do with the layer must not stop it.
            let concerned = known.is_some() || candidate.is_fresh();
            let Some(documents) = self.inspect(search, candidate, concerned, error).await? else { continue };
            match self.sources(search, candidate, &documents, listing, records).await {
                Ok(found) => {
                    // What may have been collected is no reason not to look for what can be asked for.
                    images += usize::from(found.iter().any(|source| source.no_registry.is_none()));
                    sources.extend(found);
                }
                Err(reason @ DiscoverError::NoSource { .. }) => {
                    error.get_or_insert(reason);
                }
                Err(fatal) => return Err(fatal),
            }
        }
        // Who can be asked comes before what may have been collected.
        sources.sort_by_key(|source: &Source| source.no_registry.is_some());
        Ok(sources)
    }

    /// Reads a candidate and remembers what it is. `None` when it does not have the layer. `concerned`: it
    /// probably has the layer, so altered content is an error.
    async fn inspect(
        &self,
        search: &Search<'_>,
        candidate: &Candidate,
        concerned: bool,
        error: &mut Option<DiscoverError>,
    ) -> Result<Option<Documents>, DiscoverError> {
        let manifest = candidate.digest;
        match self.documents(search.namespace, &manifest).await? {
            Outcome::Image(documents) => {
                let chains = documents.chains.clone().into_boxed_slice();
                self.shared.manifests.lock().insert(manifest, Known::Image(chains));
                return Ok(documents.chains.contains(search.target).then_some(documents));
            }
            Outcome::Other => self.shared.manifests.lock().insert(manifest, Known::Other),
            // Manifests of other platforms never get a config here; only a fresh one is worth a word.
            Outcome::NoConfig(config) if candidate.is_fresh() => {
                let reason = NoSource::NoConfig { manifest, config, fresh: true };
                error.get_or_insert(search.without_source(reason));
            }
            Outcome::NoConfig(_) | Outcome::NoManifest => {}
            Outcome::Corrupt { digest, actual } => {
                let corrupt = search.corrupt(digest, actual);
                tracing::warn!(error = %corrupt, "skipping an image whose documents were altered");
                if concerned {
                    *error = Some(corrupt);
                }
            }
        }
        Ok(None)
    }
}

//! The look-up: from a chainID to an image and its layer.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use chunked_core::{Digest, ObjectDigest};

use crate::calls::Namespace;
use crate::candidates::Listing;
use crate::containerd::Containerd;
use crate::documents::Outcome;
use crate::error::{DiscoverError, NoSource};
use crate::found::{Found, found};
use crate::hints::Hints;

/// First pause before looking for a config again; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Namespaces searched when the request names none.
const MAX_NAMESPACES: usize = 64;

/// Everything a look-up in one namespace is about.
pub(crate) struct Search<'a> {
    pub namespace: &'a Namespace,
    pub target: &'a Digest,
    pub hints: &'a Hints,
}

impl Search<'_> {
    pub(crate) fn without_source(&self, reason: NoSource) -> DiscoverError {
        let (namespace, reason) = (self.namespace.name.clone(), Box::new(reason));
        DiscoverError::NoSource { namespace, target: *self.target, reason }
    }

    pub(crate) fn corrupt(&self, digest: ObjectDigest, actual: ObjectDigest) -> DiscoverError {
        DiscoverError::Corrupt { namespace: self.namespace.name.clone(), digest, actual }
    }
}

impl Containerd {
    /// Finds the image that has a layer with the chainID `target`, in `namespace`; without one, in
    /// `default`, `k8s.io` and then every other. `labels` are those of the request.
    ///
    /// # Errors
    /// See [`DiscoverError::kind`]: containerd cannot be asked, knows no source, or holds altered content.
    pub async fn find(
        &self,
        namespace: Option<&str>,
        target: &Digest,
        labels: &HashMap<String, String>,
    ) -> Result<Found, DiscoverError> {
        let limit = self.shared.options.find_timeout;
        let search = self.find_anywhere(namespace, target, Hints::from_labels(labels));
        tokio::time::timeout(limit, search).await.unwrap_or_else(|_| {
            let socket = self.shared.socket.clone();
            Err(DiscoverError::TimedOut { socket, call: "looking for an image", limit })
        })
    }

    async fn find_anywhere(
        &self,
        namespace: Option<&str>,
        target: &Digest,
        hints: Hints,
    ) -> Result<Found, DiscoverError> {
        let names = match namespace {
            Some(name) => vec![name.to_owned()],
            None => self.namespaces_to_search().await,
        };
        let mut last = None;
        for name in names {
            let Some(namespace) = Namespace::new(&name) else {
                let reason = Box::new(NoSource::BadNamespace);
                last.get_or_insert(DiscoverError::NoSource { namespace: name, target: *target, reason });
                continue;
            };
            match self.find_patiently(&Search { namespace: &namespace, target, hints: &hints }).await {
                Err(error @ DiscoverError::NoSource { .. }) => last = Some(error),
                done => return done,
            }
        }
        let none = || DiscoverError::NoSource {
            namespace: String::new(),
            target: *target,
            reason: Box::new(NoSource::NoImage { manifests: 0 }),
        };
        Err(last.unwrap_or_else(none))
    }

    /// The usual two first, then the rest; only those two when containerd does not say.
    async fn namespaces_to_search(&self) -> Vec<String> {
        let mut names = vec!["default".to_owned(), "k8s.io".to_owned()];
        match self.list_namespaces().await {
            Ok(found) => names.extend(found.into_iter().filter(|name| name != "default" && name != "k8s.io")),
            Err(error) => tracing::debug!(%error, "namespaces cannot be listed"),
        }
        names.truncate(MAX_NAMESPACES);
        names
    }

    /// Looks again while a manifest that came moments ago lacks its config.
    async fn find_patiently(&self, search: &Search<'_>) -> Result<Found, DiscoverError> {
        let deadline = Instant::now() + self.shared.options.config_wait;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.find_now(search).await {
                Err(error) if error.may_appear_soon() && Instant::now() + pause <= deadline => {
                    tracing::debug!(%error, "waiting for a config");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                done => return done,
            }
        }
    }

    async fn find_now(&self, search: &Search<'_>) -> Result<Found, DiscoverError> {
        if let Some(found) = self.remembered(search) {
            return Ok(found);
        }
        let (mut by_hint, mut stored) = (None, None);
        if let Some(manifest) = &search.hints.manifest {
            match self.find_by_hint(search, manifest).await {
                Ok(None) => {}
                // Another image with the layer may have a registry.
                Ok(Some(found)) if found.no_registry.is_some() => stored = Some(found),
                Ok(Some(found)) => {
                    self.remember(search, &found);
                    return Ok(found);
                }
                Err(error @ DiscoverError::NoSource { .. }) => by_hint = Some(error),
                Err(error) => return Err(error),
            }
        }
        let _one_at_a_time = self.shared.scanning.lock().await;
        if let Some(found) = self.remembered(search) {
            return Ok(found);
        }
        match self.scan(search).await {
            Ok(found) => {
                let found = stored.filter(|_| found.no_registry.is_some()).unwrap_or(found);
                self.remember(search, &found);
                Ok(found)
            }
            // What is wrong with the image the request names says more than the rest.
            Err(error @ DiscoverError::NoSource { .. }) => Err(by_hint.unwrap_or(error)),
            Err(error) => Err(error),
        }
    }

    /// Goes straight to the manifest a label names. `None`: it does not have the layer, or is not here.
    async fn find_by_hint(
        &self,
        search: &Search<'_>,
        manifest: &ObjectDigest,
    ) -> Result<Option<Found>, DiscoverError> {
        let Some(info) = self.info(search.namespace, manifest).await? else { return Ok(None) };
        let documents = match self.documents(search.namespace, manifest).await? {
            Outcome::Image(documents) => documents,
            Outcome::NoConfig(config) => {
                let reason = NoSource::NoConfig { manifest: *manifest, config, fresh: true };
                return Err(search.without_source(reason));
            }
            Outcome::Corrupt { digest, actual } => return Err(search.corrupt(digest, actual)),
            Outcome::NoManifest | Outcome::Other => return Ok(None),
        };
        if !documents.chains.contains(search.target) {
            return Ok(None);
        }
        let mut listing = Listing::default();
        listing.add(&info);
        let candidate = listing.manifests.pop().or_else(|| listing.unknown.pop());
        let Some(candidate) = candidate else { return Ok(None) };
        let hinted = search.hints.image.as_ref();
        // The request's own name is among the origins: no need to ask for others.
        let settled = hinted.is_some_and(|name| candidate.origins.iter().any(|origin| origin.is_of(name)));
        let records = if settled { Vec::new() } else { self.records(search.namespace).await };
        let sources = self.sources(search, &candidate, &documents, &listing, &records).await?;
        Ok(found(sources))
    }

    /// An answer found moments ago, unless the request names another image.
    fn remembered(&self, search: &Search<'_>) -> Option<Found> {
        let since = Instant::now().checked_sub(self.shared.options.answer_lifetime)?;
        let found = self.shared.answers.lock().get(&search.namespace.name, search.target, since)?;
        let same = search.hints.manifest.is_none_or(|manifest| manifest == found.image.manifest_digest);
        same.then_some(found)
    }

    /// Remembers an answer for every layer of the image: the Prepares of the layers above come next.
    fn remember(&self, search: &Search<'_>, found: &Found) {
        let Some(since) = Instant::now().checked_sub(self.shared.options.answer_lifetime) else { return };
        let answers = found.image.layers.iter().enumerate().map(|(index, layer)| {
            let alternatives = found.alternatives.iter().filter_map(|source| source.of(&layer.chain_id));
            let alternatives = alternatives.collect();
            (layer.chain_id, Found { index, alternatives, ..found.clone() })
        });
        self.shared.answers.lock().insert(&search.namespace.name, answers.collect(), since);
    }
}

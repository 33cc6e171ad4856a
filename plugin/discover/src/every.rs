//! Every image that containerd holds.

use chunked_core::{Digest, ObjectDigest};
use chunked_registry::oci::Config;

use crate::calls::Namespace;
use crate::candidates::Listing;
use crate::containerd::Containerd;
use crate::documents::Outcome;
use crate::error::DiscoverError;

/// An image that containerd has, with its manifest and config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where.
    pub namespace: String,
    /// What it is called there; nothing when only its content is left.
    pub names: Vec<String>,
    /// Digest of its manifest.
    pub manifest: ObjectDigest,
    /// Digest of its config.
    pub config: ObjectDigest,
    /// DiffIDs of its layers, lowest first.
    pub diff_ids: Vec<Digest>,
    /// Names of the snapshotters that it was unpacked into, as the labels of its config say.
    pub snapshotters: Vec<String>,
}

impl Containerd {
    /// Every image of every namespace. Images whose documents are not there or were altered are left out.
    ///
    /// # Errors
    /// When containerd cannot be asked.
    pub async fn images(&self) -> Result<Vec<Held>, DiscoverError> {
        let mut images = Vec::new();
        for name in self.list_namespaces().await? {
            let Some(namespace) = Namespace::new(&name) else { continue };
            let mut listing = Listing::default();
            self.list_content(&namespace, |info| listing.add(&info)).await?;
            let records = self.records(&namespace).await;
            for candidate in &listing.manifests {
                let manifest = candidate.digest;
                let Outcome::Image(documents) = self.documents(&namespace, &manifest).await? else {
                    continue;
                };
                let Ok(Config { diff_ids, .. }) = Config::parse(&documents.config) else { continue };
                let indexes = listing.indexes_of(&manifest);
                let is_it = |target: &ObjectDigest| *target == manifest || indexes.contains(target);
                let names = records.iter().filter(|record| is_it(&record.target));
                let names = names.map(|record| record.name.to_string()).collect();
                let config = documents.config_digest;
                let snapshotters = listing.snapshotters_of(&config);
                images.push(Held {
                    namespace: name.clone(),
                    names,
                    manifest,
                    config,
                    diff_ids,
                    snapshotters,
                });
            }
        }
        Ok(images)
    }

    /// The chainID of the highest layer of every image. Images whose documents are not there or were altered are left out.
    ///
    /// # Errors
    /// When containerd cannot be asked.
    pub async fn top_chains(&self) -> Result<Vec<Digest>, DiscoverError> {
        let mut chains = Vec::new();
        for name in self.list_namespaces().await? {
            let Some(namespace) = Namespace::new(&name) else { continue };
            let mut listing = Listing::default();
            self.list_content(&namespace, |info| listing.add(&info)).await?;
            for candidate in listing.manifests {
                if let Outcome::Image(documents) = self.documents(&namespace, &candidate.digest).await?
                    && let Some(chain) = documents.chains.last()
                {
                    chains.push(*chain);
                }
            }
        }
        chains.sort_unstable();
        chains.dedup();
        Ok(chains)
    }
}

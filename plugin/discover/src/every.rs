//! Every image that containerd holds.

use chunked_core::Digest;

use crate::calls::Namespace;
use crate::candidates::Listing;
use crate::containerd::Containerd;
use crate::documents::Outcome;
use crate::error::DiscoverError;

impl Containerd {
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

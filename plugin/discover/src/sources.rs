//! From an image's documents to the repositories it can be pulled from.

use std::sync::Arc;

use chunked_core::ObjectDigest;
use chunked_registry::{Image, Reference};

use crate::calls::Namespace;
use crate::candidates::{Candidate, Listing};
use crate::containerd::Containerd;
use crate::documents::Documents;
use crate::error::{DiscoverError, NoSource};
use crate::find::Search;
use crate::found::{NoRegistry, Source};
use crate::origin::{Names, Origin, Place, Record, origins, references};

/// Names looked at to choose among origins.
const MAX_RECORDS: usize = 20_000;

impl Containerd {
    /// The image of `documents`, once for every repository it may be pulled from. Never empty.
    pub(crate) async fn sources(
        &self,
        search: &Search<'_>,
        candidate: &Candidate,
        documents: &Documents,
        listing: &Listing,
        records: &[Record],
    ) -> Result<Vec<Source>, DiscoverError> {
        let manifest = candidate.digest;
        let names = Names {
            hints: search.hints,
            records,
            known_hosts: &self.shared.options.known_hosts,
            indexes: listing.indexes_of(&manifest),
        };
        let mut found = references(&manifest, &candidate.origins, &names);
        let mut origin = candidate.origins.first().cloned();
        if found.is_empty() {
            // Some clients label only what they fetch last.
            let config = self.info(search.namespace, &documents.config_digest).await?;
            let origins = config.map(|info| origins(&info.labels)).unwrap_or_default();
            found = references(&manifest, &origins, &names);
            origin = origin.or_else(|| origins.into_iter().next());
        }
        let mut sources: Vec<Source> = Vec::new();
        for place in found {
            sources.push(source(search, manifest, documents, place, sources.first())?);
        }
        if sources.is_empty() {
            let (reference, reason) = nameless(&manifest, origin.as_ref());
            let place = Place { reference, port_assumed: false };
            let source = source(search, manifest, documents, place, None)?;
            sources.push(Source { no_registry: Some(reason), ..source });
        }
        Ok(sources)
    }

    /// Image names of the namespace. They only choose among origins, so their absence is no error.
    pub(crate) async fn records(&self, namespace: &Namespace) -> Vec<Record> {
        let images = match self.list_images(namespace).await {
            Ok(images) => images,
            Err(error) => {
                tracing::debug!(%error, "image names cannot be listed");
                return Vec::new();
            }
        };
        let record = |image: chunked_proto::containerd::services::images::v1::Image| {
            Some(Record { name: image.name.parse().ok()?, target: image.target?.digest.parse().ok()? })
        };
        images.into_iter().take(MAX_RECORDS).filter_map(record).collect()
    }
}

/// What an image is called that no registry can be asked for, and why.
fn nameless(manifest: &ObjectDigest, origin: Option<&Origin>) -> (Reference, NoRegistry) {
    let named = |host: &str, repository: &str| Reference {
        host: host.to_owned(),
        repository: repository.to_owned(),
        tag: None,
        digest: Some(*manifest),
    };
    match origin {
        Some(Origin { host, repository }) => {
            (named(host, repository), NoRegistry::UnknownPort { host: host.clone() })
        }
        // A host that cannot exist (RFC 6761).
        None => (named("imported.invalid", "image"), NoRegistry::Imported),
    }
}

/// One source. The image is parsed once, and copied for further places.
fn source(
    search: &Search<'_>,
    manifest: ObjectDigest,
    documents: &Documents,
    place: Place,
    parsed: Option<&Source>,
) -> Result<Source, DiscoverError> {
    let Place { reference, port_assumed } = place;
    let image = match parsed {
        Some(Source { image, .. }) => Image { reference, ..Image::clone(image) },
        None => Image::from_documents(reference, (manifest, &documents.manifest), &documents.config)
            .map_err(|source| search.without_source(NoSource::Unusable { manifest, source }))?,
    };
    let none = || search.without_source(NoSource::NoImage { manifests: 1 });
    Source::new(Arc::new(image), port_assumed, search.target).ok_or_else(none)
}

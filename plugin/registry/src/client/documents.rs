//! Manifests and lists of referrers as they are, for tools that write them anew.

use chunked_core::Digest;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};

use super::Client;
use super::exchange::failure;
use super::resolve::{ACCEPTED, MAX_MANIFEST, document};
use crate::error::{ErrorKind, Failure, RegistryError, Subject};
use crate::push::Patience;
use crate::reference::Reference;

/// Media type of an OCI index, which a list of referrers is.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

impl Client {
    /// The manifest or index that `name`, a tag or a digest, means in the repository of `reference`. At most 4 MiB;
    /// proven if `name` is a digest.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; of kind [`NotFound`](ErrorKind::NotFound) when there is none.
    pub async fn raw_manifest(&self, reference: &Reference, name: &str) -> Result<Vec<u8>, RegistryError> {
        let target = self.inner.target(reference);
        let subject = subject(reference, format!("manifest {}:{name}", reference.repository));
        let mut patience = Patience::default();
        let bytes = loop {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(ACCEPTED))]);
            let error = match self.inner.get(&target, ("manifests", name), headers, &subject).await {
                Ok(reply) => match document(reply, MAX_MANIFEST, &subject).await {
                    Ok(bytes) => break bytes,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !patience.forgives(&error).await {
                return Err(error);
            }
        };
        let found = Digest::of(&bytes);
        match name.parse::<Digest>() {
            Ok(expected) if expected != found => Err(subject.error(Failure::Digest { expected, found })),
            _ => Ok(bytes),
        }
    }

    /// The index of what refers to the manifest `digest` (distribution spec, "Listing Referrers"), from the registry
    /// itself; `None` when it has no such list. Only its first page.
    ///
    /// # Errors
    ///
    /// [`RegistryError`].
    pub async fn referrers(
        &self,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, RegistryError> {
        let target = self.inner.target(reference);
        let subject = subject(reference, format!("referrers of {digest}"));
        let name = digest.to_string();
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(INDEX))]);
        let reply = match self.inner.get(&target, ("referrers", &name), headers, &subject).await {
            Ok(reply) => reply,
            // Registries that do not know the path answer in many ways.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Invalid) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if reply.status != StatusCode::OK {
            return Err(failure(reply, false, &subject).await);
        }
        let kind = reply.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with(INDEX) {
            return Ok(None);
        }
        document(reply, MAX_MANIFEST, &subject).await.map(Some)
    }
}

fn subject(reference: &Reference, what: String) -> Subject {
    Subject { host: reference.host.clone(), what }
}

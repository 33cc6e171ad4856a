//! Manifests as they are, for tools that write them anew.

use chunked_core::Digest;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};

use super::Client;
use super::resolve::{ACCEPTED, MAX_MANIFEST, document};
use crate::error::{Failure, RegistryError, Subject};
use crate::reference::Reference;
use crate::retry::{Patience, Retry};

impl Client {
    /// The manifest or index that `name`, a tag or a digest, means in the repository of `reference`. At most 4 MiB;
    /// proven if `name` is a digest.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; of kind [`NotFound`](crate::ErrorKind::NotFound) when there is none.
    pub async fn raw_manifest(&self, reference: &Reference, name: &str) -> Result<Vec<u8>, RegistryError> {
        let target = self.inner.target(reference);
        let subject = subject(reference, format!("manifest {}:{name}", reference.repository));
        let mut patience = Patience::new(Retry::CONVERSION);
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
}

pub(super) fn subject(reference: &Reference, what: String) -> Subject {
    Subject { host: reference.host.clone(), what }
}

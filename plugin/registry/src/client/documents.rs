//! Documents by name: proven by their digest, or by being what a tag must mean; asked for again where a mirror sent
//! something else.

use chunked_core::{Algorithm, ObjectDigest};
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};

use super::{Client, Target};
use crate::error::{ErrorKind, Failure, RegistryError, Subject};
use crate::image::ImageError;
use crate::oci::{Descriptor, Document};
use crate::reference::Reference;
use crate::retry::{Patience, Retry};

/// Longest manifest or index, in bytes: what registries accept.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;
/// Longest config, in bytes.
const MAX_CONFIG: u64 = 8 << 20;

const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

impl Client {
    /// The manifest or index that `name`, a tag or a digest, means in the repository of `reference`. At most 4 MiB;
    /// proven if `name` is a digest.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; of kind [`NotFound`](crate::ErrorKind::NotFound) when there is none.
    pub async fn document(&self, reference: &Reference, name: &str) -> Result<Document, RegistryError> {
        self.manifest(&self.inner.target(reference), name, Retry::CONVERSION).await
    }

    /// As [`Client::document`], as often as `retry` says.
    pub(super) async fn manifest(
        &self,
        target: &Target,
        name: &str,
        retry: Retry,
    ) -> Result<Document, RegistryError> {
        let subject = subject(target, format!("manifest {}:{name}", target.repository));
        let expected = name.parse::<ObjectDigest>().ok();
        let check = |bytes: Vec<u8>| {
            let algorithm = expected.map_or(Algorithm::Sha256, |expected| expected.algorithm());
            let found = algorithm.digest(&bytes);
            match expected {
                Some(expected) if expected != found => Err(Failure::Digest { expected, found }),
                _ => Document::named(found, bytes).map_err(|source| {
                    Failure::Image(ImageError::Document { document: "manifest", digest: found, source })
                }),
            }
        };
        self.checked(target, ("manifests", name), (MAX_MANIFEST, retry), &subject, check).await
    }

    /// The bytes of an image's config.
    pub(super) async fn config(
        &self,
        target: &Target,
        config: &Descriptor,
        retry: Retry,
    ) -> Result<Vec<u8>, RegistryError> {
        let subject = subject(target, format!("config {}", config.digest));
        if config.size > MAX_CONFIG {
            return Err(subject.error(Failure::TooLong(MAX_CONFIG)));
        }
        let (name, expected) = (config.digest.to_string(), config.digest);
        let check = |bytes: Vec<u8>| match expected.algorithm().digest(&bytes) {
            found if found == expected => Ok(bytes),
            found => Err(Failure::Digest { expected, found }),
        };
        self.checked(target, ("blobs", &name), (MAX_CONFIG, retry), &subject, check).await
    }

    /// A document that passes `check`. One that does not is asked for once more, at the registry itself, if a mirror
    /// may have sent it: pages, log-ins and wrong bytes come with status 200, too.
    async fn checked<T>(
        &self,
        target: &Target,
        place: (&str, &str),
        (limit, retry): (u64, Retry),
        subject: &Subject,
        check: impl Fn(Vec<u8>) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let mut patience = Patience::new(retry);
        loop {
            let error = match self.bytes(target, place, limit, subject).await {
                Ok(bytes) => match check(bytes) {
                    Ok(good) => return Ok(good),
                    Err(failure) => subject.error(failure),
                },
                Err(error) => error,
            };
            let wrong = error.kind() == ErrorKind::Invalid;
            let elsewhere = wrong && self.inner.distrust_mirrors(target, place.1, subject).await;
            if !elsewhere && !patience.forgives(&error, self.inner.transport.traffic()).await {
                return Err(error);
            }
        }
    }

    async fn bytes(
        &self,
        target: &Target,
        place: (&str, &str),
        limit: u64,
        subject: &Subject,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut headers = HeaderMap::new();
        if place.0 == "manifests" {
            headers.insert(ACCEPT, HeaderValue::from_static(ACCEPTED));
        }
        let reply = self.inner.get(target, place, headers, subject).await?;
        reply.whole(limit, subject).await
    }
}

pub(super) fn subject(target: &Target, what: String) -> Subject {
    Subject { host: target.host.clone(), what }
}

//! An image in a registry.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use chunked_core::{ByteRange, ObjectDigest};
use chunked_fetch::{FetchError, FetchOptions, Segments};
use chunked_registry::{Client, ErrorKind, Reference};

use crate::document::{Descriptor, Document, Parsed};
use crate::error::ConvertError;
use crate::referrers::{COSIGN, MAX, Referrer, tag};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct RegistrySource {
    pub client: Client,
    pub reference: Reference,
}

impl RegistrySource {
    pub(crate) async fn root(&self) -> Result<Document, ConvertError> {
        let name = self.reference.digest.map_or_else(|| self.reference.target(), |digest| digest.to_string());
        Ok(self.client.document(&self.reference, &name).await?)
    }

    pub(crate) async fn document(&self, digest: &ObjectDigest) -> Result<Document, ConvertError> {
        Ok(self.client.document(&self.reference, &digest.to_string()).await?)
    }

    pub(crate) fn blob(&self, descriptor: &Descriptor) -> Stream {
        let blob = self.client.blob(&self.reference, descriptor.digest, descriptor.size);
        Stream {
            blob: descriptor.digest,
            segments: chunked_fetch::fetch_all(blob, &FetchOptions::default()),
            rest: Bytes::new(),
            failure: None,
        }
    }

    pub(crate) async fn range(
        &self,
        descriptor: &Descriptor,
        range: ByteRange,
    ) -> Result<Vec<u8>, ConvertError> {
        let blob = self.client.blob(&self.reference, descriptor.digest, descriptor.size);
        let mut segments = chunked_fetch::fetch(blob, vec![range], FetchOptions::default());
        let mut bytes = Vec::new();
        while let Some(segment) = segments.recv().await {
            let segment =
                segment.map_err(|source| ConvertError::Fetch { blob: descriptor.digest, source })?;
            bytes.extend_from_slice(&segment.data);
        }
        Ok(bytes)
    }

    /// What refers to `subject`: by the referrers API, or the tag schema of registries without it, and by cosign's tags.
    pub(crate) async fn referrers(&self, subject: &ObjectDigest) -> Result<Vec<Referrer>, ConvertError> {
        let schema = tag(subject);
        let mut found = Vec::new();
        let pages = match self.client.referrers(&self.reference, subject).await? {
            Some(pages) => {
                let wrong = |error| ConvertError::document("list of referrers of", *subject)(error);
                pages
                    .into_iter()
                    .map(|bytes| Document::parse(bytes).map_err(wrong))
                    .collect::<Result<_, _>>()?
            }
            None => self.optional(&schema).await?.into_iter().collect::<Vec<_>>(),
        };
        for document in pages {
            if let Parsed::Index(index) = document.parsed {
                let referrers = index.manifests.into_iter();
                found.extend(referrers.map(|descriptor| Referrer { descriptor, tag: None }));
            }
        }
        if found.len() > MAX {
            tracing::warn!(image = %self.reference, %subject, referrers = found.len(), "only {MAX} referrers are looked at");
            found.truncate(MAX);
        }
        for suffix in COSIGN {
            let tag = format!("{schema}.{suffix}");
            if let Some(document) = self.optional(&tag).await? {
                found.push(Referrer { descriptor: document.descriptor(), tag: Some(tag) });
            }
        }
        Ok(found)
    }

    /// The document that a name means, where there is one.
    async fn optional(&self, name: &str) -> Result<Option<Document>, ConvertError> {
        match self.client.document(&self.reference, name).await {
            Ok(document) => Ok(Some(document)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The bytes of a blob as they come.
#[derive(Debug)]
pub(crate) struct Stream {
    blob: ObjectDigest,
    segments: Segments,
    rest: Bytes,
    failure: Option<FetchError>,
}

impl Stream {
    pub(crate) fn failure(&mut self) -> Option<ConvertError> {
        let source = self.failure.take()?;
        Some(ConvertError::Fetch { blob: self.blob, source })
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.segments.blocking_recv() {
                None => return Ok(0),
                Some(Ok(segment)) => self.rest = segment.data,
                Some(Err(error)) => {
                    self.failure = Some(error);
                    return Err(io::Error::other("the transfer failed"));
                }
            }
        }
        let n = self.rest.len().min(buffer.len());
        if let Some(room) = buffer.get_mut(..n) {
            self.rest.copy_to_slice(room);
        }
        Ok(n)
    }
}

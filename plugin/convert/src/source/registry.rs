//! An image in a registry.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use chunked_core::{ByteRange, Digest};
use chunked_fetch::{FetchError, FetchOptions, Segments};
use chunked_registry::{Client, Reference};

use super::Referrer;
use crate::document::{Descriptor, Document};
use crate::error::ConvertError;

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

    pub(crate) async fn document(&self, digest: &Digest) -> Result<Document, ConvertError> {
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

    pub(crate) async fn referrers(&self, subject: &Digest) -> Result<Vec<Referrer>, ConvertError> {
        crate::referrers::in_registry(&self.client, &self.reference, subject).await
    }
}

/// The bytes of a blob as they come.
#[derive(Debug)]
pub(crate) struct Stream {
    blob: Digest,
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

//! Writing an image to a registry.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chunked_core::ObjectDigest;
use chunked_registry::{Client, ErrorKind, Reference};

use crate::document::{Descriptor, Document, Index, Parsed};
use crate::error::ConvertError;
use crate::referrers;

/// An image of a registry that is being written.
#[derive(Debug, Clone)]
pub(crate) struct RegistryDestination {
    pub client: Client,
    pub reference: Reference,
}

impl RegistryDestination {
    pub(crate) async fn has(&self, digest: &ObjectDigest, size: u64) -> Result<bool, ConvertError> {
        Ok(self.client.has_blob(&self.reference, digest, size).await?)
    }

    pub(crate) async fn mount(&self, from: &Reference, digest: &ObjectDigest) -> Result<bool, ConvertError> {
        let Reference { host, repository, .. } = &self.reference;
        if from.host != *host || from.repository == *repository {
            return Ok(false);
        }
        Ok(self.client.mount_blob(&self.reference, &from.repository, digest).await?)
    }

    pub(crate) async fn put_file(
        &self,
        digest: &ObjectDigest,
        size: u64,
        file: File,
        sent: &Arc<AtomicU64>,
    ) -> Result<(), ConvertError> {
        Ok(self.client.push_blob(&self.reference, digest, size, Arc::new(file).into(), sent).await?)
    }

    pub(crate) async fn put_bytes(&self, digest: &ObjectDigest, bytes: &[u8]) -> Result<(), ConvertError> {
        let content = bytes::Bytes::copy_from_slice(bytes).into();
        let size = bytes.len() as u64;
        Ok(self.client.push_blob(&self.reference, digest, size, content, &Arc::default()).await?)
    }

    pub(crate) async fn put_document(
        &self,
        document: &Document,
        name: Option<&str>,
    ) -> Result<(), ConvertError> {
        let digest = document.digest.to_string();
        let name = name.unwrap_or(&digest);
        self.client.push_manifest(&self.reference, name, document.media_type(), &document.bytes).await?;
        Ok(())
    }

    /// Registries with a referrers API list a manifest by its `subject`. For others a tag lists them, and is
    /// written by clients (distribution spec, "Referrers Tag Schema").
    pub(crate) async fn list_referrer(
        &self,
        subject: &ObjectDigest,
        descriptor: &Descriptor,
        tag: Option<&str>,
        document: &Document,
    ) -> Result<(), ConvertError> {
        if let Some(tag) = tag {
            return self.put_document(document, Some(tag)).await;
        }
        if self.client.referrers(&self.reference, subject).await?.is_some() {
            return Ok(());
        }
        let tag = referrers::tag(subject);
        let mut index = match self.client.document(&self.reference, &tag).await.map(|found| found.parsed) {
            Ok(Parsed::Index(index)) => index,
            Ok(_) => return Err(ConvertError::place(&self.reference, format!("its tag {tag} is no index"))),
            Err(error) if error.kind() == ErrorKind::NotFound => Index::empty(),
            Err(error) => return Err(error.into()),
        };
        if !index.manifests.iter().any(|entry| entry.digest == descriptor.digest) {
            index.manifests.push(descriptor.clone());
        }
        self.put_document(&Document::write(Parsed::Index(index))?, Some(&tag)).await
    }
}

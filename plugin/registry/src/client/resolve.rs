//! From a reference to a proven image: index, manifest, config.

use chunked_core::ObjectDigest;

use super::documents::subject;
use super::{Client, Target};
use crate::error::{Failure, RegistryError, Subject};
use crate::image::{Image, ImageError};
use crate::oci::{Config, Descriptor, Document, DocumentError, Library, NoChoice, Parsed, choose};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::retry::Retry;

/// Indexes in indexes followed.
const MAX_DEPTH: usize = 3;

/// A repository as a library of documents.
struct Repository<'a> {
    client: &'a Client,
    target: &'a Target,
}

impl Library for Repository<'_> {
    type Error = RegistryError;

    async fn document(&self, entry: &Descriptor) -> Result<Document, RegistryError> {
        self.client.manifest(self.target, &entry.digest.to_string(), Retry::DOCUMENTS).await
    }

    async fn config(&self, config: &Descriptor) -> Result<Config, RegistryError> {
        let bytes = self.client.config(self.target, config, Retry::DOCUMENTS).await?;
        Config::parse(&bytes).map_err(|source| {
            let failure = ImageError::Document { document: "config", digest: config.digest, source };
            subject(self.target, format!("config {}", config.digest)).error(Failure::Image(failure))
        })
    }
}

impl Client {
    /// Fetches index, manifest and config of `reference` for `platform`, each checked against its digest
    /// (a tag's own document excepted: its digest is what we learn) and bounded in length. Which image of an index is
    /// for the platform is [`choose`]'s to say.
    ///
    /// # Errors
    ///
    /// [`RegistryError`]; see [`RegistryError::kind`].
    pub async fn pull_image(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Image, RegistryError> {
        let target = self.inner.target(reference);
        let whole = subject(&target, format!("image {}", reference.repository));
        let repository = Repository { client: self, target: &target };
        let name = reference.digest.map_or_else(|| reference.target(), |digest| digest.to_string());
        let mut document = self.manifest(&target, &name, Retry::DOCUMENTS).await?;
        for _ in 0..MAX_DEPTH {
            match &document.parsed {
                Parsed::Index(index) => {
                    let choice = choose(&repository, index, platform).await;
                    let choice = choice.map_err(|error| refused(error, &document.digest, &whole))?;
                    document = repository.document(&choice.entry).await?;
                }
                Parsed::Manifest(manifest) => {
                    let of_image = |error| whole.error(Failure::Image(error));
                    manifest.of_image().map_err(|source| {
                        of_image(ImageError::Document {
                            document: "manifest",
                            digest: document.digest,
                            source,
                        })
                    })?;
                    let config = self.config(&target, &manifest.config, Retry::DOCUMENTS).await?;
                    let manifest = (document.digest, &document.bytes[..]);
                    return Image::from_documents(reference.clone(), manifest, &config).map_err(of_image);
                }
            }
        }
        let source = DocumentError::NotAnImage("too many indexes in indexes".to_owned());
        let failure = ImageError::Document { document: "index", digest: document.digest, source };
        Err(whole.error(Failure::Image(failure)))
    }
}

fn refused(error: NoChoice<RegistryError>, index: &ObjectDigest, whole: &Subject) -> RegistryError {
    match error {
        NoChoice::Library(error) => error,
        NoChoice::Platform { wanted, offered } => whole.error(Failure::Platform { wanted, offered }),
        NoChoice::Document(source) => {
            whole.error(Failure::Image(ImageError::Document { document: "index", digest: *index, source }))
        }
    }
}

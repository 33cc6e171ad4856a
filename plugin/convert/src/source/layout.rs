//! An OCI image layout, in a directory or a tar (OCI image-spec, image-layout.md).

use chunked_core::{ByteRange, ObjectDigest};
use serde::Deserialize;
use serde_json::Value;
use std::io::Read;

use super::files::Files;
use crate::document::{Descriptor, Document, Index, Parsed};
use crate::error::ConvertError;
use crate::referrers::{self, Referrer};

/// The annotation that names an image of a layout.
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The one layout version there is.
pub(crate) const VERSION: &str = "1.0.0";

/// An image of a layout.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    files: Files,
    index: Index,
    tag: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "imageLayoutVersion")]
    version: String,
}

/// The name of an image.
fn named(descriptor: &Descriptor) -> Option<&str> {
    descriptor.annotations.get(REF_NAME).map(String::as_str)
}

/// Where a blob lies in a layout.
pub(crate) fn blob_path(digest: &ObjectDigest) -> String {
    format!("blobs/{}/{}", digest.algorithm().name(), digest.to_hex())
}

impl Layout {
    /// Opens the layout in `files`.
    pub(crate) fn open(files: Files, tag: Option<String>) -> Result<Self, ConvertError> {
        let wrong = |reason: &str| ConvertError::place(files.place(), reason);
        let version =
            files.read("oci-layout")?.ok_or_else(|| wrong("it is no OCI layout (oci-layout is missing); for what `docker save` wrote, write docker-archive:FILE"))?;
        let version: Version =
            serde_json::from_slice(&version).map_err(|_| wrong("its oci-layout cannot be read"))?;
        if version.version != VERSION {
            return Err(wrong("its layout version is unknown"));
        }
        let index = files.read("index.json")?.ok_or_else(|| wrong("its index.json is missing"))?;
        let index = Index::parse(&index)
            .map_err(|error| ConvertError::place(files.place(), format!("its index.json: {error}")))?;
        Ok(Self { files, index, tag })
    }

    /// The descriptor of the image that was asked for.
    pub(crate) fn root(&self) -> Result<&Descriptor, ConvertError> {
        let all = &self.index.manifests;
        let found: Vec<&Descriptor> = match &self.tag {
            Some(tag) => {
                all.iter().filter(|d| named(d) == Some(tag) || d.digest.to_string() == *tag).collect()
            }
            None => all.iter().collect(),
        };
        match found[..] {
            [only] => Ok(only),
            _ => {
                let mut names: Vec<&str> = all.iter().filter_map(named).collect();
                names.truncate(20);
                let names =
                    if names.is_empty() { "images without names".to_owned() } else { names.join(", ") };
                let reason = match &self.tag {
                    _ if found.is_empty() && !self.index.others.is_empty() => {
                        "its images are named by other digests than sha256 and sha512, which are not supported"
                            .to_owned()
                    }
                    Some(tag) if found.is_empty() => format!("it has no image {tag:?}; there is: {names}"),
                    Some(tag) => format!("it has several images {tag:?}; name one by its digest"),
                    None => format!("it has {} images; name one of them: {names}", all.len()),
                };
                Err(ConvertError::place(self.files.place(), reason))
            }
        }
    }

    /// Manifests that its index lists itself, which is where a layout keeps them, and whose `subject` is `subject`.
    pub(crate) fn referrers(&self, subject: &ObjectDigest) -> Result<Vec<Referrer>, ConvertError> {
        let mut found = Vec::new();
        for descriptor in self.index.manifests.iter().take(referrers::MAX) {
            if descriptor.digest == *subject {
                continue;
            }
            let document = proven(self.document(&descriptor.digest)?, &descriptor.digest)?;
            let rest = match &document.parsed {
                Parsed::Index(index) => &index.rest,
                Parsed::Manifest(manifest) => &manifest.rest,
            };
            let about = rest.get("subject").and_then(|subject| subject.get("digest")).and_then(Value::as_str);
            if about == Some(subject.to_string().as_str()) {
                found.push(Referrer { descriptor: descriptor.clone(), tag: None });
            }
        }
        Ok(found)
    }

    /// A document, whatever its bytes are.
    pub(crate) fn document(&self, digest: &ObjectDigest) -> Result<Vec<u8>, ConvertError> {
        self.files.read(&blob_path(digest))?.ok_or_else(|| self.missing(digest))
    }

    /// A reader over a blob.
    pub(crate) fn blob(&self, digest: &ObjectDigest) -> Result<Box<dyn Read + Send>, ConvertError> {
        let (stretch, _) = self.files.open(&blob_path(digest))?.ok_or_else(|| self.missing(digest))?;
        Ok(Box::new(stretch))
    }

    /// Bytes of a blob, of a range that the caller has bounded.
    pub(crate) fn range(&self, digest: &ObjectDigest, range: ByteRange) -> Result<Vec<u8>, ConvertError> {
        let (stretch, _) = self.files.open(&blob_path(digest))?.ok_or_else(|| self.missing(digest))?;
        let bytes = stretch.range(range);
        bytes.map_err(|error| ConvertError::place(self.files.place(), format!("blob {digest}: {error}")))
    }

    fn missing(&self, digest: &ObjectDigest) -> ConvertError {
        ConvertError::place(self.files.place(), format!("blob {digest} is missing from it"))
    }
}

/// The document in `bytes`, which must have `expected` as digest.
pub(crate) fn proven(bytes: Vec<u8>, expected: &ObjectDigest) -> Result<Document, ConvertError> {
    let found = expected.algorithm().digest(&bytes);
    if found != *expected {
        return Err(ConvertError::Digest { what: "manifest", expected: *expected, found });
    }
    Document::named(found, bytes).map_err(ConvertError::document("manifest", found))
}

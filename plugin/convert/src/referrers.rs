//! What refers to an image from outside: signatures, SBOMs, attestations pushed beside it.

use chunked_core::Digest;
use chunked_registry::{Client, ErrorKind, Reference};
use serde_json::Value;

use crate::document::{Descriptor, Document, Parsed};
use crate::error::ConvertError;
use crate::source::Referrer;
use crate::source::layout::{Layout, proven};

/// Suffixes of the tags by which cosign finds what belongs to an image.
const COSIGN: [&str; 3] = ["sig", "att", "sbom"];
/// Most referrers of one image that are looked at.
const MAX: usize = 1000;

/// By the referrers API, or the tag schema of registries without it, and by cosign's tags.
pub(crate) async fn in_registry(
    client: &Client,
    reference: &Reference,
    subject: &Digest,
) -> Result<Vec<Referrer>, ConvertError> {
    let schema = tag(subject);
    let mut found = Vec::new();
    let pages = match client.referrers(reference, subject).await? {
        Some(pages) => {
            let wrong = |error| ConvertError::document("list of referrers of", *subject)(error);
            pages.into_iter().map(|bytes| Document::parse(bytes).map_err(wrong)).collect::<Result<_, _>>()?
        }
        None => optional(client, reference, &schema).await?.into_iter().collect::<Vec<_>>(),
    };
    for document in pages {
        if let Parsed::Index(index) = document.parsed {
            let referrers = index.manifests.into_iter();
            found.extend(referrers.map(|descriptor| Referrer { descriptor, tag: None }));
        }
    }
    if found.len() > MAX {
        tracing::warn!(image = %reference, %subject, referrers = found.len(), "only {MAX} referrers are looked at");
        found.truncate(MAX);
    }
    for suffix in COSIGN {
        let tag = format!("{schema}.{suffix}");
        if let Some(document) = optional(client, reference, &tag).await? {
            found.push(Referrer { descriptor: document.descriptor(), tag: Some(tag) });
        }
    }
    Ok(found)
}

/// The tag that lists the referrers of `subject` where there is no API for it, and that cosign builds on.
pub(crate) fn tag(subject: &Digest) -> String {
    format!("sha256-{}", subject.to_hex())
}

async fn optional(
    client: &Client,
    reference: &Reference,
    name: &str,
) -> Result<Option<Document>, ConvertError> {
    match client.document(reference, name).await {
        Ok(document) => Ok(Some(document)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Manifests that the layout's index lists and whose `subject` is `subject`.
pub(crate) fn listed(layout: &Layout, subject: &Digest) -> Result<Vec<Referrer>, ConvertError> {
    let mut found = Vec::new();
    for descriptor in layout.listed().iter().take(MAX) {
        if descriptor.digest == *subject {
            continue;
        }
        let document = proven(layout.document(&descriptor.digest)?, &descriptor.digest)?;
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

/// What a referrer is, for a person: its artifact type, else its media type.
pub(crate) fn kind(referrer: &Referrer) -> String {
    let Descriptor { media_type, rest, .. } = &referrer.descriptor;
    let named = rest.get("artifactType").and_then(Value::as_str).filter(|kind| !kind.is_empty());
    match (&referrer.tag, named) {
        (Some(tag), _) => format!("cosign {}", tag.rsplit('.').next().unwrap_or_default()),
        (None, Some(kind)) => kind.chars().filter(|c| !c.is_control()).take(100).collect(),
        (None, None) => media_type.chars().filter(|c| !c.is_control()).take(100).collect(),
    }
}

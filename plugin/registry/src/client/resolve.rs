//! From a reference to a proven image: index, manifest, config.

use chunked_core::Digest;
use futures_util::StreamExt;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};

use super::{Client, Target};
use crate::error::{Failure, RegistryError, Subject};
use crate::image::{Document, Image, ImageError, IndexEntry};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::retry::{Patience, Retry};
use crate::transport::Reply;

/// Longest manifest or index, in bytes: what registries accept.
pub(super) const MAX_MANIFEST: u64 = 4 << 20;
/// Longest config, in bytes.
const MAX_CONFIG: u64 = 8 << 20;
/// Indexes in indexes followed.
const MAX_DEPTH: usize = 3;
/// Set by writers that put a zstd variant of an image beside the gzip one, with the same platform.
const ZSTD_VARIANT: &str = "io.github.containers.compression.zstd";

pub(super) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// What a document must be.
enum Expected {
    /// These bytes.
    Digest(Digest),
    /// Whatever the tag means now.
    Tag,
}

impl Client {
    /// Fetches index, manifest and config of `reference` for `platform`, each checked against its digest
    /// (a tag's own document excepted: its digest is what we learn) and bounded in length. Of several images
    /// for the platform, one with zstd layers is taken.
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
        let whole = subject(&target, format!("image {reference}"));
        let of_image = |error| whole.error(Failure::Image(error));
        let (mut name, mut expected) = match reference.digest {
            Some(digest) => (digest.to_string(), Expected::Digest(digest)),
            None => (reference.target(), Expected::Tag),
        };
        for _ in 0..MAX_DEPTH {
            let (bytes, digest) = self.manifest(&target, &name, &expected).await?;
            match Document::parse(&bytes, &digest).map_err(of_image)? {
                Document::Manifest(manifest) => {
                    let config = self.config(&target, &manifest.config.digest, manifest.config.size).await?;
                    return Image::from_documents(reference.clone(), &bytes, &config).map_err(of_image);
                }
                Document::Index(entries) => {
                    let chosen = choose(&entries, platform).ok_or_else(|| {
                        let (wanted, offered) = (platform.to_string(), offered(&entries));
                        whole.error(Failure::Platform { wanted, offered })
                    })?;
                    (name, expected) = (chosen.digest.to_string(), Expected::Digest(chosen.digest));
                }
            }
        }
        let digest = reference.digest.unwrap_or_else(|| Digest::of(name.as_bytes()));
        let reason = "too many indexes in indexes".to_owned();
        Err(of_image(ImageError::NotAnImage { digest, reason }))
    }

    async fn manifest(
        &self,
        target: &Target,
        name: &str,
        expected: &Expected,
    ) -> Result<(Vec<u8>, Digest), RegistryError> {
        let subject = subject(target, format!("manifest {}:{name}", target.repository));
        let from = ("manifests", name);
        let mut patience = Patience::new(Retry::DOCUMENTS);
        let bytes = loop {
            match self.get_document(target, from, MAX_MANIFEST, &subject).await {
                Err(error) if patience.forgives(&error).await => {}
                done => break done?,
            }
        };
        let found = Digest::of(&bytes);
        match expected {
            Expected::Digest(expected) if *expected != found => {
                let bytes = self.again(target, from, MAX_MANIFEST, (*expected, found), &subject).await?;
                Ok((bytes, *expected))
            }
            _ => Ok((bytes, found)),
        }
    }

    async fn config(&self, target: &Target, digest: &Digest, size: u64) -> Result<Vec<u8>, RegistryError> {
        let subject = subject(target, format!("config {digest}"));
        if size > MAX_CONFIG {
            return Err(too_long(&subject, MAX_CONFIG));
        }
        let name = digest.to_string();
        let from = ("blobs", name.as_str());
        let mut patience = Patience::new(Retry::DOCUMENTS);
        let bytes = loop {
            match self.get_document(target, from, MAX_CONFIG, &subject).await {
                Err(error) if patience.forgives(&error).await => {}
                done => break done?,
            }
        };
        let found = Digest::of(&bytes);
        if found == *digest {
            return Ok(bytes);
        }
        self.again(target, from, MAX_CONFIG, (*digest, found), &subject).await
    }

    /// After wrong bytes: the document once more from the registry itself, if a mirror may have served them.
    async fn again(
        &self,
        target: &Target,
        from: (&str, &str),
        limit: u64,
        (expected, found): (Digest, Digest),
        subject: &Subject,
    ) -> Result<Vec<u8>, RegistryError> {
        if !self.inner.distrust_mirrors(target, from.1, subject).await {
            return Err(mismatch(subject, expected, found));
        }
        let bytes = self.get_document(target, from, limit, subject).await?;
        let found = Digest::of(&bytes);
        if found == expected { Ok(bytes) } else { Err(mismatch(subject, expected, found)) }
    }

    async fn get_document(
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
        document(reply, limit, subject).await
    }
}

/// A body of at most `limit` bytes.
pub(crate) async fn document(reply: Reply, limit: u64, subject: &Subject) -> Result<Vec<u8>, RegistryError> {
    let announced = reply.content_length();
    if announced.is_some_and(|length| length > limit) {
        return Err(too_long(subject, limit));
    }
    let mut chunks = reply.into_body();
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|failure| subject.error(failure))?;
        if (bytes.len() + chunk.len()) as u64 > limit {
            return Err(too_long(subject, limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn subject(target: &Target, what: String) -> Subject {
    Subject { host: target.host.clone(), what }
}

fn mismatch(subject: &Subject, expected: Digest, found: Digest) -> RegistryError {
    subject.error(Failure::Digest { expected, found })
}

fn too_long(subject: &Subject, limit: u64) -> RegistryError {
    subject.error(Failure::TooLong(limit))
}

/// Attestations and signatures stand in indexes beside images.
fn is_image(entry: &IndexEntry) -> bool {
    matches!(
        entry.media_type.as_str(),
        "" | "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json"
    )
}

fn platform_of(entry: &IndexEntry) -> Option<Platform> {
    let platform = entry.platform.as_ref()?;
    Some(Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref()))
}

/// The entry that fits best; among equals one with zstd layers, then the first. An only entry may lack a
/// platform.
fn choose<'a>(entries: &'a [IndexEntry], wanted: &Platform) -> Option<&'a IndexEntry> {
    if let [only] = entries
        && only.platform.is_none()
        && is_image(only)
    {
        return Some(only);
    }
    let mut best: Option<((u32, bool), &IndexEntry)> = None;
    for entry in entries.iter().filter(|entry| is_image(entry)) {
        let Some(fit) = platform_of(entry).and_then(|platform| wanted.fit(&platform)) else { continue };
        let annotations = entry.annotations.as_ref();
        let zstd = annotations.and_then(|a| a.get(ZSTD_VARIANT)).is_some_and(|value| value == "true");
        if best.as_ref().is_none_or(|(rank, _)| (fit, zstd) > *rank) {
            best = Some(((fit, zstd), entry));
        }
    }
    best.map(|(_, entry)| entry)
}

/// What the index has, for the error's text.
fn offered(entries: &[IndexEntry]) -> String {
    let mut names: Vec<String> = entries
        .iter()
        .filter(|entry| is_image(entry))
        .filter_map(platform_of)
        .filter(|platform| platform.os != "unknown")
        .map(|platform| platform.to_string().chars().filter(|c| !c.is_control()).take(40).collect())
        .collect();
    names.dedup();
    names.truncate(20);
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn entries(entries: &[(&str, Value)]) -> Vec<IndexEntry> {
        let make = |(name, platform): &(&str, Value)| {
            let mut entry = json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": Digest::of(name.as_bytes()), "size": 1, "platform": platform,
            });
            if name.starts_with("zstd") {
                entry["annotations"] = json!({ZSTD_VARIANT: "true"});
            }
            serde_json::from_value(entry).unwrap()
        };
        entries.iter().map(make).collect()
    }

    fn chosen(entries: &[IndexEntry], platform: &str) -> Option<Digest> {
        choose(entries, &platform.parse().unwrap()).map(|entry| entry.digest)
    }

    #[test]
    fn takes_the_best_for_the_platform() {
        let p = |architecture: &str, variant: Option<&str>| json!({"os": "linux", "architecture": architecture, "variant": variant});
        let index = entries(&[
            ("attestation", json!({"os": "unknown", "architecture": "unknown"})),
            ("amd64", p("amd64", None)),
            ("amd64 again", p("amd64", None)),
            ("amd64 v3", p("amd64", Some("v3"))),
            ("arm v6", p("arm", Some("v6"))),
            ("arm v7", p("arm", Some("v7"))),
            ("arm64", p("arm64", Some("v8"))),
            ("zstd arm64", p("arm64", Some("v8"))),
            ("riscv64", Value::Null),
        ]);
        for (platform, name) in [
            ("linux/amd64", Some("amd64")),
            ("linux/amd64/v2", Some("amd64")),
            ("linux/amd64/v4", Some("amd64 v3")),
            ("linux/arm", Some("arm v7")),
            ("linux/arm/v6", Some("arm v6")),
            ("linux/arm64", Some("zstd arm64")),
            ("linux/riscv64", None),
            ("unknown/unknown", Some("attestation")),
        ] {
            assert_eq!(chosen(&index, platform), name.map(|n| Digest::of(n.as_bytes())), "{platform}");
        }
        assert_eq!(chosen(&entries(&[("only", Value::Null)]), "linux/s390x"), Some(Digest::of(b"only")));
        assert!(offered(&index).contains("linux/arm64") && !offered(&index).contains("unknown"));
    }
}

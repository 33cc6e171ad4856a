//! What `docker save` writes: a tar with a `manifest.json`, configs and layer tars.
//!
//! It has no manifest in the registry's sense, so one is made: the config as it is, the layers by the digests of
//! their files. What identifies the image is its config's digest, the image ID.

use std::io::Read;

use chunked_compression::{Compression, PEEK};
use chunked_core::{ByteRange, Hasher, ObjectDigest};
use serde::Deserialize;
use serde_json::Map;

use super::files::Files;
use crate::document::{Config, Descriptor, Document, Manifest, Parsed};
use crate::error::ConvertError;
use crate::media;

/// Bytes hashed at a time.
const BUFFER: usize = 256 * 1024;

/// An image of the archive.
#[derive(Debug, Clone)]
pub(crate) struct DockerArchive {
    files: Files,
    /// The manifest that was made for it.
    pub(crate) manifest: Document,
    config: Vec<u8>,
    /// Names of the layers' files, in the manifest's order.
    layers: Vec<(ObjectDigest, String)>,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags", default)]
    names: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

impl DockerArchive {
    /// Opens the image `name` of `files`, or the only one. Reads layers that are compressed once, for their
    /// digests.
    pub(crate) fn open(files: Files, name: Option<&str>) -> Result<Self, ConvertError> {
        let wrong = |reason: String| ConvertError::place(files.place(), reason);
        let missing =
            |file: &str| wrong(format!("{file} is missing from it; is it written by `docker save`?"));
        let list = files.read("manifest.json")?.ok_or_else(|| missing("manifest.json"))?;
        let images: Vec<Image> = serde_json::from_slice(&list)
            .map_err(|error| wrong(format!("its manifest.json cannot be read: {error}")))?;
        let image = choose(&images, name).map_err(wrong)?;
        let config = files.read(&image.config)?.ok_or_else(|| missing(&image.config))?;
        let Config { diff_ids, .. } =
            Config::parse(&config).map_err(|error| wrong(format!("its config: {error}")))?;
        if diff_ids.len() != image.layers.len() {
            return Err(wrong(format!(
                "it lists {} layers, the image's config {}",
                image.layers.len(),
                diff_ids.len()
            )));
        }
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for (file, diff_id) in image.layers.iter().zip(&diff_ids) {
            let (mut stretch, size) = files.open(file)?.ok_or_else(|| missing(file))?;
            let failed = |error| wrong(format!("{file}: {error}"));
            let start = stretch.range(ByteRange { start: 0, end: size.min(PEEK as u64) }).map_err(failed)?;
            let (media_type, digest) = match Compression::detect(&start) {
                // Uncompressed, so its digest is the DiffID: whether it is true is found out when it is read.
                Compression::Tar => (media::LAYER_TAR, (*diff_id).into()),
                compression => {
                    let media_type = match compression {
                        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
                        _ => media::LAYER_ZSTD,
                    };
                    (media_type, hash(&mut stretch).map_err(failed)?)
                }
            };
            layers.push((digest, file.clone()));
            let mut descriptor = Descriptor::of(media_type, &[]);
            (descriptor.digest, descriptor.size) = (digest, size);
            descriptors.push(descriptor);
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: media::MANIFEST.to_owned(),
            config: Descriptor::of(media::CONFIG, &config),
            layers: descriptors,
            annotations: std::collections::BTreeMap::new(),
            rest: Map::new(),
        };
        Ok(Self { manifest: Document::write(Parsed::Manifest(manifest))?, files, config, layers })
    }

    /// The image's config.
    pub(crate) fn config(&self) -> &[u8] {
        &self.config
    }

    /// The image ID, by which an image without a manifest is known.
    pub(crate) fn config_digest(&self) -> ObjectDigest {
        ObjectDigest::of(&self.config)
    }

    /// A reader over a layer's file.
    pub(crate) fn blob(&self, digest: &ObjectDigest) -> Result<Box<dyn Read + Send>, ConvertError> {
        Ok(Box::new(self.stretch(digest)?))
    }

    /// Bytes of a layer's file, of a range that the caller has bounded.
    pub(crate) fn range(&self, digest: &ObjectDigest, range: ByteRange) -> Result<Vec<u8>, ConvertError> {
        let bytes = self.stretch(digest)?.range(range);
        bytes.map_err(|error| ConvertError::place(self.files.place(), format!("blob {digest}: {error}")))
    }

    fn stretch(&self, digest: &ObjectDigest) -> Result<super::files::Stretch, ConvertError> {
        let missing = || ConvertError::place(self.files.place(), format!("blob {digest} is missing from it"));
        let (_, file) = self.layers.iter().find(|(layer, _)| layer == digest).ok_or_else(missing)?;
        Ok(self.files.open(file)?.ok_or_else(missing)?.0)
    }
}

fn choose<'a>(images: &'a [Image], name: Option<&str>) -> Result<&'a Image, String> {
    let names = |image: &Image| image.names.clone().unwrap_or_default();
    let found: Vec<&Image> = match name {
        Some(name) => images.iter().filter(|image| names(image).iter().any(|n| same(n, name))).collect(),
        None => images.iter().collect(),
    };
    if let [only] = found[..] {
        return Ok(only);
    }
    let mut all: Vec<String> = images.iter().flat_map(names).collect();
    all.truncate(20);
    let all = if all.is_empty() { "images without names".to_owned() } else { all.join(", ") };
    Err(match name {
        Some(name) => format!("it has no single image {name:?}; there is: {all}"),
        None => format!("it has {} images; name one of them: {all}", images.len()),
    })
}

/// Docker writes short names (`app:v1`), other tools long ones.
fn same(saved: &str, wanted: &str) -> bool {
    let full = |name: &str| {
        name.parse::<chunked_registry::Reference>()
            .map(|r| (r.host.clone(), r.repository.clone(), r.target()))
    };
    saved == wanted || matches!((full(saved), full(wanted)), (Ok(a), Ok(b)) if a == b)
}

fn hash(reader: &mut impl Read) -> std::io::Result<ObjectDigest> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        let n = reader.read(&mut buffer)?;
        match buffer.get(..n) {
            Some(bytes) if n > 0 => hasher.update(bytes),
            _ => return Ok(hasher.finish().into()),
        }
    }
}

//! What a layer is made of, read from the layer.

mod remote;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use chunked_core::media::is_bare_tar;
use chunked_core::{Digest, ObjectDigest};
use chunked_format::{InspectError, InspectOptions, Inspection, Outline, TocEntry};
use chunked_registry::{Client, Platform};
use serde::Serialize;

use crate::checked::Checked;
use crate::document::Descriptor;
use crate::error::{ConvertError, blocking};
use crate::location::Location;
use crate::media;
use crate::progress::Progress;
use crate::source::Source;
use crate::temp::Temp;
use crate::tree;

/// What was seen of a blob.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Content {
    /// All of it.
    Whole(Box<Inspection>),
    /// Footer, table of contents and tar-split.
    Outline(Box<Outline>),
}

/// A layer, and what its image says about it.
#[derive(Debug, Serialize)]
pub struct LayerInspection {
    /// Digest of the blob.
    pub blob: ObjectDigest,
    /// Its length in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: String,
    /// DiffID of the image's config.
    pub diff_id: Digest,
    /// Whether it can be pulled in parts.
    pub partial: bool,
    /// Why it is pulled whole, if it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What it is made of; nothing for layers that are not zstd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// Whether its content has the DiffID; only if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff_id_matches: Option<bool>,
}

/// An image's layers.
#[derive(Debug, Serialize)]
pub struct ImageInspection {
    /// The image, as given.
    pub image: String,
    /// Its platform, if known.
    pub platform: Option<String>,
    /// Digest of its manifest.
    pub manifest: ObjectDigest,
    /// Annotations of its manifest.
    pub annotations: BTreeMap<String, String>,
    /// Its layers, lowest first.
    pub layers: Vec<LayerInspection>,
}

impl LayerInspection {
    /// What is wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = match &self.content {
            Some(Content::Whole(seen)) => seen.problems.clone(),
            Some(Content::Outline(seen)) => seen.problems.clone(),
            None => Vec::new(),
        };
        if self.diff_id_matches == Some(false) {
            problems.push("its content does not have the DiffID of the image's config".to_owned());
        }
        problems
    }

    /// All entries of its table of contents.
    pub fn entries(&self) -> &[TocEntry] {
        match &self.content {
            Some(Content::Whole(seen)) => &seen.entries,
            Some(Content::Outline(seen)) => &seen.entries,
            None => &[],
        }
    }
}

/// Looks at the layers of an image. Reads tables of contents only, by ranges; with `verify` everything.
///
/// # Errors
///
/// [`ConvertError`]. What is wrong with a layer that can be read is told in the result.
pub async fn inspect_image(
    client: &Client,
    location: &Location,
    platform: &Platform,
    verify: bool,
    temp: Option<&Path>,
) -> Result<ImageInspection, ConvertError> {
    let temp = Temp::new(temp);
    let source = Source::open(location, client, &temp).await?;
    let root = source.root().await?;
    let image = tree::one(&source, root, platform).await?;
    let mut layers = Vec::new();
    for layer in &image.layers {
        let descriptor = &layer.descriptor;
        let format =
            chunked_toc::classify_layer(&descriptor.media_type, &descriptor.annotations, descriptor.size);
        let reason = match &format {
            chunked_toc::Format::ZstdChunked(_) => None,
            chunked_toc::Format::Plain { reason } => {
                Some(reason.clone().unwrap_or_else(|| "it is not zstd:chunked".to_owned()))
            }
        };
        let tar = media::layer_kind(&descriptor.media_type) == media::LayerKind::Tar;
        let mut seen = LayerInspection {
            blob: descriptor.digest,
            size: descriptor.size,
            media_type: descriptor.media_type.clone(),
            diff_id: layer.diff_id,
            partial: reason.is_none(),
            reason,
            content: None,
            diff_id_matches: None,
        };
        if tar && verify {
            let (content, diff_id) = whole(&source, descriptor, &temp).await?;
            seen.content = content.map(|content| Content::Whole(Box::new(content)));
            seen.diff_id_matches = Some(diff_id == layer.diff_id);
        } else if tar && media::oci(&descriptor.media_type) == media::LAYER_ZSTD {
            let outline = outline(&source, descriptor).await?;
            seen.content = Some(Content::Outline(Box::new(outline)));
        }
        layers.push(seen);
    }
    Ok(ImageInspection {
        image: location.to_string(),
        platform: image.platform,
        manifest: image.document.digest,
        annotations: image.manifest.annotations,
        layers,
    })
}

/// Footer, table of contents and tar-split, by ranges.
async fn outline(source: &Source, descriptor: &Descriptor) -> Result<Outline, ConvertError> {
    let mut reader = remote::Reader::new(source.clone(), descriptor.clone());
    let (annotations, what) = (descriptor.annotations.clone(), format!("layer {}", descriptor.digest));
    blocking(move || {
        let seen = chunked_format::outline(&mut reader, Some(&annotations));
        if let Some(error) = reader.failure.take() {
            return Err(error);
        }
        seen.map_err(|source| ConvertError::Inspect { what, source })
    })
    .await
}

/// Everything, and the digest of the content.
async fn whole(
    source: &Source,
    descriptor: &Descriptor,
    temp: &Temp,
) -> Result<(Option<Inspection>, Digest), ConvertError> {
    let progress = Progress::default();
    let counters = progress.layer(descriptor.digest, descriptor.size);
    let reader =
        Checked::new(source.blob(descriptor).await?, descriptor.digest.algorithm(), counters, progress);
    let (temp, descriptor) = (temp.clone(), descriptor.clone());
    blocking(move || {
        let (file, start) = reader.into_file(&descriptor, &temp)?;
        let diff_id = crate::layer::decompressed(&file, &start, &descriptor)?;
        if is_bare_tar(&descriptor.media_type) {
            return Ok((None, diff_id));
        }
        let options = InspectOptions { verify: true };
        let seen = match chunked_format::inspect(&file, Some(&descriptor.annotations), options) {
            Ok(seen) => Some(seen),
            Err(InspectError::NotZstd(_)) => None,
            Err(source) => {
                return Err(ConvertError::Inspect { what: format!("layer {}", descriptor.digest), source });
            }
        };
        Ok((seen, diff_id))
    })
    .await
}

/// Looks at a blob in a file; without its image, so without annotations: positions come from its footer.
///
/// # Errors
///
/// [`ConvertError`] when it cannot be read or is no zstd stream.
pub fn inspect_blob(path: &Path, verify: bool) -> Result<Inspection, ConvertError> {
    let file = File::open(path).map_err(ConvertError::file(path))?;
    let options = InspectOptions { verify };
    chunked_format::inspect(io::BufReader::new(file), None, options)
        .map_err(|source| ConvertError::Inspect { what: path.display().to_string(), source })
}

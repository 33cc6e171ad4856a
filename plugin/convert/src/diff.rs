//! What a node that holds one image would fetch for another, without pulling either.
//!
//! The planner is the one that pulls use, so the number is theirs: TOC and tar-split, missing pieces, and the gaps
//! that are cheaper to fetch than to leave out.

mod held;

use chunked_core::{Digest, ObjectDigest};
use chunked_plan::{Costs, Summary};
use chunked_registry::{Client, Platform};
use chunked_toc::{Format, LayerIndex};
use serde::Serialize;

use crate::document::Descriptor;
use crate::error::{ConvertError, blocking};
use crate::layer::Layer;
use crate::location::Location;
use crate::source::Source;
use crate::temp::Temp;
use crate::tree::{self, Image};
use held::Held;

/// How a layer would come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The node has it.
    Present,
    /// By ranges.
    Partial,
    /// Its whole blob.
    Whole,
}

/// One layer of the second image.
#[derive(Debug, Clone, Serialize)]
pub struct LayerDiff {
    /// Digest of its blob.
    pub blob: ObjectDigest,
    /// Its DiffID.
    pub diff_id: Digest,
    /// Bytes of its blob.
    pub size: u64,
    /// How it would come.
    pub way: Way,
    /// Why it would come whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Bytes a pull would fetch.
    pub fetch: u64,
    /// The plan, of layers that would come by ranges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Summary>,
}

/// What an update from one image to another would fetch.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    /// The image the node holds, as given.
    pub held: String,
    /// The image it would pull, as given.
    pub wanted: String,
    /// Layers of the image it would pull, lowest first.
    pub layers: Vec<LayerDiff>,
    /// Bytes of its blobs.
    pub size: u64,
    /// Bytes of those that the node lacks: what a puller without reuse of files fetches.
    pub missing_layers: u64,
    /// Bytes a pull would fetch.
    pub fetch: u64,
    /// What makes the number larger or smaller than a real pull's.
    pub notes: Vec<String>,
}

/// Compares two images.
///
/// # Errors
///
/// [`ConvertError`] when one of them cannot be read.
pub async fn diff(
    client: &Client,
    held: &Location,
    wanted: &Location,
    platform: &Platform,
    costs: &Costs,
) -> Result<Diff, ConvertError> {
    let temp = Temp::new(None);
    let (a, a_image) = open(client, held, platform, &temp).await?;
    let (b, b_image) = open(client, wanted, platform, &temp).await?;
    let mut notes = Vec::new();
    let mut index = Held::default();
    let mut unseen = 0;
    for layer in &a_image.layers {
        match toc(&a, &layer.descriptor).await? {
            Ok((toc, _)) => index.add(&toc.toc),
            Err(_) => unseen += 1,
        }
    }
    if unseen > 0 {
        notes.push(format!(
            "{unseen} of {} layers of {held} have no table of contents: what the node would reuse of their files is \
             not counted",
            a_image.layers.len()
        ));
    }
    let mut layers: Vec<LayerDiff> = Vec::new();
    for layer in &b_image.layers {
        let present = a_image.layers.iter().any(|other| other.diff_id == layer.diff_id);
        let twin = layers.iter().any(|other| other.diff_id == layer.diff_id);
        layers.push(if present || twin {
            described(layer, Way::Present, 0)
        } else {
            match toc(&b, &layer.descriptor).await? {
                Ok((toc, metadata)) => {
                    let plan = chunked_plan::plan(&toc.toc, &index, costs).summary();
                    // What comes with a lower layer is there for the next.
                    index.add_files(&toc.toc);
                    let fetch = metadata.saturating_add(plan.fetch_bytes);
                    LayerDiff { plan: Some(plan), ..described(layer, Way::Partial, fetch) }
                }
                Err(reason) => {
                    let reason = Some(reason);
                    LayerDiff { reason, ..described(layer, Way::Whole, layer.descriptor.size) }
                }
            }
        });
    }
    let sum = |of: fn(&LayerDiff) -> u64| layers.iter().map(of).fold(0, u64::saturating_add);
    Ok(Diff {
        held: held.to_string(),
        wanted: wanted.to_string(),
        size: sum(|layer| layer.size),
        missing_layers: sum(|layer| if layer.way == Way::Present { 0 } else { layer.size }),
        fetch: sum(|layer| layer.fetch),
        layers,
        notes,
    })
}

fn described(layer: &Layer, way: Way, fetch: u64) -> LayerDiff {
    let Descriptor { digest: blob, size, .. } = layer.descriptor;
    LayerDiff { blob, diff_id: layer.diff_id, size, way, reason: None, fetch, plan: None }
}

async fn open(
    client: &Client,
    location: &Location,
    platform: &Platform,
    temp: &Temp,
) -> Result<(Source, Image), ConvertError> {
    let source = Source::open(location, client, temp).await?;
    let root = source.root().await?;
    let image = tree::one(&source, root, platform).await?;
    Ok((source, image))
}

/// A layer's table of contents and the bytes a pull fetches for it, or why a pull would not use it.
async fn toc(
    source: &Source,
    descriptor: &Descriptor,
) -> Result<Result<(LayerIndex, u64), String>, ConvertError> {
    let annotations =
        match chunked_toc::classify_layer(&descriptor.media_type, &descriptor.annotations, descriptor.size) {
            Format::ZstdChunked(annotations) => annotations,
            Format::Plain { reason } => {
                return Ok(Err(reason.unwrap_or_else(|| "it is not zstd:chunked".to_owned())));
            }
        };
    let layer = descriptor.digest;
    let metadata = source.range(descriptor, annotations.metadata_range()).await?;
    blocking(move || match chunked_toc::parse(&annotations, &metadata) {
        Ok(index) => Ok(Ok((index, annotations.metadata_range().len()))),
        Err(error) if error.kind() == chunked_toc::ErrorKind::Unusable => Ok(Err(error.to_string())),
        Err(source) => Err(ConvertError::Toc { layer, source }),
    })
    .await
}

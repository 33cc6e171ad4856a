//! `explain`: how the layers of an image came, and why.

use anyhow::{Context, Result, bail};
use chunked_history::{LayerRecord, PullRecord, Way};
use chunked_registry::Reference;
use indicatif::HumanBytes;

use super::history;
use crate::args::Explain;

pub(crate) async fn run(command: Explain) -> Result<()> {
    let image: Reference = command.image.parse().with_context(|| format!("image {:?}", command.image))?;
    let pulls = history::read(&command.access).await?;
    let Some(pull) = pulls.iter().rev().find(|pull| is_of(pull, &image)) else {
        bail!("no pull of {image} is remembered; `chunked-snapshotter history` lists those that are");
    };
    if command.access.json {
        println!("{}", serde_json::to_string(pull)?);
        return Ok(());
    }
    println!("{} ({})", pull.image, pull.manifest);
    println!(
        "  {}, {}, in {:.1} s, for {}",
        pull.outcome.name(),
        history::ago(pull),
        pull.seconds(),
        pull.client
    );
    if let Some(reason) = &pull.reason {
        println!("  {reason}");
    }
    for (number, layer) in pull.layers.iter().enumerate() {
        let blob: String = layer.blob.split(':').next_back().unwrap_or_default().chars().take(12).collect();
        println!("{:>4}  {blob}  {:>11}  {}", number + 1, HumanBytes(layer.size).to_string(), how(layer));
        notes(layer).iter().for_each(|note| println!("{:>19} {note}", ""));
    }
    Ok(())
}

/// Is it a pull of this image? containerd often tells the repository and the digest only: then the tag says nothing.
fn is_of(pull: &PullRecord, image: &Reference) -> bool {
    let Ok(pulled) = pull.image.parse::<Reference>() else { return false };
    let same_tag = pulled.tag.is_none() || image.tag.is_none() || pulled.tag == image.tag;
    let same_digest = pulled.digest.is_none() || image.digest.is_none() || pulled.digest == image.digest;
    pulled.host == image.host && pulled.repository == image.repository && same_tag && same_digest
}

/// How it came.
fn how(layer: &LayerRecord) -> String {
    let fetched = HumanBytes(layer.fetched);
    let because = layer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match layer.way {
        Way::Unknown => "not asked for yet".to_owned(),
        Way::Present => "was in the store".to_owned(),
        Way::Shared => "was on its way: another image's pull fetched it at the same time".to_owned(),
        Way::HandedOver => format!("was left to containerd{because}"),
        Way::Failed => format!("failed{because}"),
        Way::Chunked => {
            format!("by ranges: {fetched} fetched, {} of {} files were here", layer.files_reused, layer.files)
        }
        Way::Whole if layer.from_content_store > 0 => {
            format!("read from containerd's content store{because}")
        }
        Way::Whole if layer.reason.is_none() => {
            format!("whole: {fetched} fetched; its format has no table of contents")
        }
        Way::Whole => format!("whole: {fetched} fetched{because}"),
    }
}

/// What else is to be said of it.
fn notes(layer: &LayerRecord) -> Vec<String> {
    let mut notes = Vec::new();
    let reused = &layer.reused;
    let sources = [
        (reused.layer, "from files of layers"),
        (reused.chunk, "from parts of large files of layers"),
        (reused.in_flight, "from what another layer was fetching"),
        (reused.leftover, "from an earlier try"),
        (reused.host, "from files of the host"),
        (reused.repeat, "that it has twice"),
    ];
    let sources = sources.iter().filter(|(bytes, _)| *bytes > 0);
    let sources: Vec<String> =
        sources.map(|(bytes, what)| format!("{} {what}", HumanBytes(*bytes))).collect();
    if !sources.is_empty() {
        notes.push(format!("not fetched: {}", sources.join(", ")));
    }
    if layer.fetched_again > 0 {
        let bytes = HumanBytes(layer.fetched_again);
        notes.push(format!(
            "{bytes} of that in place of local files that could not be used, or of wrong bytes"
        ));
    }
    if let Some(bytes) = layer.withheld.filter(|bytes| *bytes > 0) {
        let bytes = HumanBytes(bytes);
        notes.push(format!(
            "fetched although the node has it: {bytes}; [reuse] keeps other registries' layers and host files apart"
        ));
    }
    // Blocks of its tree that the disk had already: what a table of contents would have saved at least. As a share,
    // because the blob is compressed.
    if layer.way == Way::Whole && layer.tree_bytes_shared > 0 && layer.tree_bytes > 0 {
        let percent = u128::from(layer.tree_bytes_shared) * 100 / u128::from(layer.tree_bytes);
        notes.push(format!(
            "{percent} % of its files' bytes were here; `convert` makes such a layer one that is fetched without them"
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_told_with_what_follows() {
        let layer =
            |way| LayerRecord { way, fetched: 10 << 20, files: 7, files_reused: 3, ..LayerRecord::default() };
        assert_eq!(how(&layer(Way::Chunked)), "by ranges: 10.00 MiB fetched, 3 of 7 files were here");
        assert!(how(&layer(Way::Whole)).contains("no table of contents"));
        let mut whole = LayerRecord { reason: Some("no ranges".to_owned()), ..layer(Way::Whole) };
        assert_eq!(how(&whole), "whole: 10.00 MiB fetched: no ranges");
        assert!(notes(&whole).is_empty());
        (whole.tree_bytes, whole.tree_bytes_shared, whole.withheld) = (200, 50, Some(1024));
        let notes = notes(&whole).join("\n");
        assert!(
            notes.contains("25 %") && notes.contains("convert") && notes.contains("1.00 KiB; [reuse]"),
            "{notes}"
        );
    }
}

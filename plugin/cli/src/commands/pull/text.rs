//! What a pull did, for a person.

use std::path::Path;

use chunked_engine::Mode;
use serde::Deserialize;

use crate::pulling::Seconds;

/// What is shown of a report.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    image: String,
    manifest: String,
    bytes_total: u64,
    bytes_fetched: u64,
    bytes_reused: u64,
    seconds: Seconds,
    layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
struct Layer {
    blob: String,
    mode: Mode,
    reason: Option<String>,
    bytes_total: u64,
    bytes_fetched: u64,
    files: u64,
    files_reused: u64,
    files_from_host: u64,
}

/// Prints it: the report as it is, or text.
pub(super) fn print(report: &str, json: bool, to: Option<&Path>) -> serde_json::Result<()> {
    if json {
        println!("{report}");
        return Ok(());
    }
    let report: Shown = serde_json::from_str(report)?;
    let bytes = indicatif::HumanBytes;
    println!("{} ({})", report.image, report.manifest);
    for layer in &report.layers {
        let how = match layer.mode {
            Mode::Present => "in the store already".to_owned(),
            Mode::Whole => {
                format!("pulled whole{}", layer.reason.as_ref().map(|r| format!(": {r}")).unwrap_or_default())
            }
            Mode::Chunked if layer.files_from_host > 0 => format!(
                "{} of {} files were here already, {} of them on the host",
                layer.files_reused, layer.files, layer.files_from_host
            ),
            Mode::Chunked => format!("{} of {} files were here already", layer.files_reused, layer.files),
        };
        let hex = layer.blob.split_once(':').map_or(&*layer.blob, |(_, hex)| hex);
        println!(
            "  {}  {:>11} of {:>11} fetched  {how}",
            hex.chars().take(12).collect::<String>(),
            bytes(layer.bytes_fetched).to_string(),
            bytes(layer.bytes_total).to_string(),
        );
    }
    println!(
        "fetched {} of {}, {} not needed, in {:.1} s",
        bytes(report.bytes_fetched),
        bytes(report.bytes_total),
        bytes(report.bytes_reused),
        report.seconds.total
    );
    if let Some(to) = to {
        println!("root file system in {}", to.display());
    }
    Ok(())
}

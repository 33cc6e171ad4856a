//! `convert`: an image to zstd:chunked.

mod bars;

use anyhow::{Context, Result};
use chunked_convert::{Action, Delivery, Options, Progress, Report};
use chunked_registry::Client;
use indicatif::HumanBytes;

use crate::args::Convert;
use crate::exit::Exit;
use crate::settings;

/// Exit code of a conversion that left something out.
const INCOMPLETE: u8 = 3;

pub(crate) async fn run(command: Convert) -> Result<()> {
    let settings = settings::for_images(&command.registries)?;
    let (source, destination) = (&command.source, &command.destination);
    let options = options(&command);
    let client = Client::new(settings::client(&settings))?;
    let progress = Progress::default();
    let work = chunked_convert::convert(&client, source, destination, &options, &progress);
    let report = tokio::select! {
        report = work => report.with_context(|| format!("converting {source}"))?,
        () = bars::show(progress.clone()), if !command.json => anyhow::bail!("the progress display ended"),
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; {destination} means what it meant before"),
    };
    if command.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    if command.strict && report.incomplete() {
        return Err(Exit {
            code: INCOMPLETE,
            reason: "done, but not everything was converted and carried over",
        }
        .into());
    }
    Ok(())
}

fn options(command: &Convert) -> Options {
    Options {
        platforms: command.platform.clone(),
        level: command.level,
        threads: command.threads,
        layers: command.layers,
        min_chunk: command.min_chunk,
        force: command.force,
        drop_attestations: command.drop_attestations,
        temp: command.tmp.clone(),
    }
}

fn print(report: &Report) {
    println!("{} ({})", report.destination, report.digest);
    for image in &report.images {
        let platform = image.platform.as_deref().unwrap_or("no platform");
        if image.manifest == image.source_manifest {
            println!("{platform}: unchanged ({})", image.manifest);
        } else {
            println!("{platform}: {} from {}", image.manifest, image.source_manifest);
        }
        for layer in &image.layers {
            let what = match layer.action {
                Action::Converted => "converted".to_owned(),
                Action::Recompressed => format!("plain zstd: {}", layer.reasons.join("; ")),
                Action::Kept => format!("left alone: {}", layer.reasons.join("; ")),
            };
            let how = match layer.delivery {
                Delivery::Present => "was there",
                Delivery::Mounted => "mounted",
                Delivery::Sent => "sent",
                Delivery::None => "not held by registries",
            };
            println!(
                "  {}  {:>11} -> {:>11}  {how}; {what}",
                short(&layer.source_blob),
                HumanBytes(layer.source_size).to_string(),
                HumanBytes(layer.size).to_string()
            );
        }
    }
    for attachment in &report.attachments {
        println!("{} {}: {}", attachment.kind, short(&attachment.digest), attachment.note);
    }
    for note in &report.notes {
        println!("note: {note}");
    }
    println!(
        "{} -> {} in {:.1} s",
        HumanBytes(report.source_bytes),
        HumanBytes(report.bytes),
        report.seconds
    );
}

/// The first digits of a digest.
pub(crate) fn short(digest: &chunked_core::ObjectDigest) -> String {
    digest.to_hex().chars().take(12).collect()
}

//! `diff`: what a node that holds one image would fetch for another.

use anyhow::Result;
use chunked_convert::{Location, Way};
use chunked_plan::Costs;
use chunked_registry::{Client, Platform};
use indicatif::HumanBytes;

use super::convert::short;
use crate::args::Diff;
use crate::settings;

pub(crate) async fn run(command: Diff) -> Result<()> {
    let settings = settings::for_images(&command.registries)?;
    let held = Location::guess(&command.held)?;
    let wanted = Location::guess(&command.wanted)?;
    let platform: Platform = command.platform.clone().unwrap_or_default();
    let client = Client::new(settings::client(&settings))?;
    let costs = Costs::default();
    let diff = tokio::select! {
        diff = chunked_convert::diff(&client, &held, &wanted, &platform, &costs) => diff?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted"),
    };
    if command.json {
        println!("{}", serde_json::to_string(&diff)?);
        return Ok(());
    }
    println!("{} for a node that holds {}", diff.wanted, diff.held);
    for layer in &diff.layers {
        let how = match (&layer.way, &layer.plan) {
            (Way::Present, _) => "it has this layer".to_owned(),
            (Way::Partial, Some(plan)) => plan.to_string(),
            _ => format!("whole: {}", layer.reason.as_deref().unwrap_or_default()),
        };
        println!(
            "  {}  {:>11} of {:>11}  {how}",
            short(&layer.blob),
            HumanBytes(layer.fetch).to_string(),
            HumanBytes(layer.size).to_string()
        );
    }
    for note in &diff.notes {
        println!("note: {note}");
    }
    println!(
        "fetch {} of {}; without reuse of files it would be {}",
        HumanBytes(diff.fetch),
        HumanBytes(diff.size),
        HumanBytes(diff.missing_layers)
    );
    Ok(())
}

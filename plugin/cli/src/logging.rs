//! Logs: to stderr, above any progress bars, as text or JSON lines.

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::screen;

/// Starts logging; `quiet` replaces the configured level, for commands whose output is for a person.
pub(crate) fn start(settings: &chunked_config::Log, quiet: Option<&str>) -> Result<()> {
    let level = quiet.map_or_else(|| settings.level.to_string(), str::to_owned);
    // Other crates only matter when something is wrong with them.
    let filter = EnvFilter::try_new(format!("warn,{}", ours(&level))).context("log level")?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| screen::Above);
    match settings.format {
        chunked_config::LogFormat::Json => builder.json().init(),
        chunked_config::LogFormat::Text => builder.with_ansi(screen::has_colour()).init(),
    }
    Ok(())
}

fn ours(level: &str) -> String {
    let crates = [
        "snapshotter",
        "assemble",
        "convert",
        "core",
        "cri",
        "discover",
        "engine",
        "fetch",
        "history",
        "host",
        "linux",
        "plan",
        "registry",
        "snapshot",
        "store",
        "tar",
        "toc",
        "verify",
    ];
    crates.map(|name| format!("chunked_{name}={level}")).join(",")
}

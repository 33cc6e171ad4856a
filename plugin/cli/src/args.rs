//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Pulls only the bytes of container images that this node does not have yet, proves every layer against the
/// image config, and leaves plain overlayfs directories behind.
#[derive(Debug, Parser)]
#[command(
    version,
    arg_required_else_help = true,
    after_help = "\
Try it without containerd:
  chunked-snapshotter pull 127.0.0.1:5000/app:v1 --root /tmp/store --to /tmp/rootfs
Run it for containerd (see config/ for what goes into containerd's config.toml):
  chunked-snapshotter serve --config /etc/chunked-snapshotter/config.toml"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon that containerd uses as a proxy snapshotter.
    Serve(Serve),
    /// Pull an image without containerd, and write its root file system.
    Pull(Pull),
    /// Show what a running daemon does and holds.
    Status(Status),
    /// Check a configuration file, or print the default one.
    Config(Config),
}

/// Options that name the configuration and override parts of it.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Configuration file. Without it, /etc/chunked-snapshotter/config.toml is read if it exists.
    #[arg(long, value_name = "FILE", env = "CHUNKED_SNAPSHOTTER_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the layer store and its databases; overrides `root`.
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Least severe log messages to show: error, warn, info, debug or trace; overrides `log.level`.
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Unix socket to serve on, for root only; overrides `address`.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<PathBuf>,
    /// containerd's own socket, for reading manifests and configs; overrides `containerd_address`.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) containerd_address: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Image: `[host[:port]/]repository[:tag][@digest]`.
    pub(crate) image: String,
    /// Write the image's root file system into this new or empty directory. Without it the layers are only put
    /// into the store.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Print one JSON object about the pull instead of text and progress bars.
    #[arg(long)]
    pub(crate) json: bool,
    /// Platform to choose from an index, as os/architecture[/variant]. Default: this machine's.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Speak plain HTTP to this registry host, too (loopback hosts always do).
    #[arg(long, value_name = "HOST")]
    pub(crate) plain_http: Vec<String>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Socket of the daemon; overrides `address`.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Config {
    /// File to check. Without it, the default configuration is printed, every key with its explanation.
    pub(crate) file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn serve_takes_its_overrides() {
        let arguments = Arguments::try_parse_from([
            "chunked-snapshotter",
            "serve",
            "--config",
            "c",
            "--root",
            "r",
            "--address",
            "a",
            "--containerd-address",
            "d",
        ]);
        assert!(matches!(arguments.unwrap().command, Command::Serve(Serve { address: Some(_), .. })));
    }
}

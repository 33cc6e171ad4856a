//! What can be typed.

mod image;

use std::path::PathBuf;

use chunked_registry::Platform;
use clap::{Args, Parser, Subcommand};

pub(crate) use image::{Convert, Diff, Inspect};

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
    /// Pull an image before containerd asks for it, or without containerd.
    Pull(Pull),
    /// Pulls that a running daemon does because somebody asked it to.
    #[command(subcommand)]
    Pulls(Pulls),
    /// Show what a running daemon does and holds.
    Status(Status),
    /// List the pulls of images, the latest last: how much was fetched, how much was here.
    History(StoreAccess),
    /// Say how each layer of an image came, and why.
    Explain(Explain),
    /// Drop layers that no snapshot needs.
    Prune(Prune),
    /// Look into the layer store.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Write an image anew as zstd:chunked, so that its updates can be pulled in parts.
    Convert(Box<Convert>),
    /// Show what an image's layers, or one blob, are made of; check them.
    Inspect(Inspect),
    /// Show what a node that holds image A would fetch for image B.
    Diff(Diff),
    /// Say what is wrong with the way containerd, this snapshotter and the machine are set up, and what to do.
    Doctor(Doctor),
    /// Put the images that containerd has into this snapshotter, so that a node can be switched over.
    Adopt(Adopt),
    /// Give images back to another snapshotter of containerd, so that a node can be switched back.
    Release(Release),
    /// Files of the host itself as a source: index them, or show what is indexed.
    #[command(subcommand)]
    Host(Host),
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

/// Options of commands that speak to registries.
#[derive(Debug, Args)]
pub(crate) struct Registries {
    /// Speak plain HTTP to this registry host, too (loopback hosts always do).
    #[arg(long, value_name = "HOST")]
    pub(crate) plain_http: Vec<String>,
    #[command(flatten)]
    pub(crate) common: Common,
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

/// Puts an image's layers into the store.
///
/// A daemon that answers on the configured socket does it, so that containerd finds every layer ready; without one, or
/// with `--root` of another store, this process does it.
#[derive(Debug, Args)]
#[command(after_help = "\
  chunked-snapshotter pull registry.example/app:v1 --creds-stdin < credentials
  chunked-snapshotter pull registry.example/app:v1 --root /tmp/store --to /tmp/rootfs")]
pub(crate) struct Pull {
    /// Image: `[host[:port]/]repository[:tag][@digest]`.
    pub(crate) image: String,
    /// Write the image's root file system into this new or empty directory. Without it the layers are only put
    /// into the store.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: Option<PathBuf>,
    /// Socket of the daemon; overrides `address`.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<PathBuf>,
    /// Read credentials for the image's registry from standard input: `user:password`, or a JSON object with `username` and
    /// `password` or with `identitytoken`. They are used for this pull alone, and sent to that registry alone.
    #[arg(long)]
    pub(crate) creds_stdin: bool,
    /// Print one JSON object about the pull instead of text and progress bars.
    #[arg(long)]
    pub(crate) json: bool,
    /// Platform to choose from an index, as os/architecture[/variant]. Default: this machine's.
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<Platform>,
    /// Bring the index of the host's files up to date first, as `host index` does. Without it, what is indexed is
    /// used.
    #[arg(long)]
    pub(crate) index_host: bool,
    #[command(flatten)]
    pub(crate) registries: Registries,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Pulls {
    /// List the pulls that run or wait for their turn, oldest first.
    Ls(DaemonAccess),
    /// End a pull for all who wait for it. What is complete stays in the store.
    Cancel {
        /// As `ls` shows it.
        number: u64,
        #[command(flatten)]
        access: DaemonAccess,
    },
    /// Print pulls as they begin and end, until interrupted.
    Watch(DaemonAccess),
    /// List the images whose layers are all in the store.
    Images(DaemonAccess),
}

/// Where the daemon is.
#[derive(Debug, Args)]
pub(crate) struct DaemonAccess {
    /// Socket of the daemon; overrides `address`.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Where the store is: behind a running daemon, or, when none answers, below `--root`.
#[derive(Debug, Args)]
pub(crate) struct StoreAccess {
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
pub(crate) struct Status {
    /// Go on showing the layers that are being pulled, with bars; ends with Ctrl-C. With --json: an object each second.
    #[arg(long)]
    pub(crate) watch: bool,
    #[command(flatten)]
    pub(crate) access: StoreAccess,
}

/// Shows the latest pull of the image: for each layer whether it was here, came by ranges or as a whole and why, what the
/// node had of it, and what kept that from being used.
#[derive(Debug, Args)]
#[command(after_help = "\
The daemon remembers pulls: see [history] in the configuration.
  chunked-snapshotter explain registry.example/app:v2")]
pub(crate) struct Explain {
    /// Image, as it was pulled: `[host[:port]/]repository[:tag][@digest]`.
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) access: StoreAccess,
}

/// Without an option, layers go only as far as the limits in `[store]` say, as after a garbage collection of
/// containerd.
#[derive(Debug, Args)]
#[command(after_help = "\
Layers that a snapshot needs, or that a pull is using, always stay.
  chunked-snapshotter prune --to 2GiB")]
pub(crate) struct Prune {
    /// Drop every unused layer, however recently it was used, the trees of broken pulls, and what a lost state database left.
    #[arg(long, conflicts_with = "to")]
    pub(crate) all: bool,
    /// Drop the least recently used ones until the unused layers have at most this many bytes: a number, or one with
    /// a unit like 2GiB.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    pub(crate) to: Option<u64>,
    #[command(flatten)]
    pub(crate) access: StoreAccess,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// List the layers, least recently used first: the order in which unused ones go.
    ///
    /// OWN is what came to the disk with a layer, SIZE what its tree occupies: blocks that it shares with older
    /// layers count in those.
    Ls(StoreLs),
    /// Check that databases, directories and files agree.
    ///
    /// Exits with 1 if a problem is left.
    Verify(StoreVerify),
}

#[derive(Debug, Args)]
pub(crate) struct StoreLs {
    #[command(flatten)]
    pub(crate) access: StoreAccess,
}

#[derive(Debug, Args)]
pub(crate) struct StoreVerify {
    /// Read every file of every layer, and compare its digest with the one it had when its layer was proven.
    #[arg(long)]
    pub(crate) contents: bool,
    /// Put right what can be: stale or missing rows of the index, layers without a directory, and damaged layers that
    /// no snapshot needs. Damaged layers in use give no files to others any more.
    #[arg(long)]
    pub(crate) repair: bool,
    #[command(flatten)]
    pub(crate) access: StoreAccess,
}

/// Looks at containerd's configuration and process, our configuration and daemon, filesystem and kernel, and prepares a test
/// snapshot through containerd, which it removes. Without --fix nothing else is changed.
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 1 if something is wrong; hints alone are no failure.
  chunked-snapshotter doctor --image registry.example/app:v1")]
pub(crate) struct Doctor {
    /// Ask the registry for this image, too, with the credentials that pulls have.
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// containerd's configuration file. Default: what the containerd that runs was started with.
    #[arg(long, value_name = "FILE")]
    pub(crate) containerd_config: Option<PathBuf>,
    /// containerd's program, which is asked to print that configuration. Default: the one that runs.
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) containerd: Option<PathBuf>,
    /// containerd's own socket; overrides `containerd_address`.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) containerd_address: Option<PathBuf>,
    /// Socket of the daemon; overrides `address`.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) address: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    /// Show the files that would put right what is wrong, and write them when the question is answered with "yes":
    /// a file that containerd's configuration imports, and our own configuration.
    #[arg(long, conflicts_with = "json")]
    pub(crate) fix: bool,
    /// With --fix: do not ask.
    #[arg(long, requires = "fix")]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) registries: Registries,
}

/// Images of containerd, and where it is.
#[derive(Debug, Args)]
pub(crate) struct Moving {
    /// Only images of this namespace of containerd; may be given several times. Default: all namespaces.
    #[arg(long = "namespace", value_name = "NAME")]
    pub(crate) namespaces: Vec<String>,
    /// Only this image, as `[host[:port]/]repository[:tag]`; may be given several times. Default: all images.
    #[arg(long = "image", value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    /// This snapshotter's name in containerd's configuration.
    #[arg(long, value_name = "NAME", default_value = "chunked")]
    pub(crate) snapshotter: String,
    /// containerd's own socket; overrides `containerd_address`.
    #[arg(long, value_name = "SOCKET")]
    pub(crate) containerd_address: Option<PathBuf>,
    /// Only show which images are meant.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print one JSON object instead of a line for each image.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Has containerd prepare every layer of its images in this snapshotter, as a pull would, and labels the images so that the
/// layers stay with them. Layers come from the blobs in containerd's content store; only what is not there is pulled.
///
/// Nothing is taken from the snapshotter that has the images now, and running containers notice nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 1 if an image could not be adopted; it may be run again. See docs/switching.md.
  chunked-snapshotter adopt --dry-run
  chunked-snapshotter adopt --namespace k8s.io")]
pub(crate) struct Adopt {
    /// Images that no snapshotter has, too, such as those that were only fetched.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) moving: Moving,
}

/// Fetches the layers' blobs that containerd's content store lacks, has containerd unpack them into the other snapshotter, and
/// removes the label that keeps the layers here. Containers that run on this snapshotter keep their layers.
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 1 if an image could not be released; it may be run again. See docs/switching.md.
  chunked-snapshotter release --dry-run
  chunked-snapshotter release --to overlayfs --namespace k8s.io")]
pub(crate) struct Release {
    /// The snapshotter that gets the images.
    #[arg(long, value_name = "NAME", default_value = "overlayfs")]
    pub(crate) to: String,
    /// Leave the images here as well.
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) moving: Moving,
}

fn size(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().or_else(|| chunked_config::parse_size(text));
    number.ok_or_else(|| {
        "write a whole number of bytes, or one with a unit: B, KiB, MiB, GiB or TiB".to_owned()
    })
}

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Look through the host's files now, as fast as it goes, and index what is new or has changed.
    ///
    /// Which files is said in section [host] of the configuration: by default those below /usr that a package
    /// manager installed. Pulls then take such files instead of fetching them. The daemon does the same in the
    /// background; both may be interrupted and go on where they were.
    Index(HostIndex),
    /// Show what is indexed, and how far a pass is that runs now. Needs no daemon.
    Status(HostStatus),
}

#[derive(Debug, Args)]
pub(crate) struct HostIndex {
    /// Print one JSON object about the pass instead of text and a progress bar.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct HostStatus {
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
    /// Check what `serve` would read: the file that CHUNKED_SNAPSHOTTER_CONFIG names, else
    /// /etc/chunked-snapshotter/config.toml if it exists.
    #[arg(long, conflicts_with = "file")]
    pub(crate) check: bool,
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
    fn sizes_are_bytes_or_have_a_unit() {
        let parse = |to| Arguments::try_parse_from(["chunked-snapshotter", "prune", "--to", to]);
        for (text, bytes) in [("0", 0), ("123", 123), ("2GiB", 2 << 30)] {
            let Command::Prune(prune) = parse(text).unwrap().command else { panic!("{text}") };
            assert_eq!(prune.to, Some(bytes));
        }
        assert!(parse("2GB").is_err() && parse("-1").is_err());
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

//! What was gathered, before anything is judged.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use toml::Table;

use crate::config::{ContainerdConfig, Version};

/// Everything that the checks look at.
#[derive(Debug, Clone)]
pub struct Facts {
    /// This snapshotter.
    pub ours: Ours,
    /// containerd, or why nothing of it is known.
    pub containerd: Result<Containerd, String>,
    /// The machine.
    pub machine: Machine,
    /// nerdctl's configuration, if there is one.
    pub nerdctl: Option<Nerdctl>,
    /// What a Prepare through containerd gave; `None` when it was not tried.
    pub prepared: Option<Result<Prepared, String>>,
    /// What asking for an image gave: a sentence about it, or why it failed. `None` when none was named.
    pub image: Option<Result<String, String>>,
}

/// This snapshotter: its configuration, and the daemon that runs.
#[derive(Debug, Clone)]
pub struct Ours {
    /// The version of this program.
    pub version: String,
    /// The configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// What is wrong with it; the other settings are defaults then.
    pub mistake: Option<String>,
    /// When the file was last changed.
    pub changed: Option<SystemTime>,
    /// `root`.
    pub root: PathBuf,
    /// `address`.
    pub address: PathBuf,
    /// `containerd_address`.
    pub containerd_address: PathBuf,
    /// `registry.config_path`.
    pub config_path: Vec<PathBuf>,
    /// `store.keep_free_percent`.
    pub keep_free_percent: u64,
    /// Credential helpers that docker's configuration names, and whether each is in a directory of the daemon's `PATH`.
    pub helpers: BTreeMap<String, bool>,
    /// The daemon, or why it does not answer.
    pub daemon: Result<Daemon, String>,
}

/// A running daemon of ours.
#[derive(Debug, Clone)]
pub struct Daemon {
    /// Its version.
    pub version: String,
    /// Its store.
    pub root: PathBuf,
    /// Its process, if that could be found.
    pub process: Option<Process>,
}

/// A running process.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Variables that matter here: names of proxies, `HOME`, `PATH`. Values of proxies may hold secrets: never shown.
    pub environment: BTreeMap<String, String>,
    /// When it began.
    pub started: Option<SystemTime>,
}

/// containerd as it runs and as it is configured.
#[derive(Debug, Clone)]
pub struct Containerd {
    /// Its version.
    pub version: Version,
    /// Why it does not answer on `containerd_address`, if it does not.
    pub silent: Option<String>,
    /// Its configuration file, if there is one.
    pub file: Option<PathBuf>,
    /// The newest change of that file and of those that it imports.
    pub changed: Option<SystemTime>,
    /// The file and those that it imports, as they are written.
    pub written: Vec<(PathBuf, Table)>,
    /// What `containerd config dump` says.
    pub config: Result<ContainerdConfig, String>,
    /// Its process, if that could be found.
    pub process: Option<Process>,
    /// Where the directory that containerd 1.6 reports as our image filesystem leads, if it exists.
    pub image_fs: Option<PathBuf>,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The kernel's release: "6.1.0-18-amd64".
    pub kernel: String,
    /// Whether the kernel lists overlayfs.
    pub overlay: bool,
    /// The processor, as containerd calls it: "amd64".
    pub architecture: String,
    /// Why the root's filesystem cannot hold layers, if it cannot.
    pub unsuitable: Option<String>,
    /// SELinux, if it is there.
    pub selinux: Option<SeLinux>,
    /// The time.
    pub now: SystemTime,
    /// A time that is over: when this program was installed.
    pub past: SystemTime,
    /// Room on the root's filesystem, if that could be read.
    pub space: Option<Space>,
    /// Directories of k3s or RKE2 that exist.
    pub k3s: Vec<PathBuf>,
    /// Whether k3s' containerd socket is there.
    pub k3s_socket: bool,
}

/// SELinux' state.
#[derive(Debug, Clone)]
pub struct SeLinux {
    /// Whether it refuses, or only logs.
    pub enforcing: bool,
    /// The label of our root directory.
    pub label: Option<String>,
}

/// Room on a filesystem.
#[derive(Debug, Clone, Copy)]
pub struct Space {
    /// Free bytes in per cent.
    pub bytes: u64,
    /// Free inodes in per cent.
    pub inodes: u64,
}

/// nerdctl's configuration.
#[derive(Debug, Clone)]
pub struct Nerdctl {
    /// Its file.
    pub file: PathBuf,
    /// `snapshotter`.
    pub snapshotter: Option<String>,
}

/// What a Prepare gave.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The kind of mount.
    pub kind: String,
    /// Where its directory is.
    pub source: PathBuf,
    /// Whether that is there.
    pub exists: bool,
}

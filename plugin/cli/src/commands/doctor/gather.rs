//! Gathers what the checks look at. What cannot be read is unknown, or an error in its place; nothing here judges.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use chunked_config::{DEFAULT_PATH, Settings};
use chunked_core::{Causes, labels};
use chunked_doctor::{Daemon, Facts, Machine, Nerdctl, Ours, Process, SeLinux, Space};
use chunked_proto::chunked::control::v1::StatusRequest;
use chunked_registry::{Client, Platform, Reference};

use super::{containerd, process};
use crate::args::Doctor;
use crate::{settings, store_access};

/// How long a daemon may take for an answer that it has at hand.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where k3s and RKE2 keep containerd's configuration.
const K3S: [&str; 2] =
    ["/var/lib/rancher/k3s/agent/etc/containerd", "/var/lib/rancher/rke2/agent/etc/containerd"];
const K3S_SOCKET: &str = "/run/k3s/containerd/containerd.sock";
const NERDCTL: &str = "/etc/nerdctl/nerdctl.toml";

pub(super) async fn facts(command: &Doctor) -> Result<Facts> {
    let (mut settings, mistake) = match settings::for_images(&command.registries) {
        Ok(settings) => (settings, None),
        Err(error) => (Settings::default(), Some(Causes(error.as_ref()).to_string())),
    };
    if let Some(address) = &command.address {
        settings.address = settings::absolute(address)?;
    }
    if let Some(address) = &command.containerd_address {
        settings.containerd_address = settings::absolute(address)?;
    }
    let ours = ours(command, &settings, mistake).await;
    let containerd = containerd::look(command, &settings).await;
    let prepared = match &containerd {
        Ok(containerd) => containerd::prepare(containerd, &settings).await,
        Err(_) => None,
    };
    let image = match &command.image {
        Some(image) => Some(ask(image, &settings).await),
        None => None,
    };
    let root = settings.root.clone();
    let machine = tokio::task::spawn_blocking(move || machine(&root)).await?;
    Ok(Facts { ours, containerd, machine, nerdctl: nerdctl(), prepared, image })
}

async fn ours(command: &Doctor, settings: &Settings, mistake: Option<String>) -> Ours {
    let usual = || Some(PathBuf::from(DEFAULT_PATH)).filter(|path| path.exists());
    let file = command.registries.common.config.clone().or_else(usual);
    let daemon = daemon(settings).await;
    let environment =
        daemon.as_ref().ok().and_then(|daemon: &Daemon| Some(daemon.process.as_ref()?.environment.clone()));
    Ours {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        mistake,
        changed: file.as_deref().and_then(changed),
        file,
        root: settings.root.canonicalize().unwrap_or_else(|_| settings.root.clone()),
        address: settings.address.clone(),
        containerd_address: settings.containerd_address.clone(),
        config_path: settings.registry.config_path.clone(),
        keep_free_percent: settings.store.keep_free_percent as u64,
        helpers: helpers(settings, environment.as_ref()),
        daemon,
    }
}

/// When a file was last changed.
pub(super) fn changed(file: &Path) -> Option<SystemTime> {
    file.metadata().ok()?.modified().ok()
}

async fn daemon(settings: &Settings) -> Result<Daemon, String> {
    let answer = async {
        let mut client = store_access::connect(&settings.address).await?;
        anyhow::Ok(client.status(StatusRequest {}).await?.into_inner())
    };
    let status = match tokio::time::timeout(PATIENCE, answer).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(Causes(error.as_ref()).to_string()),
        Err(_) => return Err(format!("no answer within {} s", PATIENCE.as_secs())),
    };
    let process = process::behind(&settings.address).ok();
    Ok(Daemon { version: status.version, root: status.root.into(), process })
}

/// The credential helpers that docker's configuration names; whether the daemon, or else this process, finds them.
fn helpers(settings: &Settings, environment: Option<&BTreeMap<String, String>>) -> BTreeMap<String, bool> {
    let Some(file) = &settings.registry.docker_config else { return BTreeMap::new() };
    let path = match environment {
        Some(environment) => environment.get("PATH").cloned().unwrap_or_default(),
        None => std::env::var("PATH").unwrap_or_default(),
    };
    let found = |name: &str| {
        std::env::split_paths(&path).any(|dir| dir.join(format!("docker-credential-{name}")).is_file())
    };
    chunked_registry::credential_helpers(file).into_iter().map(|name| (name.clone(), found(&name))).collect()
}

fn machine(root: &Path) -> Machine {
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(root);
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let now = SystemTime::now();
    Machine {
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        overlay: read("/proc/filesystems")
            .lines()
            .any(|line| line.split_whitespace().last() == Some("overlay")),
        architecture: architecture.to_owned(),
        unsuitable: chunked_store::try_root(root).err().map(|error| Causes(&error).to_string()),
        selinux: selinux(there),
        now,
        past: std::env::current_exe().ok().and_then(|file| changed(&file)).unwrap_or(now),
        space: space(there),
        k3s: K3S.iter().map(PathBuf::from).filter(|path| path.exists()).collect(),
        k3s_socket: Path::new(K3S_SOCKET).exists(),
    }
}

fn selinux(root: &Path) -> Option<SeLinux> {
    let enforcing = std::fs::read_to_string("/sys/fs/selinux/enforce").ok()?;
    let mut buffer = [0; 256];
    let length = rustix::fs::getxattr(root, "security.selinux", &mut buffer[..]).ok();
    let label = length
        .and_then(|length| buffer.get(..length))
        .map(|label| String::from_utf8_lossy(label).trim_end_matches('\0').to_owned());
    Some(SeLinux { enforcing: enforcing.trim() == "1", label })
}

fn space(root: &Path) -> Option<Space> {
    let figures = rustix::fs::statvfs(root).ok()?;
    let percent = |free: u64, all: u64| {
        let part = (u128::from(free) * 100).checked_div(u128::from(all));
        part.and_then(|part| u64::try_from(part).ok()).unwrap_or(100)
    };
    Some(Space {
        bytes: percent(figures.f_bavail, figures.f_blocks),
        // Filesystems that have no fixed number of inodes say 0.
        inodes: percent(figures.f_favail, figures.f_files),
    })
}

fn nerdctl() -> Option<Nerdctl> {
    let file = PathBuf::from(std::env::var_os("NERDCTL_TOML").unwrap_or_else(|| NERDCTL.into()));
    let table: toml::Table = std::fs::read_to_string(&file).ok()?.parse().ok()?;
    let snapshotter = table.get("snapshotter").and_then(toml::Value::as_str).map(str::to_owned);
    Some(Nerdctl { file, snapshotter })
}

/// Asks a registry for an image's documents, as a pull does.
async fn ask(image: &str, settings: &Settings) -> Result<String, String> {
    let said = async {
        let reference: Reference = image.parse()?;
        let client = Client::new(settings::client(settings))?;
        let image = client.pull_image(&reference, &Platform::default()).await?;
        let chunked =
            image.layers.iter().filter(|layer| layer.annotations.contains_key(labels::ZSTD_CHUNKED_CHECKSUM));
        anyhow::Ok(format!(
            "{reference}: {} of {} layers are zstd:chunked and can come in parts",
            chunked.count(),
            image.layers.len()
        ))
    };
    said.await.map_err(|error| format!("{image}: {}", Causes(error.as_ref())))
}

/// Variables of a process that matter here.
pub(super) fn environment(pid: u32) -> BTreeMap<String, String> {
    const NAMES: [&str; 8] =
        ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "HOME", "PATH"];
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, _)| NAMES.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// A process' facts.
pub(super) fn process_of(pid: u32) -> Process {
    Process { pid, environment: environment(pid), started: process::started(pid) }
}

//! containerd: its answers, its process, and its configuration.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use chunked_client::Session;
use chunked_config::Settings;
use chunked_core::Causes;
use chunked_discover::Containerd as Socket;
use chunked_doctor::{Containerd, ContainerdConfig, Prepared, Version};
use chunked_proto::containerd::services::namespaces::v1 as namespaces;
use chunked_proto::containerd::services::namespaces::v1::namespaces_client::NamespacesClient;
use chunked_proto::containerd::services::snapshots::v1 as snapshots;
use chunked_proto::containerd::services::snapshots::v1::snapshots_client::SnapshotsClient;
use tokio::process::Command;
use toml::Table;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::{gather, process};
use crate::args::Doctor;

const DEFAULT_CONFIG: &str = "/etc/containerd/config.toml";
/// How long `containerd config dump` may take, and a call.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the test snapshot stays if we die.
const LEASE: Duration = Duration::from_secs(60);
/// Longest configuration file read, in bytes.
const MAX_FILE: u64 = 4 << 20;
/// Most files that are looked at, main file and imports.
const MAX_FILES: usize = 64;

/// Everything about containerd, or why nothing is known.
pub(super) async fn look(command: &Doctor, settings: &Settings) -> Result<Containerd, String> {
    let address = &settings.containerd_address;
    let answer = Socket::new(address).version().await;
    let process = process::behind(address).ok();
    let program = command
        .containerd
        .clone()
        .or_else(|| Some(process.as_ref()?.pid).map(|pid| PathBuf::from(format!("/proc/{pid}/exe"))));
    let (silent, version) = match answer {
        Ok(version) => (None, Version::parse(&version)),
        Err(error) => {
            let error = format!("containerd does not answer on {}: {}", address.display(), Causes(&error));
            let Some(program) = &program else { return Err(error) };
            (Some(error), version_of(program).await)
        }
    };
    let version = version.ok_or("containerd's version is not known")?;
    let named = process.as_ref().and_then(|process| process::option(process.pid, &["-c", "--config"]));
    let file = command.containerd_config.clone().or(named).unwrap_or_else(|| DEFAULT_CONFIG.into());
    let config = match &program {
        Some(program) => dump(program, &file).await,
        None => Err("its program is not known".to_owned()),
    };
    let config = config.map(ContainerdConfig::new);
    let imports = config.as_ref().map(ContainerdConfig::imports).unwrap_or_default();
    let written = written(&file, &imports);
    let image_fs = config.as_ref().ok().and_then(|config| image_fs(config, &settings.address));
    Ok(Containerd {
        version,
        silent,
        changed: written.iter().filter_map(|(file, _)| gather::changed(file)).max(),
        file: Some(file).filter(|file| file.exists()),
        written,
        config,
        process,
        image_fs,
    })
}

/// The directory that containerd 1.6 takes for the image filesystem, links followed.
fn image_fs(config: &ContainerdConfig, address: &Path) -> Option<PathBuf> {
    let (name, _) = config.plugin(address)?;
    config.root().join(format!("io.containerd.snapshotter.v1.{name}")).canonicalize().ok()
}

async fn version_of(program: &Path) -> Option<Version> {
    let said = said(program, &["--version".as_ref()]).await.ok()?;
    said.split_whitespace().find_map(Version::parse)
}

/// What `containerd config dump` prints: defaults, imports and conversions in it.
async fn dump(program: &Path, file: &Path) -> Result<Table, String> {
    let said = said(program, &["--config".as_ref(), file, "config".as_ref(), "dump".as_ref()]).await?;
    said.parse().map_err(|error: toml::de::Error| error.message().to_owned())
}

async fn said(program: &Path, arguments: &[&Path]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let done = tokio::time::timeout(PATIENCE, command.output()).await;
    let done =
        done.map_err(|_| format!("{} took longer than {} s", program.display(), PATIENCE.as_secs()))?;
    let done = done.map_err(|error| format!("{} could not be run: {error}", program.display()))?;
    if !done.status.success() {
        let text = String::from_utf8_lossy(&done.stderr);
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        return Err(last.to_owned());
    }
    String::from_utf8(done.stdout).map_err(|_| "it is not UTF-8".to_owned())
}

/// The file and those that it imports, as they are written; those that can be read. `imports` are containerd's own words for
/// what it imports, its default in it.
fn written(file: &Path, imports: &[&str]) -> Vec<(PathBuf, Table)> {
    let mut found: Vec<(PathBuf, Table)> = Vec::new();
    let absolute = imports.iter().map(Path::new).filter(|path| path.is_absolute());
    let mut pending: Vec<PathBuf> = absolute.flat_map(matching).collect();
    pending.push(file.to_owned());
    while let Some(file) = pending.pop() {
        if found.len() == MAX_FILES || found.iter().any(|(path, _)| *path == file) {
            continue;
        }
        let Some(table) = read(&file) else { continue };
        let imports = table.get("imports").and_then(toml::Value::as_array).into_iter().flatten();
        for import in imports.filter_map(toml::Value::as_str) {
            let parent = file.parent().unwrap_or(Path::new("/"));
            pending.extend(matching(&parent.join(import)));
        }
        found.push((file, table));
    }
    found
}

fn read(file: &Path) -> Option<Table> {
    if file.metadata().ok()?.len() > MAX_FILE {
        return None;
    }
    std::fs::read_to_string(file).ok()?.parse().ok()
}

/// The files of a pattern with one asterisk in the last part, as most are; else the path itself.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (Some((begin, end)), Some(directory)) = (name.split_once('*'), pattern.parent()) else {
        return vec![pattern.to_owned()];
    };
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.len() >= begin.len() + end.len() && name.starts_with(begin) && name.ends_with(end)
    };
    entries.map(|entry| entry.path()).filter(fits).take(MAX_FILES).collect()
}

/// Prepares a snapshot through containerd and removes it. `None` when it is known that this cannot work.
pub(super) async fn prepare(
    containerd: &Containerd,
    settings: &Settings,
) -> Option<Result<Prepared, String>> {
    if containerd.silent.is_some() {
        return None;
    }
    let (name, _) = containerd.config.as_ref().ok()?.plugin(&settings.address)?;
    let tried = tokio::time::timeout(PATIENCE, try_prepare(&settings.containerd_address, name)).await;
    Some(match tried {
        Ok(Ok(prepared)) => Ok(prepared),
        Ok(Err(error)) => Err(Causes(error.as_ref()).to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    })
}

async fn try_prepare(address: &Path, snapshotter: &str) -> anyhow::Result<Prepared> {
    let channel = Endpoint::from_shared(format!("unix://{}", address.display()))?.connect().await?;
    let namespace = namespace(channel.clone()).await?;
    // A collection of containerd, such as follows its start, would take the snapshot away in between.
    let session = Session::new(channel.clone(), &namespace)?.with_lease(LEASE).await?;
    let prepared = prepare_and_remove(channel, &session, snapshotter).await;
    session.end_lease().await?;
    prepared?.ok_or_else(|| anyhow::anyhow!("the snapshot has no mounts"))
}

async fn prepare_and_remove(
    channel: Channel,
    session: &Session,
    snapshotter: &str,
) -> anyhow::Result<Option<Prepared>> {
    let mut client = SnapshotsClient::new(channel);
    let key = format!("chunked-doctor-{}", std::process::id());
    let prepare = snapshots::PrepareSnapshotRequest {
        snapshotter: snapshotter.to_owned(),
        key: key.clone(),
        ..snapshots::PrepareSnapshotRequest::default()
    };
    let mounts = client.prepare(session.request(prepare)).await.map_err(told)?.into_inner().mounts;
    let mount = mounts.into_iter().next();
    let prepared = mount.map(|mount| Prepared {
        exists: Path::new(&mount.source).is_dir(),
        source: mount.source.into(),
        kind: mount.r#type,
    });
    let remove = snapshots::RemoveSnapshotRequest { snapshotter: snapshotter.to_owned(), key };
    client.remove(session.request(remove)).await.map_err(told)?;
    Ok(prepared)
}

/// A namespace that exists, because asking in another one would make it.
async fn namespace(channel: Channel) -> anyhow::Result<String> {
    let mut client = NamespacesClient::new(channel);
    let list = client.list(namespaces::ListNamespacesRequest::default());
    let names = list.await.map_err(told)?.into_inner().namespaces;
    Ok(names.into_iter().map(|namespace| namespace.name).next().unwrap_or_else(|| "default".to_owned()))
}

#[allow(clippy::needless_pass_by_value, reason = "the signature map_err wants")]
fn told(status: Status) -> anyhow::Error {
    anyhow::anyhow!("{}", status.message())
}

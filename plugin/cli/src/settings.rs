//! Configuration file and command line to one set of settings, and from there to each stage's options.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use chunked_config::{DEFAULT_PATH, Durability, HostPolicy, ReuseLayers, Settings};
use chunked_engine::{Domain, Domains, EngineOptions, Layers};
use chunked_fetch::{FetchOptions, Retry};
use chunked_host::{HostIndex, HostOptions, Mounts, Policy, Schedule};
use chunked_plan::{Costs, Prefer};
use chunked_registry::ClientOptions;
use chunked_snapshot::Fallback;
use chunked_store::{Keep, StoreOptions};

use crate::args::{Common, Registries};
use crate::commands::serve::scrub;
use crate::logging;

/// The settings of a command for a person, who is told of warnings and errors unless `--log-level` asks for more; starts
/// logging.
pub(crate) fn for_person(common: &Common) -> Result<Settings> {
    let settings = load(common)?;
    logging::start(&settings.log, if common.log_level.is_some() { None } else { Some("warn") })?;
    Ok(settings)
}

/// As before, of a command that speaks to registries.
pub(crate) fn for_images(registries: &Registries) -> Result<Settings> {
    let mut settings = for_person(&registries.common)?;
    settings.registry.plain_http.extend(registries.plain_http.iter().cloned());
    Ok(settings)
}

/// The settings: the named file, else the default one if it exists, overridden by options.
pub(crate) fn load(common: &Common) -> Result<Settings> {
    let mut settings = match &common.config {
        Some(file) => Settings::load(file)?,
        None if Path::new(DEFAULT_PATH).exists() => Settings::load(Path::new(DEFAULT_PATH))?,
        None => Settings::default(),
    };
    if let Some(root) = &common.root {
        settings.root = absolute(root)?;
    }
    if let Some(level) = &common.log_level {
        settings.log.level = level.parse()?;
    }
    // As every tool that reads these files does.
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(directory) = set("DOCKER_CONFIG") {
        settings.registry.docker_config = Some(directory.join("config.json"));
    }
    let session =
        || set("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")).filter(|f| f.exists());
    // A session's own file, unless the configuration names another.
    let usual = settings.registry.containers_auth == chunked_config::Registry::default().containers_auth;
    if let Some(file) = set("REGISTRY_AUTH_FILE").or_else(|| session().filter(|_| usual)) {
        settings.registry.containers_auth = Some(file);
    }
    Ok(settings)
}

/// `path` from the working directory, without needing to exist.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("path {}", path.display()))
}

pub(crate) fn client(settings: &Settings) -> ClientOptions {
    let registry = &settings.registry;
    let providers = registry.image_credential_provider_config.clone();
    ClientOptions {
        docker_config: registry.docker_config.clone(),
        containers_auth: registry.containers_auth.clone(),
        credential_providers: providers.zip(registry.image_credential_provider_bin_dir.clone()),
        credential_timeout: registry.credential_timeout,
        config_path: registry.config_path.clone(),
        plain_http: registry.plain_http.clone(),
        plain_http_redirects: registry.plain_http_redirects,
        connect_timeout: registry.connect_timeout,
        read_timeout: registry.stall_timeout,
        minimum_rate: settings.pull.minimum_rate,
        connections_per_host: registry.connections_per_host,
        knowledge: Some(settings.root.join("registries.json")),
        connections: registry.connections,
        bytes_in_flight: registry.bytes_in_flight,
        bandwidth: Some(registry.bandwidth).filter(|rate| *rate > 0),
        http2: registry.http2,
        ..ClientOptions::default()
    }
}

pub(crate) fn store(settings: &Settings) -> StoreOptions {
    let sync = settings.pull.durability == Durability::Sync;
    let store = &settings.store;
    let keep = Keep {
        min_age: store.unused_grace,
        bytes: store.unused_bytes,
        inodes: store.unused_inodes as u64,
        free_percent: u8::try_from(store.keep_free_percent).unwrap_or(100),
    };
    StoreOptions { keep, sync }
}

pub(crate) fn engine(settings: &Settings) -> EngineOptions {
    let pull = &settings.pull;
    EngineOptions {
        workers: pull.workers,
        layers_at_once: pull.layers_at_once,
        memory: pull.memory,
        keep_running_after_cancel: pull.keep_running_after_cancel,
        deadline: Some(pull.deadline).filter(|time| !time.is_zero()),
        flush: pull.durability == Durability::Sync,
        fetch: FetchOptions {
            connections: pull.connections_per_layer,
            small_requests: pull.small_requests_per_layer,
            segment: pull.segment,
            ranges_per_request: pull.ranges_per_request,
            retry: Retry {
                attempts: u32::try_from(pull.retries).unwrap_or(u32::MAX),
                pause: pull.retry_pause,
                ..Retry::default()
            },
            ..FetchOptions::default()
        },
        costs: Costs {
            bandwidth: pull.assumed_bandwidth,
            round_trip: pull.assumed_round_trip,
            prefer: match pull.prefer {
                chunked_config::Prefer::Bytes => Prefer::Bytes,
                chunked_config::Prefer::Time => Prefer::Time,
            },
            ..Costs::default()
        },
        domains: domains(settings),
        host: Some(HostIndex::new(&settings.root, host(settings))),
        observer: None,
    }
}

/// When and how fast the daemon reads the store.
pub(crate) fn scrub(settings: &Settings) -> scrub::Schedule {
    scrub::Schedule { interval: settings.store.scrub, rate: settings.store.scrub_rate }
}

/// What becomes of layers that we cannot make.
pub(crate) fn fallback(settings: &Settings) -> Fallback {
    match settings.pull.fallback {
        chunked_config::Fallback::Containerd => Fallback::Containerd,
        chunked_config::Fallback::Fail => Fallback::Fail,
    }
}

/// What of the host may be indexed and used.
pub(crate) fn host(settings: &Settings) -> HostOptions {
    let host = &settings.host;
    HostOptions {
        policy: match host.policy {
            HostPolicy::PackageOwned => Policy::PackageOwned,
            HostPolicy::Any => Policy::Any,
            HostPolicy::Off => Policy::Off,
        },
        roots: host.roots.clone(),
        owners: host.owners.clone(),
        // The configuration knows the same names.
        filesystems: host.filesystems.iter().filter_map(|name| name.parse().ok()).collect(),
        mounts: if host.other_mounts { Mounts::All } else { Mounts::One },
        sizes: (host.min_size, host.max_size),
        ..HostOptions::default()
    }
}

/// When and how fast the daemon indexes the host's files.
pub(crate) fn schedule(settings: &Settings) -> Schedule {
    let host = &settings.host;
    Schedule { delay: host.delay, interval: host.interval, rate: host.rate }
}

fn domains(settings: &Settings) -> Domains {
    let reuse = &settings.reuse;
    let domain = |layers: &ReuseLayers, host_files| Domain {
        layers: match layers {
            ReuseLayers::All => Layers::All,
            ReuseLayers::Own => Layers::Own,
            ReuseLayers::None => Layers::None,
            ReuseLayers::With(others) => Layers::With(others.clone()),
        },
        host_files,
    };
    let rules = reuse.domains.iter().map(|rule| {
        let layers = rule.layers.as_ref().unwrap_or(&reuse.layers);
        (rule.registries.clone(), domain(layers, rule.host_files.unwrap_or(reuse.host_files)))
    });
    Domains { rules: rules.collect(), others: domain(&reuse.layers, reuse.host_files) }
}

pub(crate) fn discover(settings: &Settings) -> chunked_discover::Options {
    // Hosts with their port: containerd's labels lose it. Those that are named for plain HTTP,
    // or have a directory of their own, are known, too.
    let mut known_hosts = settings.registry.known_hosts.clone();
    known_hosts.extend(settings.registry.plain_http.iter().cloned());
    known_hosts.extend(chunked_registry::configured_hosts(&settings.registry.config_path));
    chunked_discover::Options { known_hosts, ..chunked_discover::Options::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_and_the_indexer_agree() {
        let (ours, theirs) = (host(&Settings::default()), HostOptions::default());
        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        let all: Vec<String> =
            chunked_host::Filesystem::names().split(", ").map(ToString::to_string).collect();
        let text = format!("[host]\nfilesystems = {all:?}");
        assert_eq!(host(&Settings::parse(&text, "test").unwrap()).filesystems.len(), all.len());
    }

    #[test]
    fn domains_inherit_what_they_leave_out() {
        let text = "[reuse]\nhost_files = false\n[[reuse.domains]]\nregistries = [\"r\"]\nlayers = \"all\"\n";
        let domains = domains(&Settings::parse(text, "test").unwrap());
        assert_eq!(domains.of("r"), &Domain { layers: Layers::All, host_files: false });
        assert_eq!(domains.of("s"), &Domain { layers: Layers::Own, host_files: false });
    }
}

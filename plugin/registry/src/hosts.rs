//! From a reference's host to where it is served: mirrors, then the registry itself, as containerd's own host
//! configuration (`certs.d/HOST/hosts.toml`) says.
//!
//! The files are read again when they were not looked at for [`LOOK_AGAIN`], so that a change needs no restart.

mod directory;
pub(crate) mod file;
mod health;
mod rewrite;
mod tls;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use url::{Host, Url};

use crate::error::{Failure, RegistryError, Subject};
use crate::reference::split_port;
pub(crate) use directory::hosts_with_port;
pub(crate) use file::Capabilities;
use file::{HostEntry, TlsFiles};
pub(crate) use health::Health;
use rewrite::Rewrite;
pub(crate) use tls::{Tls, describe};

/// How long a host's configuration is used before its files are looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Longest `hosts.toml`, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Hosts whose configuration is kept.
const MAX_HOSTS: usize = 1000;

/// One place that serves a reference's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Whose credentials are used, and what errors name: the reference's host, or a mirror's own `host:port`.
    pub host: String,
    /// Root of the interface, without trailing slash: `https://r.example/v2`.
    pub base: Url,
    /// What `base` is called in what we remember of it.
    pub name: Arc<str>,
    /// The reference's host when this is another one: mirrors of several registries want to know (`ns=`).
    pub mirror_of: Option<String>,
    pub capabilities: Capabilities,
    pub tls: Tls,
    /// Sent with each request to this host, and to no other.
    pub headers: HeaderMap,
    /// Time for a connection to be set up, if the file says.
    pub dial_timeout: Option<Duration>,
    /// What repositories are called here.
    pub rewrite: Rewrite,
}

impl Endpoint {
    /// The reference's host.
    pub(crate) fn registry(&self) -> &str {
        self.mirror_of.as_deref().unwrap_or(&self.host)
    }

    /// The same for another host it sends us to: without its headers and client certificate, and with that host's
    /// certificate checked.
    pub(crate) fn for_others(&self) -> Self {
        Self { headers: HeaderMap::new(), tls: self.tls.for_others(), dial_timeout: None, ..self.clone() }
    }

    /// `BASE/REPOSITORY/SEGMENTS` (distribution spec, "Endpoints"), with containerd's `ns` for mirrors.
    pub(crate) fn url(&self, repository: &str, segments: &[&str], query: &[(&str, &str)]) -> Option<Url> {
        let mut url = self.base.clone();
        url.path_segments_mut().ok()?.pop_if_empty().extend(repository.split('/')).extend(segments);
        if let Some(host) = &self.mirror_of {
            url.query_pairs_mut().append_pair("ns", host);
        }
        for (name, value) in query {
            url.query_pairs_mut().append_pair(name, value);
        }
        Some(url)
    }
}

type Loaded = Result<Arc<[Arc<Endpoint>]>, Arc<(String, String)>>;

/// Where hosts are served, and how well.
#[derive(Debug)]
pub(crate) struct Hosts {
    /// Directories in containerd's `certs.d` layout.
    roots: Vec<PathBuf>,
    /// Hosts, with or without port, that speak plain HTTP.
    plain_http: Vec<String>,
    known: Mutex<HashMap<String, (Instant, Loaded)>>,
    pub(crate) health: Arc<Health>,
}

impl Hosts {
    pub(crate) fn new(roots: Vec<PathBuf>, plain_http: Vec<String>) -> Self {
        Self { roots, plain_http, known: Mutex::default(), health: Arc::default() }
    }

    /// The places that serve `host`'s repositories, in the order to try them; the registry itself is the last.
    /// May be empty.
    ///
    /// # Errors
    ///
    /// A host that is none, or a mistake in its configuration.
    pub(crate) async fn endpoints(
        &self,
        host: &str,
        subject: &Subject,
    ) -> Result<Arc<[Arc<Endpoint>]>, RegistryError> {
        let loaded = match self.recent(host) {
            Some(loaded) => loaded,
            None => {
                let (roots, plain, name) = (self.roots.clone(), self.plain_http.clone(), host.to_owned());
                let loaded = tokio::task::spawn_blocking(move || load(&roots, &name, &plain)).await;
                let loaded = loaded
                    .map_err(|_| subject.request("reading the host's configuration was interrupted"))?;
                let loaded: Loaded = loaded.map(Into::into).map_err(Arc::new);
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                if known.len() >= MAX_HOSTS {
                    known.clear();
                }
                known.insert(host.to_owned(), (Instant::now(), loaded.clone()));
                loaded
            }
        };
        loaded.map_err(|mistake| {
            let (place, reason) = (*mistake).clone();
            subject.error(Failure::HostConfig { place, reason })
        })
    }

    fn recent(&self, host: &str) -> Option<Loaded> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (when, loaded) = known.get(host)?;
        (when.elapsed() < LOOK_AGAIN).then(|| loaded.clone())
    }
}

/// What the files say about `host`; a mistake comes with its place. Blocks on the disk.
fn load(roots: &[PathBuf], host: &str, plain: &[String]) -> Result<Vec<Arc<Endpoint>>, (String, String)> {
    let upstream = upstream(host, plain).map_err(|reason| (format!("host {host:?}"), reason))?;
    let place = |path: &Path| path.display().to_string();
    let found = directory::find(roots, host).map_err(|(path, error)| (place(&path), error.to_string()))?;
    let Some(directory) = found else { return Ok(vec![Arc::new(upstream)]) };
    let mut endpoints = Vec::new();
    for entry in entries(&directory)? {
        let (base, capabilities) = match &entry.root {
            Some(root) => (root.clone(), entry.capabilities),
            // As containerd: keys above the hosts say nothing about a server that is not named.
            None => (upstream.base.clone(), Capabilities::ALL),
        };
        let tls = Tls::load(&entry.tls).map_err(|(path, reason)| (place(&path), reason))?;
        let endpoint = endpoint(host, base, capabilities, tls, &entry);
        // Plain HTTP with TLS settings, on a port that does not tell: HTTPS first, as containerd does.
        if endpoint.base.scheme() == "http" && !entry.tls.is_empty() && endpoint.base.port().is_some() {
            let mut first = endpoint.clone();
            if first.base.set_scheme("https").is_ok() {
                first.name = first.base.as_str().into();
                endpoints.push(Arc::new(first));
            }
        }
        endpoints.push(Arc::new(endpoint));
    }
    Ok(endpoints)
}

/// The hosts of a directory: those of its `hosts.toml`; without one, the registry with the certificates that
/// lie there as docker wants them.
fn entries(directory: &Path) -> Result<Vec<HostEntry>, (String, String)> {
    let path = directory.join("hosts.toml");
    let place = || path.display().to_string();
    let text = match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        _ => crate::files::read_bounded(&path, MAX_FILE).map_err(|reason| (place(), reason))?,
    };
    if text.is_empty() {
        let tls =
            certificates(directory).map_err(|error| (directory.display().to_string(), error.to_string()))?;
        let headers = HeaderMap::new();
        let capabilities = Capabilities::ALL;
        let (root, dial_timeout, rewrite) = (None, None, Rewrite::default());
        return Ok(vec![HostEntry { root, capabilities, tls, headers, dial_timeout, rewrite }]);
    }
    let text = String::from_utf8(text).map_err(|_| (place(), "not UTF-8".to_owned()))?;
    let file = file::parse(&text, directory)
        .map_err(|mistake| (format!("{}:{}:{}", place(), mistake.line, mistake.column), mistake.reason))?;
    if !file.unknown.is_empty() {
        tracing::debug!(file = place(), keys = ?file.unknown, "keys that are not known are ignored");
    }
    Ok(file.hosts)
}

/// Docker's file layout: `*.crt` are CA certificates, `*.cert` client certificates with their key in `*.key`.
fn certificates(directory: &Path) -> std::io::Result<TlsFiles> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if !path.is_dir() {
            names.push(path);
        }
    }
    names.sort_unstable();
    let with = |extension: &str| {
        let wanted =
            names.iter().filter(move |name| name.extension().is_some_and(|found| found == extension));
        wanted.cloned().collect::<Vec<_>>()
    };
    let clients = with("cert")
        .into_iter()
        .map(|certificate| {
            let key = certificate.with_extension("key");
            let key = names.contains(&key).then_some(key);
            (certificate, key)
        })
        .collect();
    Ok(TlsFiles { ca: with("crt"), clients, skip_verify: None })
}

fn endpoint(host: &str, base: Url, capabilities: Capabilities, tls: Tls, entry: &HostEntry) -> Endpoint {
    let own = authority(&base);
    let same = own == host || (host == "docker.io" && own == "registry-1.docker.io");
    Endpoint {
        host: if same { host.to_owned() } else { own },
        name: base.as_str().into(),
        base,
        mirror_of: (!same).then(|| host.to_owned()),
        capabilities,
        tls,
        headers: entry.headers.clone(),
        dial_timeout: entry.dial_timeout,
        rewrite: entry.rewrite.clone(),
    }
}

/// Host and port of a URL; the port only when it is not the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The registry itself, when no file says anything.
fn upstream(host: &str, plain_http: &[String]) -> Result<Endpoint, String> {
    let address = match host {
        "docker.io" => "registry-1.docker.io",
        host => host,
    };
    let scheme = if is_plain(address, plain_http) { "http" } else { "https" };
    let mut base = Url::parse(&format!("{scheme}://{address}/")).map_err(|e| format!("bad host: {e}"))?;
    // A host field made by hand could smuggle in more than a host.
    if base.path() != "/"
        || !base.username().is_empty()
        || base.password().is_some()
        || base.query().is_some()
    {
        return Err("bad host".to_owned());
    }
    base.set_path("/v2");
    Ok(Endpoint {
        host: host.to_owned(),
        name: base.as_str().into(),
        base,
        mirror_of: None,
        capabilities: Capabilities::ALL,
        tls: Tls::default(),
        headers: HeaderMap::new(),
        dial_timeout: None,
        rewrite: Rewrite::default(),
    })
}

/// Plain HTTP is for this machine, and for hosts the administrator named (with or without port).
fn is_plain(address: &str, plain_http: &[String]) -> bool {
    let (name, _) = split_port(address);
    is_loopback_name(name) || plain_http.iter().any(|plain| plain == address || plain == name)
}

fn is_loopback_name(name: &str) -> bool {
    Url::parse(&format!("http://{name}/")).is_ok_and(|url| is_loopback(&url))
}

/// True when `url` is on this machine, by its literal address or as `localhost`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Same scheme, host and port: where an Authorization header may go again.
pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// Where an answer of `from` leads by a header with `text` in it: relative to it, or absolute. What is wrong with it.
///
/// It may be another host, which then gets no credentials.
pub(crate) fn led_to(from: &Url, text: &str) -> Result<Url, &'static str> {
    let url = from.join(text).map_err(|_| "it leads to something that is not a URL")?;
    match (url.scheme(), from.scheme()) {
        ("https", _) | ("http", "http") => {}
        ("http", _) => return Err("it leads from HTTPS to plain HTTP"),
        _ => return Err("it leads to something that is not HTTP"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("it leads to a URL with credentials in it");
    }
    Ok(url)
}

#[cfg(test)]
mod tests;

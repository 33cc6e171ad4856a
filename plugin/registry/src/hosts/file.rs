//! The text of a `hosts.toml`, as containerd understands it (containerd, docs/hosts.md).
//!
//! No file is opened here. Errors never quote a value: header values are secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use toml::Spanned;
use url::Url;

use super::rewrite::Rewrite;
use crate::duration::parse_go_duration;

/// Hosts of one file.
const MAX_HOSTS: usize = 64;

/// What a host may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Manifests and blobs by digest.
    pub pull: bool,
    /// What a tag means now.
    pub resolve: bool,
    /// Uploads.
    pub push: bool,
}

impl Capabilities {
    pub(crate) const ALL: Self = Self { pull: true, resolve: true, push: true };
}

/// Where TLS material is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// CA certificates trusted besides the system's.
    pub ca: Vec<PathBuf>,
    /// Client certificates, each with its key, which may be in the same file.
    pub clients: Vec<(PathBuf, Option<PathBuf>)>,
    /// Whether the server's certificate is taken unchecked; `None` when the file does not say.
    pub skip_verify: Option<bool>,
}

impl TlsFiles {
    pub(crate) fn is_empty(&self) -> bool {
        self.ca.is_empty() && self.clients.is_empty() && self.skip_verify.is_none()
    }
}

/// One `[host."…"]` table, or the keys above them, which are about the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostEntry {
    /// Root of the registry's interface, without trailing slash. `None`: the reference's own host.
    pub root: Option<Url>,
    pub capabilities: Capabilities,
    pub tls: TlsFiles,
    /// Sent with each request; marked as sensitive.
    pub headers: HeaderMap,
    pub dial_timeout: Option<Duration>,
    pub rewrite: Rewrite,
}

/// A file's content.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HostsFile {
    /// In the order they are tried; the server is the last one.
    pub hosts: Vec<HostEntry>,
    /// Keys we do not know; containerd does not mind them.
    pub unknown: Vec<String>,
}

/// A mistake, with where it is, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub line: usize,
    pub column: usize,
    pub reason: String,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    server: Option<Spanned<String>>,
    #[serde(default)]
    host: BTreeMap<Spanned<String>, Spanned<Table>>,
}

#[derive(Deserialize, Default)]
struct Table {
    #[serde(default)]
    capabilities: Vec<Spanned<String>>,
    #[serde(default)]
    ca: Option<OneOrMany>,
    #[serde(default)]
    client: Option<Clients>,
    #[serde(default)]
    skip_verify: Option<bool>,
    #[serde(default)]
    header: Option<Headers>,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    dial_timeout: Option<Spanned<String>>,
    #[serde(default)]
    rewrite: BTreeMap<Spanned<String>, String>,
}

const KEYS: [&str; 8] =
    ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout", "rewrite"];

#[derive(Deserialize)]
#[serde(untagged, expecting = "wants a string or a list of strings")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "wants a file name, a list of file names or a list of [certificate, key] pairs"
)]
enum Clients {
    One(String),
    Many(Vec<Client>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    Both(String),
    Pair([String; 2]),
}

/// Untagged, so that errors have a fixed text.
#[derive(Deserialize)]
#[serde(untagged, expecting = "wants a table of header names with a string or a list of strings each")]
enum Headers {
    Table(BTreeMap<String, OneOrMany>),
}

/// Reads `text`; relative paths in it are below `base`.
///
/// # Errors
///
/// The first [`Mistake`].
pub(crate) fn parse(text: &str, base: &Path) -> Result<HostsFile, Mistake> {
    let at = |offset: usize, reason: String| {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        Mistake { line: before.matches('\n').count() + 1, column: column + 1, reason }
    };
    let failed = |error: &toml::de::Error| {
        at(error.span().map_or(0, |span| span.start), error.message().trim_end().to_owned())
    };
    let wire: Wire = toml::from_str(text).map_err(|error| failed(&error))?;
    let whole: Table = toml::from_str(text).map_err(|error| failed(&error))?;
    let mut tables: Vec<(Spanned<String>, Table)> =
        wire.host.into_iter().map(|(key, table)| (key, table.into_inner())).collect();
    if tables.len() > MAX_HOSTS {
        return Err(at(0, format!("more than {MAX_HOSTS} hosts")));
    }
    // Order counts, and the map has lost it.
    tables.sort_by_key(|(key, _)| key.span().start);
    let mut hosts = Vec::new();
    for (key, table) in tables {
        hosts.push(entry(Some(&key), table, base, &at)?);
    }
    hosts.push(entry(wire.server.as_ref(), whole, base, &at)?);
    Ok(HostsFile { hosts, unknown: unknown(text) })
}

fn entry(
    server: Option<&Spanned<String>>,
    table: Table,
    base: &Path,
    at: &dyn Fn(usize, String) -> Mistake,
) -> Result<HostEntry, Mistake> {
    let root =
        match server.filter(|server| !server.get_ref().is_empty()) {
            Some(server) => Some(root(server.get_ref(), table.override_path).map_err(|reason| {
                at(server.span().start, format!("{} {reason}", quoted(server.get_ref())))
            })?),
            None => None,
        };
    let path = |name: String| base.join(name);
    let many = |value: Option<OneOrMany>| match value {
        None => Vec::new(),
        Some(OneOrMany::One(one)) => vec![path(one)],
        Some(OneOrMany::Many(many)) => many.into_iter().map(path).collect(),
    };
    let clients = match table.client {
        None => Vec::new(),
        Some(Clients::One(one)) => vec![(path(one), None)],
        Some(Clients::Many(many)) => many
            .into_iter()
            .map(|client| match client {
                Client::Both(both) => (path(both), None),
                Client::Pair([certificate, key]) => (path(certificate), Some(path(key))),
            })
            .collect(),
    };
    let dial_timeout = match &table.dial_timeout {
        None => None,
        Some(text) => Some(parse_go_duration(text.get_ref()).ok_or_else(|| {
            at(text.span().start, format!("{:?} is not a time like \"5s\"", text.get_ref()))
        })?),
    };
    Ok(HostEntry {
        root,
        capabilities: capabilities(&table.capabilities, at)?,
        tls: TlsFiles { ca: many(table.ca), clients, skip_verify: table.skip_verify },
        headers: headers(table.header).map_err(|reason| at(server.map_or(0, |s| s.span().start), reason))?,
        dial_timeout: dial_timeout.filter(|time| !time.is_zero()),
        rewrite: rewrite(table.rewrite, at)?,
    })
}

/// The interface's root: scheme and host, and the path with `/v2` unless it is overridden.
fn root(server: &str, override_path: bool) -> Result<Url, &'static str> {
    let text = if server.contains("://") { server.to_owned() } else { format!("https://{server}") };
    let mut url = Url::parse(&text).map_err(|_| "is not a URL of a registry")?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err("is not a URL of a registry");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "has a user name: put credentials into the docker configuration, under the mirror's host",
        );
    }
    url.set_query(None);
    url.set_fragment(None);
    let path = url.path().trim_end_matches('/').to_owned();
    if override_path || path.ends_with("/v2") {
        url.set_path(&path);
    } else {
        url.set_path(&format!("{path}/v2"));
    }
    Ok(url)
}

/// A URL for an error's text; what may hold a password is left out.
fn quoted(url: &str) -> String {
    if url.contains('@') { "the URL".to_owned() } else { format!("{url:?}") }
}

fn capabilities(
    names: &[Spanned<String>],
    at: &dyn Fn(usize, String) -> Mistake,
) -> Result<Capabilities, Mistake> {
    if names.is_empty() {
        return Ok(Capabilities::ALL);
    }
    let mut found = Capabilities { pull: false, resolve: false, push: false };
    for name in names {
        match name.get_ref().to_ascii_lowercase().as_str() {
            "pull" => found.pull = true,
            "resolve" => found.resolve = true,
            "push" => found.push = true,
            "referrers" => {}
            _ => {
                let known = "pull, resolve, push, referrers";
                let reason = format!("unknown capability {:?}; there are {known}", name.get_ref());
                return Err(at(name.span().start, reason));
            }
        }
    }
    Ok(found)
}

fn rewrite(
    table: BTreeMap<Spanned<String>, String>,
    at: &dyn Fn(usize, String) -> Mistake,
) -> Result<Rewrite, Mistake> {
    let mut rules: Vec<(Spanned<String>, String)> = table.into_iter().collect();
    // The first one that fits counts, and the map has lost the order.
    rules.sort_by_key(|(pattern, _)| pattern.span().start);
    let mut read = Rewrite::default();
    for (pattern, replacement) in rules {
        let place = pattern.span().start;
        read.add(pattern.get_ref(), replacement).map_err(|reason| at(place, reason))?;
    }
    Ok(read)
}

fn headers(table: Option<Headers>) -> Result<HeaderMap, String> {
    let mut found = HeaderMap::new();
    let Some(Headers::Table(table)) = table else { return Ok(found) };
    for (name, values) in table {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| format!("{name:?} is not the name of a header"))?;
        let values = match values {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        };
        for value in values {
            let mut value = HeaderValue::from_str(&value)
                .map_err(|_| format!("the value of header {name:?} has characters no header can have"))?;
            value.set_sensitive(true);
            found.append(header.clone(), value);
        }
    }
    Ok(found)
}

/// Keys we do not know, as dotted paths.
fn unknown(text: &str) -> Vec<String> {
    let Ok(whole) = text.parse::<toml::Table>() else { return Vec::new() };
    let known = |key: &str| KEYS.contains(&key);
    let mut found: Vec<String> =
        whole.keys().filter(|key| !known(key) && *key != "server" && *key != "host").cloned().collect();
    for (host, table) in whole.get("host").and_then(toml::Value::as_table).into_iter().flatten() {
        let keys = table.as_table().into_iter().flat_map(|table| table.keys());
        found.extend(keys.filter(|key| !known(key)).map(|key| format!("host.{host:?}.{key}")));
    }
    found
}

#[cfg(test)]
mod k3s;
#[cfg(test)]
mod tests;

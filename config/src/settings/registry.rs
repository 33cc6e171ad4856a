//! `[registry]`: where layers come from.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::value;

/// Talking to registries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registry {
    /// Docker's `config.json`, or the directory it is in, with credentials under `auths`. A file that does
    /// not exist means no credentials; `None` (written as `""`) means never any.
    #[serde(deserialize_with = "optional_path", serialize_with = "show_path")]
    pub docker_config: Option<PathBuf>,
    /// Hosts (`host` or `host:port`) that speak plain HTTP. Loopback addresses always may.
    #[serde(deserialize_with = "hosts")]
    pub plain_http: Vec<String>,
    /// Registries (`host:port`) on other ports than 443. containerd records a registry without its port, so
    /// this is how to find it for an image that has no name yet.
    #[serde(deserialize_with = "hosts")]
    pub known_hosts: Vec<String>,
    /// Time to set up a connection: 100 ms to 5 min.
    #[serde(
        deserialize_with = "value::duration::<100, 300_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub connect_timeout: Duration,
    /// Time without a single byte after which a request is given up: 1 s to 1 h.
    #[serde(
        deserialize_with = "value::duration::<1_000, 3_600_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub stall_timeout: Duration,
    /// Connections to one host, over all layers: 1 to 256.
    #[serde(deserialize_with = "value::count::<1, 256, _>")]
    pub connections_per_host: usize,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            docker_config: Some("/root/.docker/config.json".into()),
            plain_http: Vec::new(),
            known_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            connections_per_host: 16,
        }
    }
}

fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "" => Ok(None),
        path if path.starts_with('/') => Ok(Some(path.into())),
        _ => Err(D::Error::custom(format!(
            "{text:?} is not an absolute path; write \"\" for no credentials at all"
        ))),
    }
}

fn show_path<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.clone().unwrap_or_default().serialize(to)
}

fn hosts<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let hosts = Vec::<String>::deserialize(from)?;
    match hosts.iter().find(|host| !is_host(host)) {
        None => Ok(hosts),
        Some(bad) => Err(D::Error::custom(format!(
            "{bad:?} is not a host: write host or host:port, without scheme and path"
        ))),
    }
}

fn is_host(text: &str) -> bool {
    let (name, port) = match text.rsplit_once(':') {
        // The last colon of `[::1]` belongs to the address.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (text, None),
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let name_is_right = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)),
    };
    name_is_right
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
        && text.len() <= 255
}

#[cfg(test)]
mod tests {
    use super::is_host;

    #[test]
    fn hosts() {
        for good in
            ["localhost", "r.example", "r.example:5000", "127.0.0.1:5000", "[::1]", "[::1]:5000", "my_host"]
        {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            ":5000",
            "r.example:",
            "r.example:0",
            "r.example:99999",
            "http://r.example",
            "r.example/x",
            "::1",
            "[x]",
            "a b",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }
}

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
    /// The `auth.json` of podman, skopeo and buildah. As with `docker_config`.
    #[serde(deserialize_with = "optional_path", serialize_with = "show_path")]
    pub containers_auth: Option<PathBuf>,
    /// The kubelet's `--image-credential-provider-config`: a file or a directory. `None` (written as `""`): no
    /// plugins.
    #[serde(deserialize_with = "optional_path", serialize_with = "show_path")]
    pub image_credential_provider_config: Option<PathBuf>,
    /// The kubelet's `--image-credential-provider-bin-dir`; goes with the one above.
    #[serde(deserialize_with = "optional_path", serialize_with = "show_path")]
    pub image_credential_provider_bin_dir: Option<PathBuf>,
    /// Time a credential helper or plugin has: 1 s to 5 min.
    #[serde(
        deserialize_with = "value::duration::<1_000, 300_000, _>",
        serialize_with = "value::show_duration"
    )]
    pub credential_timeout: Duration,
    /// containerd's `config_path`: directories with a `hosts.toml` for each registry, parted by colons. The first
    /// that has a registry counts; empty means none.
    #[serde(deserialize_with = "path_list", serialize_with = "show_path_list")]
    pub config_path: Vec<PathBuf>,
    /// Hosts (`host` or `host:port`) that speak plain HTTP. Loopback addresses always may.
    #[serde(deserialize_with = "hosts")]
    pub plain_http: Vec<String>,
    /// Whether blobs may be redirected from HTTPS to plain HTTP. Credentials never are.
    pub plain_http_redirects: bool,
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
    /// Connections to all hosts together: 1 to 4096.
    #[serde(deserialize_with = "value::count::<1, 4096, _>")]
    pub connections: usize,
    /// Bytes asked for by range and not arrived yet, over all layers: 1 MiB to 64 GiB.
    #[serde(
        deserialize_with = "value::size::<0x10_0000, 0x10_0000_0000, _>",
        serialize_with = "value::show_size"
    )]
    pub bytes_in_flight: u64,
    /// Bytes in a second that all transfers together may bring: 64 KiB to 1 TiB; 0 means no limit.
    #[serde(deserialize_with = "bandwidth", serialize_with = "value::show_size")]
    pub bandwidth: u64,
    /// Whether HTTP/2 is offered to servers with TLS.
    pub http2: bool,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            docker_config: Some("/root/.docker/config.json".into()),
            containers_auth: Some("/run/containers/0/auth.json".into()),
            image_credential_provider_config: None,
            image_credential_provider_bin_dir: None,
            credential_timeout: Duration::from_secs(30),
            config_path: vec!["/etc/containerd/certs.d".into(), "/etc/docker/certs.d".into()],
            plain_http: Vec::new(),
            plain_http_redirects: false,
            known_hosts: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            connections_per_host: 16,
            connections: 64,
            bytes_in_flight: 256 << 20,
            bandwidth: 0,
            http2: false,
        }
    }
}

fn optional_path<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "" => Ok(None),
        path if path.starts_with('/') => Ok(Some(path.into())),
        _ => Err(D::Error::custom(format!("{text:?} is not an absolute path; write \"\" for none"))),
    }
}

fn show_path<S: serde::Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    path.clone().unwrap_or_default().serialize(to)
}

fn path_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PathBuf>, D::Error> {
    let text = String::deserialize(from)?;
    let paths: Vec<&str> = text.split(':').filter(|path| !path.is_empty()).collect();
    match paths.iter().find(|path| !path.starts_with('/')) {
        Some(bad) => Err(D::Error::custom(format!(
            "{bad:?} is not an absolute path; several are parted by colons, as in containerd's own config_path"
        ))),
        None => Ok(paths.into_iter().map(PathBuf::from).collect()),
    }
}

fn show_path_list<S: serde::Serializer>(paths: &[PathBuf], to: S) -> Result<S::Ok, S::Error> {
    let texts: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
    texts.join(":").serialize(to)
}

/// 0, or enough for a pull to come to an end.
fn bandwidth<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let rate = value::size::<0, 0x100_0000_0000, _>(from)?;
    if rate > 0 && rate < 64 << 10 {
        return Err(D::Error::custom("less than 64KiB in a second; write \"0B\" for no limit"));
    }
    Ok(rate)
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

/// Is it `host` or `host:port`?
pub(super) fn is_host(text: &str) -> bool {
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

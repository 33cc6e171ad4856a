//! `[metrics]`: where the daemon shows numbers and its health; `[history]`: how many pulls it remembers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::paths;
use crate::value;

/// Where numbers and health are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// A unix socket.
    pub socket: MetricsSocket,
    /// A TCP address, for everybody who reaches it.
    #[serde(deserialize_with = "address", serialize_with = "show_address")]
    pub address: Option<SocketAddr>,
}

/// The unix socket of the metrics.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum MetricsSocket {
    /// Beside the daemon's own: `x.sock` has `x-metrics.sock`.
    #[default]
    Auto,
    /// There is none.
    Off,
    /// This one.
    At(PathBuf),
}

impl MetricsSocket {
    /// The socket of a daemon that serves on `address`; `None` if it shall have none, or the path would be too long.
    pub fn of(&self, address: &Path) -> Option<PathBuf> {
        match self {
            Self::Off => None,
            Self::At(path) => Some(path.clone()),
            Self::Auto => {
                let name = format!("{}-metrics.sock", address.file_stem()?.to_str()?);
                let path = address.with_file_name(name);
                (path.as_os_str().len() <= paths::MAX_SOCKET).then_some(path)
            }
        }
    }
}

impl<'de> Deserialize<'de> for MetricsSocket {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Ok(match text.as_str() {
            "auto" => Self::Auto,
            "" => Self::Off,
            path => Self::At(paths::checked_socket(path).map_err(D::Error::custom)?),
        })
    }
}

impl Serialize for MetricsSocket {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => "auto".serialize(to),
            Self::Off => "".serialize(to),
            Self::At(path) => path.serialize(to),
        }
    }
}

fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    if text.is_empty() {
        return Ok(None);
    }
    let refused =
        || D::Error::custom(format!("{text:?} is not an address and a port, like \"127.0.0.1:9477\""));
    text.parse().map(Some).map_err(|_| refused())
}

fn show_address<S: Serializer>(address: &Option<SocketAddr>, to: S) -> Result<S::Ok, S::Error> {
    address.map(|address| address.to_string()).unwrap_or_default().serialize(to)
}

/// What is remembered of pulls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Pulls that are remembered, the latest: up to 10 000; 0 means none.
    #[serde(deserialize_with = "value::count::<0, 10_000, _>")]
    pub pulls: usize,
}

impl Default for History {
    fn default() -> Self {
        Self { pulls: 1000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_beside_the_daemons_own() {
        let of = |address: &str| MetricsSocket::Auto.of(Path::new(address));
        assert_eq!(of("/run/a/b.sock").as_deref(), Some(Path::new("/run/a/b-metrics.sock")));
        assert_eq!(of("/run/a/b").as_deref(), Some(Path::new("/run/a/b-metrics.sock")));
        assert_eq!(of(&format!("/{}.sock", "x".repeat(100))), None);
        assert_eq!(MetricsSocket::Off.of(Path::new("/run/a.sock")), None);
    }
}

//! containerd's configuration, as `containerd config dump` prints it.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// The CRI service of containerd 1.x, and what is left of it in 2.x.
pub(crate) const CRI: &str = "io.containerd.grpc.v1.cri";
/// The image part of the CRI service of containerd 2.x.
pub(crate) const IMAGES: &str = "io.containerd.cri.v1.images";
/// The transfer service.
pub(crate) const TRANSFER: &str = "io.containerd.transfer.v1.local";
/// Our name where nothing says another.
const NAME: &str = "chunked";

/// A version of containerd, as far as behaviour depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl Version {
    /// Reads "v2.1.9-k3s1", "1.6.20~ds1" and the like.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit());
        Some(Self { major: numbers.next()?.parse().ok()?, minor: numbers.next()?.parse().ok()? })
    }

    /// At least this version?
    pub fn from(self, major: u32, minor: u32) -> bool {
        self >= Self { major, minor }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The whole configuration, defaults and imports in it.
#[derive(Debug, Clone)]
pub struct ContainerdConfig(Table);

impl ContainerdConfig {
    /// From a dump's table.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// The proxy plugin that is ours: the one with our socket, else the one with our name.
    pub fn plugin<'a>(&'a self, address: &Path) -> Option<(&'a str, &'a Table)> {
        let plugins = self.0.get("proxy_plugins")?.as_table()?;
        let tables = || plugins.iter().filter_map(|(name, plugin)| Some((name.as_str(), plugin.as_table()?)));
        let with_address = |(_, plugin): &(&str, &Table)| {
            plugin.get("address").and_then(Value::as_str).is_some_and(|text| Path::new(text) == address)
        };
        tables().find(with_address).or_else(|| tables().find(|(name, _)| *name == NAME))
    }

    /// containerd's own directory.
    pub fn root(&self) -> PathBuf {
        self.0.get("root").and_then(Value::as_str).unwrap_or("/var/lib/containerd").into()
    }

    /// The files that are imported, or patterns of them.
    pub fn imports(&self) -> Vec<&str> {
        let imports = self.0.get("imports").and_then(Value::as_array).into_iter().flatten();
        imports.filter_map(Value::as_str).collect()
    }

    /// A setting of a plugin.
    pub(crate) fn setting(&self, plugin: &str, path: &[&str]) -> Option<&Value> {
        at(self.0.get("plugins")?.get(plugin)?, path)
    }

    /// Is this plugin switched off? Old files write its last word only.
    pub(crate) fn is_off(&self, plugin: &str) -> bool {
        let off = self.0.get("disabled_plugins").and_then(Value::as_array).into_iter().flatten();
        let short = plugin.rsplit('.').next().unwrap_or(plugin);
        off.filter_map(Value::as_str).any(|name| name == plugin || name == short)
    }

    /// Where CRI keeps what it knows of images, in this version's file.
    pub(crate) fn cri(&self, version: Version, path: &[&str]) -> Option<&Value> {
        if version.from(2, 0) {
            return self.setting(IMAGES, path);
        }
        // In 1.x a part of it is one level deeper.
        self.setting(CRI, path).or_else(|| self.setting(CRI, &[&["containerd"], path].concat()))
    }

    /// Does CRI pull for this snapshotter?
    pub(crate) fn cri_uses(&self, version: Version, name: &str) -> bool {
        self.has_cri(version) && self.cri(version, &["snapshotter"]).and_then(Value::as_str) == Some(name)
    }

    pub(crate) fn has_cri(&self, version: Version) -> bool {
        let images_off = version.from(2, 0) && self.is_off(IMAGES);
        !images_off && !self.is_off(CRI)
    }

    /// The transfer service's list: platform and snapshotter of each entry.
    pub(crate) fn unpack(&self) -> Vec<(&str, &str)> {
        let list = self.setting(TRANSFER, &["unpack_config"]).and_then(Value::as_array).into_iter().flatten();
        list.filter(|entry| entry.get("snapshotter").is_some_and(Value::is_str))
            .map(|entry| {
                let text = |key| entry.get(key).and_then(Value::as_str).unwrap_or_default();
                (text("platform"), text("snapshotter"))
            })
            .collect()
    }
}

/// The value below `path`.
pub(crate) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| value.get(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_every_spelling() {
        let version = |text| Version::parse(text).map(|v| (v.major, v.minor));
        assert_eq!(version("1.6.20~ds1"), Some((1, 6)));
        assert_eq!(version("v2.1.9-k3s1"), Some((2, 1)));
        assert_eq!(version("v2.4.0-beta.1"), Some((2, 4)));
        assert_eq!((version("unknown"), version("")), (None, None));
        assert!(Version { major: 2, minor: 0 }.from(1, 7) && !Version { major: 1, minor: 7 }.from(2, 0));
    }
}

//! `[reuse]`: which local content a pull may use, by the registry it comes from.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::registry::is_host;

/// Which local content a pull may use instead of fetching it. A registry can tell from what is not asked for that
/// the node has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reuse {
    /// Layers whose files serve, for registries that no domain names.
    pub layers: ReuseLayers,
    /// Whether files of the host serve, too, for these registries.
    pub host_files: bool,
    /// Registries for which it is otherwise.
    #[serde(deserialize_with = "domains")]
    pub domains: Vec<ReuseDomain>,
}

/// Layers whose files serve for a pull.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ReuseLayers {
    /// All, also those built or loaded on this node.
    All,
    /// Those that came from the same registry.
    #[default]
    Own,
    /// None.
    None,
    /// Those that came from the same registry or from these.
    With(BTreeSet<String>),
}

/// What holds for some registries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReuseDomain {
    /// The registries a pull comes from: `host`, `host:port`, or `*.domain` for all hosts below a domain.
    #[serde(deserialize_with = "patterns")]
    pub registries: Vec<String>,
    /// As in [`Reuse`], which holds when this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<ReuseLayers>,
    /// As in [`Reuse`], which holds when this is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_files: Option<bool>,
}

impl Default for Reuse {
    fn default() -> Self {
        Self { layers: ReuseLayers::Own, host_files: true, domains: Vec::new() }
    }
}

const EXPECTED: &str = "\"own\", \"all\", \"none\" or a list of registries, like [\"docker.io\"]";

impl Serialize for ReuseLayers {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::All => to.serialize_str("all"),
            Self::Own => to.serialize_str("own"),
            Self::None => to.serialize_str("none"),
            Self::With(hosts) => hosts.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for ReuseLayers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Layers;
        impl<'de> Visitor<'de> for Layers {
            type Value = ReuseLayers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ReuseLayers, E> {
                match text {
                    "all" => Ok(ReuseLayers::All),
                    "own" => Ok(ReuseLayers::Own),
                    "none" => Ok(ReuseLayers::None),
                    _ => Err(E::custom(format!("{text:?} says nothing about layers: write {EXPECTED}"))),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ReuseLayers, A::Error> {
                let mut hosts = BTreeSet::new();
                while let Some(host) = list.next_element::<String>()? {
                    if !is_host(&host) {
                        return Err(A::Error::custom(format!(
                            "{host:?} is not a registry: write host or host:port, without scheme and path"
                        )));
                    }
                    hosts.insert(host);
                }
                Ok(ReuseLayers::With(hosts))
            }
        }
        from.deserialize_any(Layers)
    }
}

fn patterns<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let patterns = Vec::<String>::deserialize(from)?;
    if patterns.is_empty() {
        return Err(D::Error::custom("a domain needs at least one registry"));
    }
    let good = |text: &String| is_host(text.strip_prefix("*.").unwrap_or(text));
    match patterns.iter().find(|text| !good(text)) {
        None => Ok(patterns),
        Some(bad) => Err(D::Error::custom(format!(
            "{bad:?} names no registry: write host, host:port or *.domain, without scheme and path"
        ))),
    }
}

fn domains<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ReuseDomain>, D::Error> {
    let domains = Vec::<ReuseDomain>::deserialize(from)?;
    let mut seen = BTreeSet::new();
    for name in domains.iter().flat_map(|domain| &domain.registries) {
        if !seen.insert(name) {
            return Err(D::Error::custom(format!("registry {name:?} is in two places of reuse.domains")));
        }
    }
    Ok(domains)
}

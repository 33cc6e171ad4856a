//! Where an image came from, as containerd recorded it when it fetched the image.
//!
//! The label `containerd.io/distribution.source.<host>` holds the repositories a blob was fetched from. Its
//! host lacks the port (containerd takes `URL.Hostname`), so the port is filled in from names that agree in
//! everything else. Who is named with a port is the only one asked: what else may listen on that host is somebody
//! else's. Without any name, a domain is taken for what it is called, a registry on the default port; an address or a
//! bare host name is nobody's name.

use std::collections::HashMap;
use std::net::IpAddr;

use chunked_core::{ObjectDigest, labels};
use chunked_registry::Reference;

use crate::hints::Hints;

/// Origins taken from one blob's labels.
const MAX_ORIGINS: usize = 32;
/// Places tried for one manifest.
const MAX_PLACES: usize = 8;

/// A host without its port, and a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub host: String,
    pub repository: String,
}

/// An image name in use in the namespace.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub name: Reference,
    /// The index or manifest it stands for.
    pub target: ObjectDigest,
}

/// The origins a blob's labels name, in the order of the labels' names.
pub(crate) fn origins(of: &HashMap<String, String>) -> Vec<Origin> {
    let mut found: Vec<(&str, &str)> = of
        .iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(labels::DISTRIBUTION_SOURCE_PREFIX)?, &**value)))
        .collect();
    found.sort_unstable();
    found
        .into_iter()
        .flat_map(|(host, repositories)| repositories.split(',').map(move |repository| (host, repository)))
        .filter(|(host, repository)| !host.is_empty() && !repository.is_empty())
        .map(|(host, repository)| Origin { host: host.to_owned(), repository: repository.to_owned() })
        .take(MAX_ORIGINS)
        .collect()
}

/// A registry's host without its port and without the brackets of an IPv6 address.
fn hostname(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.split(':').next().unwrap_or(host),
    }
}

impl Origin {
    fn same_host(&self, host: &str) -> bool {
        hostname(host) == self.host
    }

    /// True when `name` is in this repository of this host, on whatever port.
    pub(crate) fn is_of(&self, name: &Reference) -> bool {
        self.same_host(&name.host) && name.repository == self.repository
    }

    /// The reference of `manifest` on `host` (which may have a port), or `None` when the label holds
    /// something that is not a host and repository.
    fn on(&self, host: &str, manifest: &ObjectDigest) -> Option<Reference> {
        let text = format!("{host}/{}@{manifest}", self.repository);
        let parsed: Reference = text.parse().ok()?;
        // A host the parser takes for part of a repository would send us to another registry.
        (parsed.host == host && parsed.repository == self.repository).then_some(parsed)
    }

    /// A registry may be called like this, without a port. Addresses and machines of a local network are not.
    fn is_domain(&self) -> bool {
        self.host.contains('.') && self.host.parse::<IpAddr>().is_err()
    }
}

/// What is known besides the labels of the manifest.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    pub hints: &'a Hints,
    pub records: &'a [Record],
    /// Registries as `host:port`.
    pub known_hosts: &'a [String],
    /// Indexes that list the manifest.
    pub indexes: &'a [ObjectDigest],
}

/// A repository a manifest may be pulled from.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub reference: Reference,
    /// No name in use has this host, port and repository together.
    pub port_assumed: bool,
}

/// How likely a name is the one the manifest is in use under; smaller is likelier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likelihood {
    NamedByRequest,
    NamesThisImage,
    SameRepository,
    KnownHost,
    SameHostname,
    LabelOnly,
}

impl Likelihood {
    /// What makes it likely. Names of a stronger kind leave none of a weaker one beside them.
    fn strength(self) -> u8 {
        match self {
            Self::NamedByRequest | Self::NamesThisImage => 0,
            Self::SameRepository | Self::KnownHost => 1,
            Self::SameHostname => 2,
            Self::LabelOnly => 3,
        }
    }
}

/// Places to pull `manifest` from, likeliest first. Every one has the host (up to its port) and the
/// repository of an origin: names only choose among origins, they never add one. Empty when nothing names a server.
pub(crate) fn references(manifest: &ObjectDigest, origins: &[Origin], names: &Names<'_>) -> Vec<Place> {
    let mut found: Vec<(Likelihood, Reference)> = Vec::new();
    for origin in origins {
        let mut of_origin: Vec<(Likelihood, Reference)> = Vec::new();
        let mut add = |likelihood, host: &str| {
            of_origin.extend(origin.on(host, manifest).map(|reference| (likelihood, reference)));
        };
        if let Some(name) = names.hints.image.as_ref().filter(|name| origin.is_of(name)) {
            add(Likelihood::NamedByRequest, &name.host);
        }
        for Record { name, target } in names.records.iter().filter(|r| origin.same_host(&r.name.host)) {
            let this = target == manifest || names.indexes.contains(target);
            let likelihood = match name.repository == origin.repository {
                true if this => Likelihood::NamesThisImage,
                true => Likelihood::SameRepository,
                false => Likelihood::SameHostname,
            };
            add(likelihood, &name.host);
        }
        for host in names.known_hosts.iter().filter(|host| origin.same_host(host)) {
            add(Likelihood::KnownHost, host);
        }
        if origin.is_domain() {
            add(Likelihood::LabelOnly, &origin.host);
        }
        let strongest = of_origin.iter().map(|(likelihood, _)| likelihood.strength()).min();
        of_origin.retain(|(likelihood, _)| Some(likelihood.strength()) == strongest);
        found.extend(of_origin);
    }
    found.sort_by_key(|(likelihood, _)| *likelihood);
    let mut places: Vec<Place> = Vec::new();
    for (likelihood, reference) in found {
        let same =
            |p: &Place| p.reference.host == reference.host && p.reference.repository == reference.repository;
        if !places.iter().any(same) && places.len() < MAX_PLACES {
            places.push(Place { reference, port_assumed: likelihood >= Likelihood::KnownHost });
        }
    }
    places
}

#[cfg(test)]
mod tests;

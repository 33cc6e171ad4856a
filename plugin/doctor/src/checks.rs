//! The checks, in the order in which a person wants to read them.

mod clients;
mod daemon;
mod machine;
mod plugin;
mod pulling;
mod registries;

pub(crate) use clients::K3S as K3S_SOCKET;
pub(crate) use pulling::config_paths;

use crate::config::{ContainerdConfig, Version};
use crate::facts::{Containerd, Facts};
use crate::finding::Finding;

/// Judges everything. Each check gives a finding where it applies; some give several.
pub fn examine(facts: &Facts) -> Vec<Finding> {
    let mut found = daemon::checks(facts);
    if let Some(setup) = Setup::of(facts) {
        found.extend(plugin::checks(&setup));
        found.extend(pulling::checks(&setup));
    }
    found.extend(registries::checks(facts));
    found.extend(machine::checks(facts));
    found.extend(clients::checks(facts));
    found
}

/// A containerd whose configuration is known.
pub(crate) struct Setup<'a> {
    pub(crate) facts: &'a Facts,
    pub(crate) containerd: &'a Containerd,
    pub(crate) config: &'a ContainerdConfig,
    pub(crate) version: Version,
}

impl<'a> Setup<'a> {
    pub(crate) fn of(facts: &'a Facts) -> Option<Self> {
        let containerd = facts.containerd.as_ref().ok()?;
        let config = containerd.config.as_ref().ok()?;
        Some(Self { facts, containerd, config, version: containerd.version })
    }

    /// Our plugin's name in this containerd.
    pub(crate) fn name(&self) -> Option<&'a str> {
        self.config.plugin(&self.facts.ours.address).map(|(name, _)| name)
    }
}

//! Reuse domains: which local content a pull may use, by the registry it comes from.
//!
//! What a pull does not ask for tells its registry what is here. So content of other registries' images, or of the
//! host, is used only as far as the configuration allows. This decides about *finding* donors; a layer that is
//! here under its DiffID is used whatever it came from, as containerd itself does with layers and blobs.

use std::collections::BTreeSet;

use chunked_store::Origins;

/// Layers whose files may serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Layers {
    /// All, also those built or loaded on this node.
    All,
    /// Those of the same registry.
    #[default]
    Own,
    /// None.
    None,
    /// Those of the same registry and of these, as `host` or `host:port`.
    With(BTreeSet<String>),
}

/// What a pull may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Domain {
    /// Layers whose files may serve.
    pub layers: Layers,
    /// May files of the host?
    pub host_files: bool,
}

impl Default for Domain {
    fn default() -> Self {
        Self { layers: Layers::Own, host_files: true }
    }
}

/// Which domain a registry is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Domains {
    /// Registries, as `host`, `host:port` or `*.domain`, and what holds for them. The first that fits counts.
    pub rules: Vec<(Vec<String>, Domain)>,
    /// What holds for all others.
    pub others: Domain,
}

impl Domains {
    /// What a pull from `registry` (`host` or `host:port`, as in the image's name) may use.
    pub fn of(&self, registry: &str) -> &Domain {
        let named = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, registry));
        self.rules.iter().find(|(patterns, _)| named(patterns)).map_or(&self.others, |(_, domain)| domain)
    }
}

impl Domain {
    /// Where layers must have come from to serve for a pull from `registry`.
    pub(crate) fn origins(&self, registry: &str) -> Origins {
        match &self.layers {
            Layers::All => Origins::Any,
            Layers::Own => Origins::Only([registry.to_owned()].into()),
            Layers::None => Origins::Only(BTreeSet::new()),
            Layers::With(others) => {
                let mut origins = others.clone();
                origins.insert(registry.to_owned());
                Origins::Only(origins)
            }
        }
    }
}

fn fits(pattern: &str, registry: &str) -> bool {
    match pattern.strip_prefix('*') {
        // The dot stays, so that `*.example` means neither `example` nor `anexample`.
        Some(suffix) => registry.len() > suffix.len() && registry.ends_with(suffix),
        None => registry == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(hosts: &[&str]) -> Origins {
        Origins::Only(hosts.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_first_domain_that_fits_counts() {
        let domain = |layers: Layers, host_files| Domain { layers, host_files };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let domains = Domains {
            rules: vec![
                (names(&["a.example", "b.example:5000"]), domain(Layers::None, false)),
                (names(&["*.example"]), domain(Layers::All, true)),
                (names(&["c.test"]), domain(Layers::With(["d.test".to_owned()].into()), true)),
            ],
            others: Domain::default(),
        };
        let cases = [
            ("a.example", only(&[]), false),
            ("b.example:5000", only(&[]), false),
            ("b.example", Origins::Any, true),
            ("x.b.example", Origins::Any, true),
            ("b.example:5001", only(&["b.example:5001"]), true),
            ("example", only(&["example"]), true),
            (".example", only(&[".example"]), true),
            ("anexample", only(&["anexample"]), true),
            ("c.test", only(&["c.test", "d.test"]), true),
            ("d.test", only(&["d.test"]), true),
        ];
        for (registry, origins, host_files) in cases {
            let domain = domains.of(registry);
            assert_eq!(domain.origins(registry), origins, "{registry}");
            assert_eq!(domain.host_files, host_files, "{registry}");
        }
    }
}

//! What containerd has for registries and we lack: proxies, directories, helpers' surroundings.

use std::path::Path;

use toml::Value;

use super::{Setup, pulling};
use crate::facts::{Facts, Process};
use crate::finding::Finding;

pub(super) fn checks(facts: &Facts) -> Vec<Finding> {
    let mut found = proxies(facts);
    if let Some(setup) = Setup::of(facts) {
        found.extend(directories(&setup));
        found.extend(inline(&setup));
    }
    found.extend(helpers(facts));
    found.extend(match &facts.image {
        Some(Ok(text)) => Some(Finding::ok("image", text)),
        Some(Err(error)) => Some(Finding::wrong(
            "image",
            error,
            "see docs/registries.md for credentials, mirrors and certificates",
        )),
        None => None,
    });
    found
}

/// Proxies of containerd's process. Only names are shown: an address may hold a password.
fn proxies(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "proxies";
    let theirs = facts.containerd.as_ref().ok().and_then(|containerd| containerd.process.as_ref());
    let ours = facts.ours.daemon.as_ref().ok().and_then(|daemon| daemon.process.as_ref());
    let (Some(theirs), Some(ours)) = (theirs, ours) else { return Vec::new() };
    let remedy = "systemctl edit chunked-snapshotter, and set the same Environment= as containerd's service has; restart";
    let mut found = Vec::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        let (theirs, ours) = (variable(theirs, name), variable(ours, name));
        if theirs.is_some() && ours.is_none() {
            let text = format!("containerd's process has {name}, our daemon's has not");
            found.push(Finding::wrong(CHECK, text, remedy));
        } else if theirs.is_some() && theirs != ours {
            let text = format!("{name} of containerd's process and of our daemon's differ");
            found.push(Finding::hint(CHECK, text, remedy));
        }
    }
    if found.is_empty() {
        found.push(Finding::ok(CHECK, "our daemon has every proxy that containerd has"));
    }
    found
}

/// A variable that programs read in either case.
fn variable<'a>(process: &'a Process, name: &str) -> Option<&'a str> {
    let small = name.to_ascii_lowercase();
    let value = process.environment.get(name).or_else(|| process.environment.get(&small))?;
    Some(value.as_str()).filter(|value| !value.is_empty())
}

fn directories(setup: &Setup<'_>) -> Vec<Finding> {
    const CHECK: &str = "registry-directories";
    let ours = &setup.facts.ours.config_path;
    let lacking = pulling::config_paths(setup)
        .into_iter()
        .filter(|path| !ours.iter().any(|own| own == Path::new(path)));
    let found: Vec<Finding> = lacking
        .map(|path| {
            let text = format!("containerd reads mirrors and certificates in {path}, we do not");
            Finding::wrong(CHECK, text, format!("add {path} to registry.config_path in our configuration"))
        })
        .collect();
    if found.is_empty() {
        vec![Finding::ok(CHECK, "we read every directory that containerd reads")]
    } else {
        found
    }
}

/// Registries that stand in containerd's own file, in the way that it has given up.
fn inline(setup: &Setup<'_>) -> Option<Finding> {
    let filled = |name: &&&str| {
        setup
            .config
            .cri(setup.version, &["registry", name])
            .and_then(Value::as_table)
            .is_some_and(|table| !table.is_empty())
    };
    let names: Vec<&str> = ["mirrors", "configs", "auths"].iter().filter(filled).copied().collect();
    let text =
        format!("registry.{} in containerd's file say what we do not read", names.join(" and registry."));
    let remedy = "write hosts.toml files below /etc/containerd/certs.d, and credentials into docker's config.json (docs/registries.md)";
    (!names.is_empty()).then(|| Finding::wrong("registry-inline", text, remedy))
}

fn helpers(facts: &Facts) -> Vec<Finding> {
    let ours = &facts.ours;
    if ours.helpers.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (name, _) in ours.helpers.iter().filter(|(_, there)| !**there) {
        let text = format!("docker-credential-{name} is in no directory of the daemon's PATH");
        let remedy = "install it in /usr/local/bin, or set PATH with systemctl edit chunked-snapshotter";
        found.push(Finding::wrong("helper-missing", text, remedy));
    }
    let process = ours.daemon.as_ref().ok().and_then(|daemon| daemon.process.as_ref());
    if process.is_some_and(|process| variable(process, "HOME").is_none()) {
        let text = "the daemon has no HOME, in which credential helpers look for their own configuration";
        let remedy = "systemctl edit chunked-snapshotter, and set Environment=HOME=/root; restart";
        found.push(Finding::wrong("helper-home", text, remedy));
    }
    if found.is_empty() {
        found.push(Finding::ok("helper-missing", "credential helpers can be run"));
    }
    found
}

//! nerdctl and k3s.

use std::path::Path;

use super::Setup;
use super::plugin::TAKEN;
use crate::facts::Facts;
use crate::finding::Finding;

/// containerd's usual socket, which k3s and RKE2 do not have.
const USUAL: &str = "/run/containerd/containerd.sock";
/// Theirs.
pub(crate) const K3S: &str = "/run/k3s/containerd/containerd.sock";

pub(super) fn checks(facts: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    found.extend(nerdctl(facts));
    found.extend(k3s(facts));
    found
}

fn nerdctl(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "nerdctl";
    let nerdctl = facts.nerdctl.as_ref()?;
    let name = Setup::of(facts).and_then(|setup| setup.name()).unwrap_or("chunked");
    let file = nerdctl.file.display();
    let used = nerdctl.snapshotter.as_deref().unwrap_or("overlayfs");
    if used == name {
        return Some(Finding::ok(CHECK, format!("{file} names us")));
    }
    if let Some(taken) = TAKEN.iter().find(|taken| used.contains(**taken)) {
        let text = format!("{file} names {used:?}, which nerdctl takes for {taken}");
        return Some(Finding::wrong("nerdctl-name", text, format!("set snapshotter = {name:?} there")));
    }
    let text = format!("nerdctl uses the snapshotter {used:?} unless a command says another");
    Some(Finding::hint(
        CHECK,
        text,
        format!("set snapshotter = {name:?} in {file}, or use --snapshotter {name}"),
    ))
}

fn k3s(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "k3s";
    let machine = &facts.machine;
    let place = machine.k3s.first()?;
    let ours = facts.ours.containerd_address.as_path();
    let answers = facts.containerd.as_ref().is_ok_and(|containerd| containerd.silent.is_none());
    if machine.k3s_socket && ours == Path::new(USUAL) && !answers {
        let text = format!("k3s or RKE2 is here, and its containerd answers on {K3S}, not on {USUAL}");
        return Some(Finding::wrong(
            CHECK,
            text,
            format!("set containerd_address = {K3S:?} in our configuration"),
        ));
    }
    let text =
        format!("k3s or RKE2 writes containerd's config.toml in {} anew at every start", place.display());
    let remedy = format!(
        "change {0}/config.toml.tmpl (containerd 1.x) or {0}/config-v3.toml.tmpl (2.x), never config.toml",
        place.display()
    );
    Some(Finding::hint(CHECK, text, remedy))
}

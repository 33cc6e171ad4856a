//! The proxy plugin in containerd's configuration.

use std::path::Path;

use toml::{Table, Value};

use super::Setup;
use crate::finding::Finding;

/// nerdctl takes a snapshotter whose name contains one of these for that project's.
pub(crate) const TAKEN: [&str; 5] = ["overlaybd", "stargz", "nydus", "soci", "cvmfs-snapshotter"];
const FRAGMENT: &str = "merge config/dist/containerd-1.x.toml or containerd-2.x.toml into containerd's config.toml, restart containerd";

pub(super) fn checks(setup: &Setup<'_>) -> Vec<Finding> {
    let Some((name, plugin)) = setup.config.plugin(&setup.facts.ours.address) else {
        return vec![Finding::wrong(
            "proxy-plugin",
            "containerd's configuration has no proxy plugin for us",
            FRAGMENT,
        )];
    };
    let mut found = vec![Finding::ok("proxy-plugin", format!("its name is {name}"))];
    found.extend(kind(name, plugin));
    found.extend(address(setup, name, plugin));
    found.extend(taken(name));
    found.extend(root(setup, name, plugin));
    found.extend(annotations(setup, name, plugin));
    found.extend(capabilities(setup, name, plugin));
    found
}

fn kind(name: &str, plugin: &Table) -> Option<Finding> {
    let kind = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
    let text = format!("proxy_plugins.{name}.type is {kind:?}");
    (kind != "snapshot").then(|| Finding::wrong("proxy-type", text, "set type = \"snapshot\""))
}

fn address(setup: &Setup<'_>, name: &str, plugin: &Table) -> Option<Finding> {
    let ours = setup.facts.ours.address.as_path();
    let address = plugin.get("address").and_then(Value::as_str).unwrap_or_default();
    let text = format!("proxy_plugins.{name}.address is {address:?}, our socket is {}", ours.display());
    let remedy = format!("set address = {:?}", ours.display().to_string());
    (Path::new(address) != ours).then(|| Finding::wrong("proxy-address", text, remedy))
}

fn taken(name: &str) -> Option<Finding> {
    let taken = TAKEN.iter().find(|taken| name.contains(**taken))?;
    let text = format!("nerdctl takes {name:?} for {taken}, and pulls into a snapshotter of that name");
    Some(Finding::wrong("proxy-name", text, "call the proxy plugin chunked"))
}

/// What the kubelet hears of the image filesystem.
fn root(setup: &Setup<'_>, name: &str, plugin: &Table) -> Option<Finding> {
    const CHECK: &str = "proxy-root";
    let ours = setup.facts.ours.root.as_path();
    let exported = plugin.get("exports").and_then(|exports| exports.get("root")).and_then(Value::as_str);
    if !setup.version.from(1, 7) {
        return image_fs(setup, name);
    }
    match exported {
        Some(root) if Path::new(root) == ours => None,
        Some(root) => {
            let text =
                format!("proxy_plugins.{name}.exports.root is {root:?}, our root is {}", ours.display());
            Some(Finding::wrong(CHECK, text, format!("set root = {:?}", ours.display().to_string())))
        }
        None => {
            let text = "containerd does not know our root, and tells the kubelet of another image filesystem";
            let remedy =
                format!("add [proxy_plugins.{name}.exports] with root = {:?}", ours.display().to_string());
            Some(Finding::wrong(CHECK, text, remedy))
        }
    }
}

/// containerd 1.6 reports a directory of its own, whatever the configuration says.
fn image_fs(setup: &Setup<'_>, name: &str) -> Option<Finding> {
    let ours = setup.facts.ours.root.as_path();
    if !setup.config.cri_uses(setup.version, name) || setup.containerd.image_fs.as_deref() == Some(ours) {
        return None;
    }
    let reported = setup.config.root().join(format!("io.containerd.snapshotter.v1.{name}"));
    let text = format!(
        "containerd 1.6 tells the kubelet that images are in {}, which is not our root",
        reported.display()
    );
    let remedy = format!("ln -s {} {}", ours.display(), reported.display());
    Some(Finding::wrong("image-fs-root", text, remedy))
}

fn annotations(setup: &Setup<'_>, name: &str, plugin: &Table) -> Option<Finding> {
    let exports = plugin.get("exports");
    let value = exports.and_then(|exports| exports.get("enable_remote_snapshot_annotations"));
    let told = value.and_then(Value::as_str) == Some("true");
    let remedy =
        format!("in [proxy_plugins.{name}.exports] set enable_remote_snapshot_annotations = \"true\"");
    let text = "containerd does not tell us the name of the image whose layers it asks for, which then takes a search";
    (setup.version.from(2, 1) && !told).then(|| Finding::wrong("proxy-annotations", text, remedy))
}

fn capabilities(setup: &Setup<'_>, name: &str, plugin: &Table) -> Option<Finding> {
    const CHECK: &str = "proxy-capabilities";
    let listed = plugin.get("capabilities").and_then(Value::as_array).into_iter().flatten();
    let listed: Vec<&str> = listed.filter_map(Value::as_str).collect();
    let remedy = format!("in [proxy_plugins.{name}] set capabilities = [\"remap-ids\"]");
    if listed.contains(&"rebase") {
        let text = "capability \"rebase\" makes containerd ask for layers without their parents, which we cannot take over";
        return Some(Finding::wrong(CHECK, text, remedy));
    }
    let remaps = listed.contains(&"remap-ids");
    // 1.7 reads it since 1.7.23, and leaves to the kernel what only 2.x does itself.
    if setup.version.from(1, 7) && !setup.version.from(2, 0) {
        let text = "with capability \"remap-ids\" no pod with a user namespace starts: containerd 1.7 cannot mount with mapped owners";
        let remedy = format!("in [proxy_plugins.{name}] remove \"remap-ids\" from capabilities");
        return remaps.then(|| Finding::wrong(CHECK, text, remedy));
    }
    let text = "without capability \"remap-ids\" pods with user namespaces get copies of all layers";
    (setup.version.from(2, 0) && !remaps).then(|| Finding::hint(CHECK, text, remedy))
}

//! The ways of pulling: the transfer service's list, and CRI's settings.

use std::path::Path;

use toml::{Table, Value};

use super::Setup;
use crate::config::{CRI, IMAGES, TRANSFER, at};
use crate::finding::Finding;

pub(super) fn checks(setup: &Setup<'_>) -> Vec<Finding> {
    let Some(name) = setup.name() else { return Vec::new() };
    let mut found = Vec::new();
    if setup.version.from(2, 0) {
        found.extend(unpack(setup, name));
    }
    found.extend(lost_in_migration(setup, name));
    found.extend(replaced_by_import(setup));
    if !setup.config.has_cri(setup.version) {
        found.push(Finding::ok("cri-snapshotter", "containerd's CRI service is off"));
        return found;
    }
    if !setup.config.cri_uses(setup.version, name) {
        let snapshotter = setup.config.cri(setup.version, &["snapshotter"]).and_then(Value::as_str);
        let text = format!("pods use the snapshotter {:?}", snapshotter.unwrap_or("overlayfs"));
        let remedy = format!("for Kubernetes set snapshotter = {name:?} in the CRI section");
        found.push(Finding::hint("cri-snapshotter", text, remedy));
        return found;
    }
    found.push(Finding::ok("cri-snapshotter", format!("pods use {name}")));
    found.extend(annotations(setup));
    found.extend(discard(setup));
    if setup.version.from(2, 1) {
        found.extend(old_way(setup));
    }
    found
}

fn unpack(setup: &Setup<'_>, name: &str) -> Vec<Finding> {
    const CHECK: &str = "unpack-config";
    let list = setup.config.unpack();
    let mut found = Vec::new();
    let ours: Vec<&str> = list.iter().filter(|(_, of)| *of == name).map(|(platform, _)| *platform).collect();
    let entry = format!(
        "add [[plugins.\"{TRANSFER}\".unpack_config]] with this machine's platform and snapshotter = {name:?}"
    );
    if ours.is_empty() {
        let text =
            "the transfer service may not unpack for us: pulls fail with \"no unpack platforms defined\"";
        found.push(Finding::wrong(CHECK, text, entry));
    } else if !ours.iter().any(|platform| fits(platform, &setup.facts.machine.architecture)) {
        let text = format!(
            "unpack_config lists us for {}, this machine is linux/{}",
            ours.join(", "),
            setup.facts.machine.architecture
        );
        found.push(Finding::wrong("unpack-platform", text, entry));
    } else {
        found.push(Finding::ok(CHECK, "the transfer service unpacks for us"));
    }
    if !list.is_empty() && !list.iter().any(|(_, of)| *of == "overlayfs") {
        let text = "unpack_config replaces containerd's own list, and overlayfs is not in it any more";
        let remedy = "add an entry with snapshotter = \"overlayfs\" before ours";
        found.push(Finding::hint("unpack-overlayfs", text, remedy));
    }
    found
}

/// "linux/amd64", with or without a variant; an empty platform is this machine's.
fn fits(platform: &str, architecture: &str) -> bool {
    let mut parts = platform.split('/');
    platform.is_empty() || (parts.next() == Some("linux") && parts.next() == Some(architecture))
}

/// A file of version 2 says what containerd 2.x loses when it converts it.
fn lost_in_migration(setup: &Setup<'_>, name: &str) -> Option<Finding> {
    if !setup.version.from(2, 0) || setup.config.cri_uses(setup.version, name) {
        return None;
    }
    let says = |table: &Table| {
        let version = table.get("version").and_then(Value::as_integer).unwrap_or(1);
        let containerd = table.get("plugins").and_then(|plugins| at(plugins, &[CRI, "containerd"]));
        version < 3
            && containerd.and_then(|table| table.get("snapshotter")).and_then(Value::as_str) == Some(name)
    };
    let (file, _) = setup.containerd.written.iter().find(|(_, table)| says(table))?;
    let text = format!(
        "{} has version 2 and no runtimes table: containerd 2.x drops its snapshotter without a word, and pods use another",
        file.display()
    );
    let remedy = format!(
        "containerd config migrate, or write version = 3 and [plugins.\"{IMAGES}\"] snapshotter = {name:?}"
    );
    Some(Finding::wrong("cri-version-2", text, remedy))
}

/// containerd 1.x replaces a plugin's whole section by an imported file's.
fn replaced_by_import(setup: &Setup<'_>) -> Option<Finding> {
    if setup.version.from(2, 0) {
        return None;
    }
    let (file, written) = setup.containerd.written.first()?;
    let section = written.get("plugins")?.get(CRI)?;
    let mut lost = Vec::new();
    differences(section, setup.config.setting(CRI, &[])?, "", &mut lost);
    let first = lost.first()?;
    let text = format!(
        "{first} of {} is not in force ({} settings in all): an imported file has a table of the CRI plugin, which replaces all of them",
        file.display(),
        lost.len()
    );
    let remedy = "move the CRI table of the imported file into the main file";
    Some(Finding::wrong("cri-replaced", text, remedy))
}

/// Settings that the file writes and that are other ones in force, but for those that an import for us is there for.
fn differences(written: &Value, in_force: &Value, path: &str, lost: &mut Vec<String>) {
    let Some(table) = written.as_table() else {
        if written != in_force {
            lost.push(path.to_owned());
        }
        return;
    };
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match in_force.get(key) {
            _ if path.ends_with("containerd.snapshotter")
                || path.ends_with("disable_snapshot_annotations") => {}
            Some(in_force) => differences(value, in_force, &path, lost),
            // A runtime or the like that was named.
            None if value.is_table() => lost.push(path),
            // A key that this version does not know.
            None => {}
        }
    }
}

fn annotations(setup: &Setup<'_>) -> Option<Finding> {
    let off = setup.config.cri(setup.version, &["disable_snapshot_annotations"]).and_then(Value::as_bool);
    let text =
        "CRI does not tell us the name of the image whose layers it asks for, which then takes a search";
    let remedy = "set disable_snapshot_annotations = false in the CRI section";
    (!setup.version.from(2, 1) && off != Some(false)).then(|| Finding::wrong("cri-annotations", text, remedy))
}

fn discard(setup: &Setup<'_>) -> Option<Finding> {
    let on =
        setup.config.cri(setup.version, &["discard_unpacked_layers"]).and_then(Value::as_bool) == Some(true);
    let text = "containerd drops the layers of images that it unpacked: another snapshotter cannot take them over, \
                and each is fetched again after a change of the snapshotter";
    on.then(|| {
        Finding::hint(
            "discard-unpacked-layers",
            text,
            "set discard_unpacked_layers = false before you switch",
        )
    })
}

/// Settings any of which makes containerd 2.1 and newer pull with its old client (internal/cri/config of its source).
fn old_way(setup: &Setup<'_>) -> Vec<Finding> {
    let cri = |path: &[&str]| setup.config.cri(setup.version, path);
    let truth = |path: &[&str]| cri(path).and_then(Value::as_bool);
    let filled =
        |name| cri(&["registry", name]).and_then(Value::as_table).is_some_and(|table| !table.is_empty());
    let transfer = format!("set it in [plugins.\"{TRANSFER}\"] instead");
    let downloads = cri(&["max_concurrent_downloads"]).and_then(Value::as_integer);
    let keys: [(&str, bool, &str); 8] = [
        ("use_local_image_pull = true", truth(&["use_local_image_pull"]) == Some(true), "remove it"),
        (
            "disable_snapshot_annotations = false",
            truth(&["disable_snapshot_annotations"]) == Some(false),
            "remove it: enable_remote_snapshot_annotations of the proxy plugin does its work",
        ),
        ("discard_unpacked_layers = true", truth(&["discard_unpacked_layers"]) == Some(true), "remove it"),
        (
            "registry.mirrors",
            filled("mirrors"),
            "write hosts.toml files, and name their directory in config_path",
        ),
        (
            "registry.configs",
            filled("configs"),
            "write hosts.toml files, and name their directory in config_path",
        ),
        ("registry.auths", filled("auths"), "use imagePullSecrets or a credential provider"),
        ("max_concurrent_downloads", downloads.is_some_and(|number| number != 3), &transfer),
        (
            "image_pull_with_sync_fs = true",
            truth(&["image_pull_with_sync_fs"]) == Some(true),
            "remove it: we write layers through to the disk",
        ),
    ];
    let set = keys.into_iter().filter(|(_, set, _)| *set);
    set.map(|(key, _, remedy)| {
        let text = format!("{key} in the CRI section makes containerd pull with its old client instead of the transfer service");
        Finding::hint("cri-old-way", text, remedy)
    })
    .collect()
}

/// The registry directories that containerd reads.
pub(crate) fn config_paths(setup: &Setup<'_>) -> Vec<String> {
    let cri = setup.config.cri(setup.version, &["registry", "config_path"]);
    let values = [cri, setup.config.setting(TRANSFER, &["config_path"])];
    let texts = values.into_iter().flatten().filter_map(Value::as_str);
    let mut paths: Vec<String> = texts.flat_map(|text| text.split(':')).map(str::to_owned).collect();
    paths.retain(|path| Path::new(path).is_absolute());
    paths.sort();
    paths.dedup();
    paths
}

//! Files that put right what is wrong, where that is safe: additions to containerd's configuration that it imports, and
//! our own configuration.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use toml_edit::{DocumentMut, Item, Table, value};

use crate::checks::{K3S_SOCKET, Setup, config_paths};
use crate::config::{IMAGES, TRANSFER};
use crate::facts::Facts;
use crate::finding::{Finding, Level};

/// The name of our file among those that containerd imports: late in the alphabet, because later files count more.
const DROP_IN: &str = "zz-chunked-snapshotter.toml";
/// Our configuration's usual place.
const OURS: &str = "/etc/chunked-snapshotter/config.toml";
/// Findings that a file for containerd puts right.
const IN_CONTAINERD: [&str; 10] = [
    "proxy-plugin",
    "proxy-type",
    "proxy-address",
    "proxy-root",
    "proxy-annotations",
    "proxy-capabilities",
    "unpack-config",
    "unpack-platform",
    "unpack-overlayfs",
    "cri-version-2",
];

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fix {
    /// Where.
    pub path: PathBuf,
    /// All of it.
    pub contents: String,
    /// The findings that it answers.
    pub checks: Vec<&'static str>,
    /// What has to be done for it to count.
    pub then: &'static str,
}

/// The files that would put right what was found. `current` is our configuration file's text, empty when there is none.
/// Also says what cannot be put right in this way, and why.
pub fn fixes(facts: &Facts, findings: &[Finding], current: &str) -> (Vec<Fix>, Vec<String>) {
    let (mut fixes, mut reasons) = (Vec::new(), Vec::new());
    match containerd(facts, findings) {
        Some(Ok(fix)) => fixes.push(fix),
        Some(Err(reason)) => reasons.push(reason),
        None => {}
    }
    match ours(facts, findings, current) {
        Some(Ok(fix)) => fixes.push(fix),
        Some(Err(reason)) => reasons.push(reason),
        None => {}
    }
    (fixes, reasons)
}

fn found(findings: &[Finding], names: &[&str]) -> Vec<&'static str> {
    let wanted =
        findings.iter().filter(|finding| finding.level != Level::Ok && names.contains(&finding.check));
    let mut checks: Vec<&'static str> = wanted.map(|finding| finding.check).collect();
    checks.dedup();
    checks
}

fn containerd(facts: &Facts, findings: &[Finding]) -> Option<Result<Fix, String>> {
    let checks = found(findings, &IN_CONTAINERD);
    if checks.is_empty() {
        return None;
    }
    let setup = Setup::of(facts)?;
    if facts
        .machine
        .k3s
        .iter()
        .any(|place| setup.containerd.file.as_ref().is_some_and(|file| file.starts_with(place)))
    {
        return Some(Err(
            "containerd's configuration is written by k3s or RKE2: change its template by hand".to_owned(),
        ));
    }
    // containerd's own default comes first, what the file says after it.
    let Some(directory) = setup.config.imports().into_iter().rev().find_map(imported_directory) else {
        let file = setup.containerd.file.as_deref().unwrap_or(Path::new("/etc/containerd/config.toml"));
        return Some(Err(format!(
            "{} imports no directory that a file could be put into: add imports = [\"/etc/containerd/conf.d/*.toml\"] \
             at its top and try again, or change it by hand",
            file.display()
        )));
    };
    Some(Ok(Fix {
        path: directory.join(DROP_IN),
        contents: drop_in(&setup, &checks),
        checks,
        then: "systemctl restart containerd",
    }))
}

/// The directory of a pattern like /etc/containerd/conf.d/*.toml.
fn imported_directory(pattern: &str) -> Option<PathBuf> {
    let (directory, name) = pattern.rsplit_once('/')?;
    (name == "*.toml" && directory.starts_with('/') && !directory.contains('*')).then(|| directory.into())
}

fn drop_in(setup: &Setup<'_>, checks: &[&str]) -> String {
    let ours = &setup.facts.ours;
    let name = setup.name().unwrap_or("chunked");
    let two = setup.version.from(2, 0);
    let (address, root) = (ours.address.display().to_string(), ours.root.display().to_string());
    let mut text = format!(
        "# Written by chunked-snapshotter doctor --fix.\nversion = {}\n\n[proxy_plugins.{name}]\n  type = \"snapshot\"\n  \
         address = {address:?}\n{}  [proxy_plugins.{name}.exports]\n    root = {root:?}\n",
        if two { 3 } else { 2 },
        // 1.7 cannot mount with mapped owners.
        if two { "  capabilities = [\"remap-ids\"]\n" } else { "" },
    );
    if two {
        text.push_str("    enable_remote_snapshot_annotations = \"true\"\n");
        let machine = format!("linux/{}", setup.facts.machine.architecture);
        // The list replaces the one before: what it had stays in front.
        let mut entries = setup.config.unpack();
        entries.retain(|(_, of)| *of != name);
        if !entries.iter().any(|(_, of)| *of == "overlayfs") {
            entries.insert(0, (&machine, "overlayfs"));
        }
        entries.push((&machine, name));
        for (platform, of) in entries {
            let _ = write!(
                text,
                "\n[[plugins.\"{TRANSFER}\".unpack_config]]\n  platform = {platform:?}\n  snapshotter = {of:?}\n"
            );
        }
    }
    if checks.contains(&"cri-version-2") {
        let _ = write!(text, "\n[plugins.\"{IMAGES}\"]\n  snapshotter = {name:?}\n");
    }
    text
}

fn ours(facts: &Facts, findings: &[Finding], current: &str) -> Option<Result<Fix, String>> {
    let checks = found(findings, &["registry-directories", "k3s"]);
    let wrong_socket = findings.iter().any(|finding| finding.check == "k3s" && finding.level == Level::Wrong);
    let directories = checks.contains(&"registry-directories");
    if !directories && !wrong_socket {
        return None;
    }
    let path = facts.ours.file.clone().unwrap_or_else(|| OURS.into());
    let (Ok(mut file), None) = (current.parse::<DocumentMut>(), &facts.ours.mistake) else {
        return Some(Err(format!("{} has mistakes: correct them first", path.display())));
    };
    if wrong_socket {
        file.insert("containerd_address", value(K3S_SOCKET));
    }
    if directories {
        let mut all = Setup::of(facts).map(|setup| config_paths(&setup)).unwrap_or_default();
        for own in facts.ours.config_path.iter().map(|path| path.display().to_string()) {
            if !all.contains(&own) {
                all.push(own);
            }
        }
        let registry = file.entry("registry").or_insert(Item::Table(Table::new()));
        registry.as_table_like_mut()?.insert("config_path", value(all.join(":")));
    }
    let checks = checks.into_iter().filter(|check| *check != "k3s" || wrong_socket).collect();
    Some(Ok(Fix { path, contents: file.to_string(), checks, then: "systemctl restart chunked-snapshotter" }))
}

//! Right set-ups give nothing but `ok`; each fault that is put into one is found by name.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use chunked_doctor::{
    Containerd, ContainerdConfig, Daemon, Facts, Finding, Level, Machine, Nerdctl, Ours, Prepared, Process,
    SeLinux, Space, Version, examine, fixes,
};
use toml::{Table, Value};

const OLD: &str = include_str!("../../../config/dist/containerd-1.x.toml");
const NEW: &str = include_str!("../../../config/dist/containerd-2.x.toml");
const CRI_OLD: &str = "io.containerd.grpc.v1.cri";
const CRI_NEW: &str = "io.containerd.cri.v1.images";
const TRANSFER: &str = "io.containerd.transfer.v1.local";
const ROOT: &str = "/var/lib/chunked-snapshotter";

fn process() -> Process {
    let environment =
        [("HOME", "/root"), ("PATH", "/usr/bin")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    Process {
        pid: 7,
        environment: environment.into(),
        started: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)),
    }
}

/// A right set-up with the shipped file for this containerd.
fn healthy(major: u32, minor: u32) -> Facts {
    let table: Table = if major == 1 { OLD } else { NEW }.parse().unwrap();
    let changed = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000));
    let daemon = Daemon { version: "1.0.0".into(), root: ROOT.into(), process: Some(process()) };
    Facts {
        ours: Ours {
            version: "1.0.0".into(),
            file: Some("/etc/chunked-snapshotter/config.toml".into()),
            mistake: None,
            changed,
            root: ROOT.into(),
            address: "/run/chunked-snapshotter/chunked-snapshotter.sock".into(),
            containerd_address: "/run/containerd/containerd.sock".into(),
            config_path: vec!["/etc/containerd/certs.d".into()],
            keep_free_percent: 20,
            helpers: BTreeMap::from([("pass".to_owned(), true)]),
            daemon: Ok(daemon),
        },
        containerd: Ok(Containerd {
            version: Version { major, minor },
            silent: None,
            file: Some("/etc/containerd/config.toml".into()),
            changed,
            written: vec![("/etc/containerd/config.toml".into(), table.clone())],
            config: Ok(ContainerdConfig::new(table)),
            process: Some(process()),
            image_fs: Some(ROOT.into()),
        }),
        machine: Machine {
            kernel: "6.1.0-18-amd64".into(),
            overlay: true,
            architecture: "amd64".into(),
            unsuitable: None,
            selinux: Some(SeLinux {
                enforcing: true,
                label: Some("system_u:object_r:container_var_lib_t:s0".into()),
            }),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000),
            past: SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000),
            space: Some(Space { bytes: 50, inodes: 60 }),
            k3s: Vec::new(),
            k3s_socket: false,
        },
        nerdctl: Some(Nerdctl {
            file: "/etc/nerdctl/nerdctl.toml".into(),
            snapshotter: Some("chunked".into()),
        }),
        prepared: Some(Ok(Prepared {
            kind: "bind".into(),
            source: PathBuf::from(ROOT).join("snapshots/1/fs"),
            exists: true,
        })),
        image: Some(Ok("registry.example/app:v1: 3 of 3 layers".into())),
    }
}

/// Changes the configuration that is in force, at a path of tables that are made where they are missing.
fn set(facts: &mut Facts, path: &[&str], value: impl Into<Value>) {
    let containerd = facts.containerd.as_mut().unwrap();
    let mut table = containerd.written[0].1.clone();
    let (last, tables) = path.split_last().unwrap();
    let mut inner = &mut table;
    for key in tables {
        inner = inner.entry((*key).to_owned()).or_insert(Value::Table(Table::new())).as_table_mut().unwrap();
    }
    inner.insert((*last).to_owned(), value.into());
    containerd.written[0].1 = table.clone();
    containerd.config = Ok(ContainerdConfig::new(table));
}

fn unset(facts: &mut Facts, path: &[&str]) {
    let containerd = facts.containerd.as_mut().unwrap();
    let (last, tables) = path.split_last().unwrap();
    let mut table = containerd.written[0].1.clone();
    let mut inner = &mut table;
    for key in tables {
        inner = inner.get_mut(*key).unwrap().as_table_mut().unwrap();
    }
    inner.remove(*last).unwrap();
    containerd.written[0].1 = table.clone();
    containerd.config = Ok(ContainerdConfig::new(table));
}

fn containerd(facts: &mut Facts) -> &mut Containerd {
    facts.containerd.as_mut().unwrap()
}

fn daemon(facts: &mut Facts) -> &mut Daemon {
    facts.ours.daemon.as_mut().unwrap()
}

/// What is not `ok`.
fn wrong(facts: &Facts) -> Vec<Finding> {
    examine(facts).into_iter().filter(|finding| finding.level != Level::Ok).collect()
}

#[test]
fn right_set_ups_are_clean() {
    for (major, minor) in [(1, 6), (1, 7), (2, 1), (2, 4)] {
        assert_eq!(wrong(&healthy(major, minor)), [], "containerd {major}.{minor}");
    }
    // Without CRI, and with nothing known of the processes.
    let mut facts = healthy(2, 4);
    set(&mut facts, &["disabled_plugins"], vec!["io.containerd.cri.v1.images"]);
    containerd(&mut facts).process = None;
    daemon(&mut facts).process = None;
    (facts.nerdctl, facts.prepared, facts.image) = (None, None, None);
    assert_eq!(wrong(&facts), []);
}

type Fault = (&'static str, Level, (u32, u32), fn(&mut Facts));

/// The name under which a fault is found, how much it matters, the containerd, and the fault.
const FAULTS: &[Fault] = &[
    ("configuration", Level::Wrong, (2, 4), |f| {
        f.ours.mistake = Some("config.toml:3:1: unknown field".into());
    }),
    ("daemon", Level::Wrong, (2, 4), |f| f.ours.daemon = Err("no such file".into())),
    ("daemon-version", Level::Wrong, (2, 4), |f| daemon(f).version = "0.9.0".into()),
    ("daemon-root", Level::Wrong, (2, 4), |f| daemon(f).root = "/mnt/other".into()),
    ("daemon-restart", Level::Hint, (2, 4), |f| {
        f.ours.changed = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_100_000_000));
    }),
    ("containerd", Level::Wrong, (2, 4), |f| f.containerd = Err("no such file".into())),
    ("containerd", Level::Wrong, (2, 4), |f| containerd(f).silent = Some("no such file".into())),
    ("containerd", Level::Wrong, (2, 4), |f| containerd(f).config = Err("toml: line 3".into())),
    ("containerd-version", Level::Wrong, (1, 5), |_| {}),
    ("containerd-restart", Level::Wrong, (2, 4), |f| {
        containerd(f).changed = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_100_000_000));
    }),
    ("proxy-plugin", Level::Wrong, (2, 4), |f| unset(f, &["proxy_plugins", "chunked"])),
    ("proxy-type", Level::Wrong, (1, 7), |f| set(f, &["proxy_plugins", "chunked", "type"], "content")),
    ("proxy-address", Level::Wrong, (1, 7), |f| {
        set(f, &["proxy_plugins", "chunked", "address"], "/run/old.sock");
    }),
    ("proxy-root", Level::Wrong, (1, 7), |f| {
        set(f, &["proxy_plugins", "chunked", "exports", "root"], "/mnt/other");
    }),
    ("proxy-root", Level::Wrong, (2, 4), |f| unset(f, &["proxy_plugins", "chunked", "exports", "root"])),
    ("proxy-annotations", Level::Wrong, (2, 4), |f| {
        // A boolean, where containerd wants a string.
        set(f, &["proxy_plugins", "chunked", "exports", "enable_remote_snapshot_annotations"], true);
    }),
    ("proxy-capabilities", Level::Wrong, (2, 4), |f| {
        set(f, &["proxy_plugins", "chunked", "capabilities"], vec!["rebase"]);
    }),
    ("proxy-capabilities", Level::Hint, (2, 4), |f| unset(f, &["proxy_plugins", "chunked", "capabilities"])),
    ("proxy-capabilities", Level::Wrong, (1, 7), |f| {
        set(f, &["proxy_plugins", "chunked", "capabilities"], vec!["remap-ids"]);
    }),
    ("proxy-name", Level::Wrong, (1, 7), |f| {
        unset(f, &["proxy_plugins", "chunked"]);
        let ours = f.ours.address.display().to_string();
        set(f, &["proxy_plugins", "my-soci", "type"], "snapshot");
        set(f, &["proxy_plugins", "my-soci", "address"], ours);
        set(f, &["proxy_plugins", "my-soci", "exports", "root"], ROOT);
    }),
    ("unpack-config", Level::Wrong, (2, 4), |f| unset(f, &["plugins", TRANSFER])),
    ("unpack-platform", Level::Wrong, (2, 4), |f| f.machine.architecture = "arm64".into()),
    ("unpack-overlayfs", Level::Hint, (2, 4), |f| {
        let entry = Table::from_iter([
            ("platform".to_owned(), "linux/amd64".into()),
            ("snapshotter".to_owned(), "chunked".into()),
        ]);
        set(f, &["plugins", TRANSFER, "unpack_config"], vec![Value::Table(entry)]);
    }),
    ("cri-snapshotter", Level::Hint, (1, 7), |f| {
        set(f, &["plugins", CRI_OLD, "containerd", "snapshotter"], "overlayfs");
    }),
    ("cri-annotations", Level::Wrong, (1, 7), |f| {
        set(f, &["plugins", CRI_OLD, "containerd", "disable_snapshot_annotations"], true);
    }),
    ("cri-version-2", Level::Wrong, (2, 4), |f| {
        set(f, &["plugins", CRI_NEW, "snapshotter"], "overlayfs");
        containerd(f).written = vec![("/etc/containerd/config.toml".into(), OLD.parse().unwrap())];
    }),
    ("cri-replaced", Level::Wrong, (1, 7), |f| {
        let main = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"mine\"\n";
        set(f, &["plugins", CRI_OLD, "sandbox_image"], "default");
        containerd(f).written.insert(0, ("/etc/containerd/config.toml".into(), main.parse().unwrap()));
    }),
    ("discard-unpacked-layers", Level::Hint, (1, 7), |f| {
        set(f, &["plugins", CRI_OLD, "containerd", "discard_unpacked_layers"], true);
    }),
    ("image-fs-root", Level::Wrong, (1, 6), |f| containerd(f).image_fs = None),
    ("cri-old-way", Level::Hint, (2, 1), |f| set(f, &["plugins", CRI_NEW, "use_local_image_pull"], true)),
    ("cri-old-way", Level::Hint, (2, 1), |f| {
        set(f, &["plugins", CRI_NEW, "disable_snapshot_annotations"], false);
    }),
    ("cri-old-way", Level::Hint, (2, 1), |f| set(f, &["plugins", CRI_NEW, "discard_unpacked_layers"], true)),
    ("cri-old-way", Level::Hint, (2, 1), |f| {
        set(f, &["plugins", CRI_NEW, "registry", "mirrors", "r", "endpoint"], "h");
    }),
    ("cri-old-way", Level::Hint, (2, 1), |f| {
        set(f, &["plugins", CRI_NEW, "registry", "configs", "r", "tls"], "h");
    }),
    ("cri-old-way", Level::Hint, (2, 1), |f| {
        set(f, &["plugins", CRI_NEW, "registry", "auths", "r", "auth"], "h");
    }),
    ("cri-old-way", Level::Hint, (2, 1), |f| set(f, &["plugins", CRI_NEW, "max_concurrent_downloads"], 10)),
    ("cri-old-way", Level::Hint, (2, 1), |f| set(f, &["plugins", CRI_NEW, "image_pull_with_sync_fs"], true)),
    ("proxies", Level::Wrong, (2, 4), |f| {
        let process = containerd(f).process.as_mut().unwrap();
        process.environment.insert("https_proxy".into(), "http://user:secret@proxy".into());
    }),
    ("proxies", Level::Hint, (2, 4), |f| {
        let theirs = containerd(f).process.as_mut().unwrap();
        theirs.environment.insert("NO_PROXY".into(), "a,b".into());
        daemon(f).process.as_mut().unwrap().environment.insert("no_proxy".into(), "a".into());
    }),
    ("registry-directories", Level::Wrong, (1, 7), |f| {
        set(f, &["plugins", CRI_OLD, "registry", "config_path"], "/srv/certs.d");
    }),
    ("registry-directories", Level::Wrong, (2, 4), |f| {
        set(f, &["plugins", TRANSFER, "config_path"], "/srv/certs.d");
    }),
    ("registry-inline", Level::Wrong, (1, 7), |f| {
        set(f, &["plugins", CRI_OLD, "registry", "mirrors", "r", "endpoint"], "h");
    }),
    ("helper-missing", Level::Wrong, (2, 4), |f| f.ours.helpers.extend([("ecr-login".into(), false)])),
    ("helper-home", Level::Wrong, (2, 4), |f| {
        drop(daemon(f).process.as_mut().unwrap().environment.remove("HOME"));
    }),
    ("image", Level::Wrong, (2, 4), |f| f.image = Some(Err("registry.example/app:v1: denied".into()))),
    ("kernel", Level::Wrong, (2, 4), |f| f.machine.kernel = "5.4.0-generic".into()),
    ("kernel-overlayfs", Level::Wrong, (2, 4), |f| f.machine.overlay = false),
    ("root-filesystem", Level::Wrong, (2, 4), |f| f.machine.unsuitable = Some("root is on nfs".into())),
    ("selinux", Level::Wrong, (2, 4), |f| {
        f.machine.selinux =
            Some(SeLinux { enforcing: true, label: Some("system_u:object_r:var_lib_t:s0".into()) });
    }),
    ("clock", Level::Wrong, (2, 4), |f| f.machine.now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000)),
    ("free-space", Level::Hint, (2, 4), |f| f.machine.space = Some(Space { bytes: 10, inodes: 90 })),
    ("free-space", Level::Wrong, (2, 4), |f| f.machine.space = Some(Space { bytes: 90, inodes: 1 })),
    ("nerdctl", Level::Hint, (2, 4), |f| f.nerdctl.as_mut().unwrap().snapshotter = None),
    ("nerdctl-name", Level::Wrong, (2, 4), |f| {
        f.nerdctl.as_mut().unwrap().snapshotter = Some("stargz2".into());
    }),
    ("k3s", Level::Wrong, (2, 4), |f| {
        f.machine.k3s = vec!["/var/lib/rancher/k3s/agent/etc/containerd".into()];
        f.machine.k3s_socket = true;
        containerd(f).silent = Some("no such file".into());
    }),
    ("k3s", Level::Hint, (2, 4), |f| {
        f.machine.k3s = vec!["/var/lib/rancher/k3s/agent/etc/containerd".into()];
    }),
    ("prepare", Level::Wrong, (2, 4), |f| f.prepared = Some(Err("snapshotter not loaded: chunked".into()))),
    ("prepare", Level::Wrong, (2, 4), |f| {
        f.prepared = Some(Ok(Prepared {
            kind: "bind".into(),
            source: "/var/lib/containerd/1/fs".into(),
            exists: true,
        }));
    }),
    ("prepare", Level::Wrong, (2, 4), |f| {
        f.prepared = Some(Ok(Prepared {
            kind: "bind".into(),
            source: format!("{ROOT}/snapshots/1/fs").into(),
            exists: false,
        }));
    }),
];

#[test]
fn each_fault_is_found_by_name() {
    for (number, (check, level, (major, minor), fault)) in FAULTS.iter().enumerate() {
        let mut facts = healthy(*major, *minor);
        fault(&mut facts);
        let findings = wrong(&facts);
        let found = findings.iter().find(|finding| finding.check == *check && finding.level == *level);
        let found = found.unwrap_or_else(|| panic!("fault {number}, {check}: {findings:#?}"));
        assert!(!found.remedy.is_empty(), "{found:?}");
        // The fault and what follows from it, not a list of guesses.
        assert!(findings.len() <= 3, "fault {number}, {check}: {findings:#?}");
        assert!(!format!("{findings:?}").contains("secret"), "{findings:#?}");
    }
}

#[test]
fn a_file_for_containerd_puts_the_plugin_right() {
    let mut facts = healthy(2, 4);
    unset(&mut facts, &["proxy_plugins", "chunked"]);
    unset(&mut facts, &["plugins", TRANSFER]);
    set(&mut facts, &["imports"], vec!["/etc/containerd/one.toml", "/etc/containerd/conf.d/*.toml"]);
    let (found, reasons) = fixes(&facts, &wrong(&facts), "");
    assert_eq!((found.len(), reasons.len()), (1, 0));
    assert_eq!(found[0].path, PathBuf::from("/etc/containerd/conf.d/zz-chunked-snapshotter.toml"));
    // As containerd merges it.
    let table: Table = found[0].contents.parse().unwrap();
    set(&mut facts, &["proxy_plugins"], table["proxy_plugins"].clone());
    set(&mut facts, &["plugins", TRANSFER], table["plugins"][TRANSFER].clone());
    assert_eq!(wrong(&facts), [], "{}", found[0].contents);
}

#[test]
fn what_the_list_had_stays_in_it() {
    let mut facts = healthy(2, 4);
    let entry = Table::from_iter([
        ("platform".to_owned(), "linux/amd64".into()),
        ("snapshotter".to_owned(), "erofs".into()),
    ]);
    set(&mut facts, &["plugins", TRANSFER, "unpack_config"], vec![Value::Table(entry)]);
    set(&mut facts, &["imports"], vec!["/etc/containerd/conf.d/*.toml"]);
    let (found, _) = fixes(&facts, &wrong(&facts), "");
    let table: Table = found[0].contents.parse().unwrap();
    let list = table["plugins"][TRANSFER]["unpack_config"].as_array().unwrap();
    let snapshotters: Vec<_> = list.iter().map(|entry| entry["snapshotter"].as_str().unwrap()).collect();
    assert_eq!(snapshotters, ["overlayfs", "erofs", "chunked"]);
}

#[test]
fn nothing_is_written_where_it_would_not_count() {
    let mut facts = healthy(1, 7);
    set(&mut facts, &["proxy_plugins", "chunked", "type"], "content");
    let (found, reasons) = fixes(&facts, &wrong(&facts), "");
    assert!(found.is_empty() && reasons[0].contains("imports"), "{found:?} {reasons:?}");
    set(&mut facts, &["imports"], vec!["/var/lib/rancher/k3s/agent/etc/containerd/conf.d/*.toml"]);
    containerd(&mut facts).file = Some("/var/lib/rancher/k3s/agent/etc/containerd/config.toml".into());
    facts.machine.k3s = vec!["/var/lib/rancher/k3s/agent/etc/containerd".into()];
    let (found, reasons) = fixes(&facts, &wrong(&facts), "");
    assert!(found.is_empty() && reasons[0].contains("template"), "{found:?} {reasons:?}");
}

#[test]
fn our_own_file_keeps_its_comments() {
    let mut facts = healthy(2, 4);
    set(&mut facts, &["plugins", TRANSFER, "config_path"], "/srv/certs.d");
    let ours = "# mine\nroot = \"/mnt/x\" # here\n[registry]\n# theirs\nhttp2 = true\n";
    let (found, _) = fixes(&facts, &wrong(&facts), ours);
    let added = "config_path = \"/srv/certs.d:/etc/containerd/certs.d\"\n";
    assert_eq!(found[0].contents, format!("{ours}{added}"));
    assert_eq!(fixes(&facts, &wrong(&facts), "").0[0].contents, format!("[registry]\n{added}"));
    // A file with mistakes is left alone.
    facts.ours.mistake = Some("line 1".into());
    assert!(fixes(&facts, &wrong(&facts), ours).0.is_empty());
}

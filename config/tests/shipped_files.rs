//! The shipped files must agree with each other and with the defaults.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use chunked_config::Settings;
use toml::{Table, Value};

const CONTAINERD: [(&str, &str); 2] = [
    ("1.x", include_str!("../dist/containerd-1.x.toml")),
    ("2.x", include_str!("../dist/containerd-2.x.toml")),
];
const UNIT: &str = include_str!("../dist/chunked-snapshotter.service");
const SOCKET: &str = include_str!("../dist/chunked-snapshotter.socket");
const NERDCTL: &str = include_str!("../dist/nerdctl.toml");

/// The value at a path of keys.
fn at<'a>(table: &'a Table, path: &[&str]) -> &'a Value {
    let (first, rest) = path.split_first().unwrap();
    let value = table.get(*first).unwrap_or_else(|| panic!("{first} is missing"));
    rest.iter()
        .fold(value, |value, key| value.get(key).unwrap_or_else(|| panic!("{key} is missing in {path:?}")))
}

fn text<'a>(table: &'a Table, path: &[&str]) -> &'a str {
    at(table, path).as_str().unwrap()
}

/// All values of a key in the service's unit file.
fn unit(key: &str) -> Vec<&'static str> {
    values(UNIT, key)
}

fn values(file: &'static str, key: &str) -> Vec<&'static str> {
    file.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn containerd_finds_us_where_we_are() {
    let settings = Settings::default();
    for (version, file) in CONTAINERD {
        let table: Table = file.parse().unwrap();
        let plugin = ["proxy_plugins", "chunked"];
        assert_eq!(text(&table, &[plugin[0], plugin[1], "type"]), "snapshot", "{version}");
        let address = text(&table, &[plugin[0], plugin[1], "address"]);
        assert_eq!(address, settings.address.to_str().unwrap(), "{version}");
        let root = text(&table, &[plugin[0], plugin[1], "exports", "root"]);
        assert_eq!(root, settings.root.to_str().unwrap(), "{version}");
        // `rebase` would send all layers without parents; 1.7 cannot mount what `remap-ids` promises.
        let capabilities = table["proxy_plugins"]["chunked"].get("capabilities");
        let expected = (version == "2.x").then(|| Value::Array(vec![Value::from("remap-ids")]));
        assert_eq!(capabilities, expected.as_ref(), "{version}");
    }
}

#[test]
fn each_containerd_is_told_in_its_own_way() {
    let old: Table = CONTAINERD[0].1.parse().unwrap();
    assert_eq!(at(&old, &["version"]).as_integer(), Some(2));
    let cri = ["plugins", "io.containerd.grpc.v1.cri", "containerd"];
    assert_eq!(text(&old, &[cri[0], cri[1], cri[2], "snapshotter"]), "chunked");
    assert_eq!(at(&old, &[cri[0], cri[1], cri[2], "disable_snapshot_annotations"]).as_bool(), Some(false));

    let new: Table = CONTAINERD[1].1.parse().unwrap();
    assert_eq!(at(&new, &["version"]).as_integer(), Some(3));
    let annotations = ["proxy_plugins", "chunked", "exports", "enable_remote_snapshot_annotations"];
    assert_eq!(text(&new, &annotations), "true", "a string, not a boolean");
    let images = ["plugins", "io.containerd.cri.v1.images"];
    assert_eq!(text(&new, &[images[0], images[1], "snapshotter"]), "chunked");
    let unpack =
        at(&new, &["plugins", "io.containerd.transfer.v1.local", "unpack_config"]).as_array().unwrap();
    let snapshotters: Vec<_> = unpack.iter().filter_map(|entry| entry.get("snapshotter")?.as_str()).collect();
    assert_eq!(snapshotters, ["overlayfs", "chunked"], "the list replaces containerd's own");
}

#[test]
fn nerdctl_uses_the_same_name() {
    let table: Table = NERDCTL.parse().unwrap();
    let name = text(&table, &["snapshotter"]);
    assert_eq!(name, "chunked");
    for taken in ["overlaybd", "stargz", "nydus", "soci", "cvmfs-snapshotter"] {
        assert!(!name.contains(taken), "nerdctl would take it for {taken}");
    }
}

#[test]
fn the_unit_owns_the_default_directories() {
    let settings = Settings::default();
    let state = unit("StateDirectory");
    assert_eq!(format!("/var/lib/{}", state[0]), settings.root.to_str().unwrap());
    let runtime = unit("RuntimeDirectory");
    let socket_dir = settings.address.parent().unwrap();
    assert_eq!(format!("/run/{}", runtime[0]), socket_dir.to_str().unwrap());
    assert_eq!(unit("Type"), ["notify"]);
    assert_eq!(unit("Before"), ["containerd.service"]);
}

#[test]
fn the_socket_is_ours_and_for_root_only() {
    let address = Settings::default().address;
    assert_eq!(values(SOCKET, "ListenStream"), [address.to_str().unwrap()]);
    assert_eq!((values(SOCKET, "SocketMode"), values(SOCKET, "DirectoryMode")), (vec!["0600"], vec!["0700"]));
    assert_eq!(values(SOCKET, "Before"), ["containerd.service"]);
    assert_eq!(unit("Requires"), ["chunked-snapshotter.socket"]);
    assert_eq!(unit("RuntimeDirectoryPreserve"), ["yes"], "or a restart takes the socket's directory away");
}

/// Hardening that would break layers: device nodes and setuid files are part of images.
#[test]
fn the_unit_allows_what_layers_need() {
    for key in ["PrivateDevices", "DeviceAllow", "DevicePolicy", "ProtectClock", "RestrictSUIDSGID", "UMask"]
    {
        assert!(unit(key).is_empty(), "{key} must not be set");
    }
    let capabilities = unit("CapabilityBoundingSet").concat();
    for needed in ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP", "SYS_ADMIN"] {
        assert!(capabilities.contains(&format!("CAP_{needed}")), "CAP_{needed}");
    }
}

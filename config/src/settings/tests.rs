use super::*;
use crate::DEFAULT_FILE;

fn mistake(text: &str) -> String {
    Settings::parse(text, "file").expect_err(text).to_string()
}

#[test]
fn the_shipped_file_is_the_default() {
    assert_eq!(Settings::parse(DEFAULT_FILE, "shipped").unwrap(), Settings::default());
    assert_eq!(Settings::parse("", "empty").unwrap(), Settings::default());
}

/// Every key must be in the shipped file: a user learns of settings there.
#[test]
fn the_shipped_file_names_every_key() {
    let shipped: toml::Table = DEFAULT_FILE.parse().unwrap();
    let all = toml::Table::try_from(Settings::default()).unwrap();
    assert_eq!(shipped, all);
}

#[test]
fn settings_survive_being_written() {
    let settings = Settings {
        registry: Registry {
            docker_config: None,
            plain_http: vec!["r:1".to_owned()],
            plain_http_redirects: true,
            config_path: vec!["/a".into(), "/b".into()],
            ..Registry::default()
        },
        reuse: Reuse {
            layers: ReuseLayers::With(["a".to_owned()].into()),
            domains: vec![ReuseDomain { registries: vec!["r".to_owned()], ..ReuseDomain::default() }],
            ..Reuse::default()
        },
        ..Settings::default()
    };
    let text = toml::to_string(&settings).unwrap();
    assert_eq!(Settings::parse(&text, "written").unwrap(), settings);
}

#[test]
fn mistakes_say_where_and_what() {
    let cases = [
        ("rot = \"/x\"", "file:1:1: unknown field `rot`, expected one of `root`, `address`"),
        (
            "[log]\nlevel = \"info\"\nfromat = \"text\"",
            "file:3:1: unknown field `fromat`, expected `level` or `format`",
        ),
        ("[pul]\nworkers = 1", "file:1:2: unknown field `pul`"),
        ("\n[log]\n  level = \"loud\"", "file:3:11: unknown variant `loud`, expected one of `error`, `warn`"),
        ("[pull]\nworkers = \"two\"", "file:2:11: invalid type: string \"two\""),
        ("[pull]\nlayers_at_once = 0", "file:2:18: 0 is out of bounds: the least is 1, the most 64"),
        ("[pull]\nworkers = -1", "file:2:11: -1 is out of bounds"),
        (
            "[pull]\nsegment = 2097152",
            "file:2:11: invalid type: integer `2097152`, expected a size with its unit",
        ),
        ("[pull]\nsegment = \"2MB\"", "file:2:11: \"2MB\" is not a size"),
        (
            "[pull]\nsegment = \"1KiB\"",
            "file:2:11: 1KiB is out of bounds: the least is 64KiB, the most 64MiB",
        ),
        ("[registry]\nconnect_timeout = \"10\"", "file:2:19: \"10\" is not a time"),
        (
            "[registry]\nconnect_timeout = \"2h\"",
            "file:2:19: 2h is out of bounds: the least is 100ms, the most 5m",
        ),
        ("[registry]\nplain_http = [\"http://r\"]", "file:2:14: \"http://r\" is not a host"),
        ("[registry]\ndocker_config = \"x\"", "file:2:17: \"x\" is not an absolute path"),
        ("[store]\nkeep_free_percent = 91", "file:2:21: 91 is out of bounds: the least is 0, the most 90"),
        ("[store]\nunused_bytes = 5", "file:2:16: invalid type: integer `5`, expected a size with its unit"),
        (
            "[registry]\nconfig_path = \"/a:b\"",
            "file:2:15: \"b\" is not an absolute path; several are parted by colons",
        ),
        ("[registry]\nbandwidth = \"1KiB\"", "file:2:13: less than 64KiB in a second"),
        ("[registry]\nconnections = 0", "file:2:15: 0 is out of bounds"),
        ("[registry]\ncredential_timeout = \"0s\"", "file:2:22: 0s is out of bounds"),
        (
            "[registry]\nimage_credential_provider_config = \"/x.yaml\"",
            "file: [registry] image_credential_provider_config and image_credential_provider_bin_dir go together",
        ),
        ("[pull]\nprefer = \"speed\"", "file:2:10: unknown variant `speed`, expected `bytes` or `time`"),
        ("[pull]\ndeadline = \"8d\"", "file:2:12: 8d is out of bounds"),
        (
            "[metrics]\naddress = \"localhost:9477\"",
            "file:2:11: \"localhost:9477\" is not an address and a port",
        ),
        ("[metrics]\nsocket = \"m.sock\"", "file:2:10: \"m.sock\" is not an absolute path"),
        (
            "address = \"/run/a.sock\"\n[metrics]\nsocket = \"/run/a.sock\"",
            "file: [metrics] socket /run/a.sock is the socket of something else",
        ),
        ("[history]\npulls = 10001", "file:2:9: 10001 is out of bounds: the least is 0, the most 10000"),
        ("root = \"var/lib\"", "file:1:8: \"var/lib\" is not an absolute path"),
        ("root = \"/var/../etc\"", "file:1:8: \"/var/../etc\" is not an absolute path"),
        ("root = \"/\"", "file:1:8: the root directory of the host"),
        ("root = \"/a:b\"", "file:1:8: \"/a:b\" has a character that mount options cannot hold"),
        ("# ä\nroot = ", "file:2:8: "),
        ("root = \"/a\"\nroot = \"/b\"", "file:2:1: duplicate key"),
        (
            "address = \"/run/containerd/containerd.sock\"",
            "file: address and containerd_address are the same socket",
        ),
        ("root = \"/data\"\naddress = \"/data/x.sock\"", "file: address /data/x.sock lies below root /data"),
        (
            "[pull]\nsegment = \"64MiB\"",
            "file: [pull] memory = \"192MiB\" is less than four segments of \"64MiB\"",
        ),
        (
            "[pull]\nmemory_per_layer = \"16MiB\"",
            "file:2:20: memory_per_layer is no longer a setting: memory bounds all layers together",
        ),
        (
            "[host]\npolicy = \"all\"",
            "file:2:10: unknown variant `all`, expected one of `package-owned`, `any`",
        ),
        ("[host]\nroots = [\"usr\"]", "file:2:9: \"usr\" is not an absolute path"),
        ("[host]\nroots = [\"/\"]", "file:2:9: host files below \"/\" are never indexed"),
        ("[host]\nroots = [\"/etc/ssl\"]", "file:2:9: host files below \"/etc/ssl\" are never indexed"),
        ("[host]\nroots = [\"/usr\", \"/usr/lib\"]", "file:2:9: \"/usr/lib\" and \"/usr\" overlap"),
        (
            "[host]\nfilesystems = [\"nfs\"]",
            "file:2:15: \"nfs\" is not a filesystem whose files can be indexed",
        ),
        ("[host]\nmin_size = \"0B\"", "file:2:12: 0B is out of bounds"),
        (
            "[host]\nmin_size = \"2MiB\"\nmax_size = \"1MiB\"",
            "file: [host] min_size = \"2MiB\" is more than max_size = \"1MiB\"",
        ),
        (
            "root = \"/opt/x\"\n[host]\nroots = [\"/opt\"]",
            "file: root /opt/x lies below /opt, whose files are indexed",
        ),
        ("[reuse]\nlayers = \"mine\"", "file:2:10: \"mine\" says nothing about layers: write \"own\""),
        ("[reuse]\nlayers = 1", "file:2:10: invalid type: integer `1`, expected \"own\""),
        ("[reuse]\nlayers = [\"https://r\"]", "file:2:10: \"https://r\" is not a registry"),
        ("[[reuse.domains]]\nlayers = \"all\"", "file:1:1: missing field `registries`"),
        ("[[reuse.domains]]\nregistries = []", "file:2:14: a domain needs at least one registry"),
        ("[[reuse.domains]]\nregistries = [\"a/b\"]", "file:2:14: \"a/b\" names no registry"),
        ("[[reuse.domains]]\nregistries = [\"r\"]\nlayer = 1", "file:3:1: unknown field `layer`"),
    ];
    for (text, expected) in cases {
        let got = mistake(text);
        assert!(got.starts_with(expected), "{text:?}\n got      {got}\n expected {expected}");
        assert!(!got.contains('\n'), "one line: {got:?}");
    }
    let long = format!("address = \"/run/{}\"", "x".repeat(120));
    assert!(mistake(&long).contains("longer than a socket's path"), "{}", mistake(&long));
}

#[test]
fn reuse_by_registry() {
    let text = "[reuse]\nlayers = [\"b\", \"a:5000\"]\n\
        [[reuse.domains]]\nregistries = [\"r\", \"*.x\"]\nlayers = \"none\"\n\
        [[reuse.domains]]\nregistries = [\"s\"]\nhost_files = false\n";
    let reuse = Settings::parse(text, "file").unwrap().reuse;
    assert_eq!(reuse.layers, ReuseLayers::With(["a:5000".to_owned(), "b".to_owned()].into()));
    let domain = |registries: &[&str], layers, host_files| ReuseDomain {
        registries: registries.iter().map(ToString::to_string).collect(),
        layers,
        host_files,
    };
    let first = domain(&["r", "*.x"], Some(ReuseLayers::None), None);
    assert_eq!(reuse.domains, [first, domain(&["s"], None, Some(false))]);
    let twice = "[[reuse.domains]]\nregistries = [\"r\"]\n[[reuse.domains]]\nregistries = [\"r\"]\n";
    assert!(mistake(twice).contains("registry \"r\" is in two places"), "{}", mistake(twice));
    let roots = Settings::parse("[host]\nroots = [\"/opt//x/\"]", "file").unwrap().host.roots;
    assert_eq!(roots, [Path::new("/opt/x")]);
}

#[test]
fn files_are_read_with_their_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let absent = Settings::load(&path).unwrap_err();
    assert!(absent.to_string().contains("config.toml"), "{absent}");
    std::fs::write(&path, "root = \"/data\"\n").unwrap();
    assert_eq!(Settings::load(&path).unwrap().root, Path::new("/data"));
    std::fs::write(&path, "root = 1\n").unwrap();
    let wrong = Settings::load(&path).unwrap_err().to_string();
    assert!(wrong.starts_with(&format!("{}:1:8: ", path.display())), "{wrong}");
    std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
    assert!(matches!(Settings::load(&path), Err(ConfigError::TooLong { .. })));
}

#[test]
fn levels_have_one_spelling() {
    for name in ["error", "warn", "info", "debug", "trace"] {
        let level: Level = name.parse().unwrap();
        assert_eq!(level.to_string(), name);
        let file = format!("[log]\nlevel = \"{name}\"");
        assert_eq!(Settings::parse(&file, "file").unwrap().log.level, level);
    }
    assert!("INFO".parse::<Level>().is_err());
}

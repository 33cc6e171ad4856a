use super::*;

const ROOT_PEM: &str = include_str!("../../tests/support/ca.pem");

/// A `certs.d` with one directory for `host`.
fn certs_d(host: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join(host);
    std::fs::create_dir(&directory).unwrap();
    for (name, text) in files {
        std::fs::write(directory.join(name), text).unwrap();
    }
    root
}

fn loaded(root: &tempfile::TempDir, host: &str) -> Result<Vec<Arc<Endpoint>>, (String, String)> {
    load(&[root.path().to_path_buf()], host, &[])
}

fn bases(endpoints: &[Arc<Endpoint>]) -> Vec<&str> {
    endpoints.iter().map(|endpoint| endpoint.base.as_str()).collect()
}

#[test]
fn schemes_and_names_without_configuration() {
    let plain = vec!["plain.example".to_owned(), "port.example:80".to_owned()];
    for (host, base) in [
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("r.example", "https://r.example/v2"),
        ("r.example:5000", "https://r.example:5000/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("127.1.2.3:5000", "http://127.1.2.3:5000/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
        ("[::1]", "http://[::1]/v2"),
        ("[::2]", "https://[::2]/v2"),
        ("localhost.example", "https://localhost.example/v2"),
        ("128.0.0.1", "https://128.0.0.1/v2"),
        ("plain.example:5000", "http://plain.example:5000/v2"),
        ("port.example:80", "http://port.example/v2"),
        ("port.example", "https://port.example/v2"),
    ] {
        let found = load(&["/nonexistent".into()], host, &plain).unwrap();
        assert_eq!(bases(&found), [base], "{host}");
        assert_eq!((&*found[0].host, &found[0].mirror_of), (host, &None));
    }
}

#[test]
fn hosts_made_by_hand_cannot_smuggle() {
    for host in ["r.example/x", "user@r.example", "r.example?x", "", "a b"] {
        assert!(load(&[], host, &[]).is_err(), "{host:?}");
    }
}

#[test]
fn mirrors_come_first_and_have_names_of_their_own() {
    let root = certs_d(
        "docker.io",
        &[(
            "hosts.toml",
            "server = 'https://registry-1.docker.io'\n[host.'http://127.0.0.1:30020']\ncapabilities = ['pull', 'resolve']\n\
             [host.'https://m.example/hub']\n",
        )],
    );
    let found = loaded(&root, "docker.io").unwrap();
    assert_eq!(
        bases(&found),
        ["http://127.0.0.1:30020/v2", "https://m.example/hub/v2", "https://registry-1.docker.io/v2"]
    );
    let hosts: Vec<_> = found.iter().map(|e| (&*e.host, e.mirror_of.as_deref())).collect();
    let hub = Some("docker.io");
    assert_eq!(hosts, [("127.0.0.1:30020", hub), ("m.example", hub), ("docker.io", None)]);
    assert!(!found[0].capabilities.push && found[2].capabilities.push);
    // Other hosts are not concerned.
    assert_eq!(bases(&loaded(&root, "r.example").unwrap()), ["https://r.example/v2"]);
}

#[test]
fn without_a_server_the_registry_itself_is_last() {
    let root = certs_d("_default", &[("hosts.toml", "[host.'https://m.example']\n")]);
    assert_eq!(
        bases(&loaded(&root, "r.example:5000").unwrap()),
        ["https://m.example/v2", "https://r.example:5000/v2"]
    );
    // An empty file is no file.
    let root = certs_d("r.example", &[("hosts.toml", "")]);
    assert_eq!(bases(&loaded(&root, "r.example").unwrap()), ["https://r.example/v2"]);
}

#[test]
fn a_server_elsewhere_is_another_host() {
    let root = certs_d("r.example", &[("hosts.toml", "server = 'https://other.example'")]);
    let found = loaded(&root, "r.example").unwrap();
    assert_eq!((&*found[0].host, found[0].mirror_of.as_deref()), ("other.example", Some("r.example")));
}

#[test]
fn plain_http_with_tls_settings_tries_https_first() {
    let text =
        "[host.'http://m.example:5000']\nskip_verify = true\n[host.'http://n.example']\nskip_verify = true";
    let root = certs_d("r.example", &[("hosts.toml", text)]);
    assert_eq!(
        bases(&loaded(&root, "r.example").unwrap()),
        [
            "https://m.example:5000/v2",
            "http://m.example:5000/v2",
            "http://n.example/v2",
            "https://r.example/v2"
        ]
    );
}

#[test]
fn certificates_as_docker_lays_them_out() {
    let root = certs_d("r.example", &[("ca.crt", ROOT_PEM), ("note.txt", "x")]);
    let found = loaded(&root, "r.example").unwrap();
    assert_eq!(bases(&found), ["https://r.example/v2"]);
    assert!(format!("{:?}", found[0].tls).contains("ca: 1"), "{:?}", found[0].tls);
    let directory = root.path().join("r.example");
    std::fs::write(directory.join("c.cert"), "no certificate").unwrap();
    std::fs::write(directory.join("c.key"), "SECRET").unwrap();
    let (place, reason) = loaded(&root, "r.example").unwrap_err();
    assert!(place.ends_with("c.key") && !reason.contains("SECRET"), "{place}: {reason}");
}

#[test]
fn mistakes_have_a_place() {
    for (text, place, reason) in [
        ("server = 'https://r.example'\nca = 'missing.crt'", "/r.example/missing.crt", "No such file"),
        ("server = \n", "/r.example/hosts.toml:1:", ""),
        ("server = 'x'\ncapabilities = ['pul']", "/r.example/hosts.toml:2:17", "pul"),
    ] {
        let root = certs_d("r.example", &[("hosts.toml", text)]);
        let found = loaded(&root, "r.example").unwrap_err();
        assert!(found.0.contains(place) && found.1.contains(reason), "{text}: {found:?}");
    }
}

#[test]
fn connections_are_shared_by_what_the_files_say() {
    let tls = |files: &[(&str, &str)]| {
        let root = certs_d("r.example", files);
        loaded(&root, "r.example").unwrap().last().unwrap().tls.clone()
    };
    assert_eq!(tls(&[]), Tls::default());
    let ca = tls(&[("a.crt", ROOT_PEM)]);
    assert_ne!(ca, Tls::default());
    assert_eq!(ca, tls(&[("b.crt", ROOT_PEM)]));
    assert_ne!(ca, tls(&[("hosts.toml", "skip_verify = true")]));
    assert_eq!(ca.for_others(), ca);
}

#[tokio::test]
async fn changes_are_seen_without_a_restart() {
    let root = certs_d("r.example", &[("hosts.toml", "[host.'https://m.example']")]);
    let hosts = Hosts::new(vec![root.path().to_path_buf()], Vec::new());
    let subject = Subject { host: "r.example".to_owned(), what: "app".to_owned() };
    assert_eq!(hosts.endpoints("r.example", &subject).await.unwrap().len(), 2);
    std::fs::write(root.path().join("r.example/hosts.toml"), "server = 5").unwrap();
    // Looked at moments ago.
    assert_eq!(hosts.endpoints("r.example", &subject).await.unwrap().len(), 2);
    hosts.known.lock().unwrap().clear();
    let error = hosts.endpoints("r.example", &subject).await.unwrap_err();
    assert!(error.to_string().contains("hosts.toml:1:10"), "{error}");
}

#[test]
fn origins() {
    let url = |text: &str| Url::parse(text).unwrap();
    assert!(same_origin(&url("https://a.example/x"), &url("https://a.example:443/y")));
    for other in ["http://a.example/", "https://b.example/", "https://a.example:444/"] {
        assert!(!same_origin(&url("https://a.example/"), &url(other)));
    }
}

#[test]
fn what_is_said_of_a_host_ends_at_that_host() {
    let root = certs_d("r.example", &[("ca.pem", ROOT_PEM), ("hosts.toml", "skip_verify = true\n")]);
    let alone = loaded(&root, "r.example").unwrap();
    assert_ne!(alone[0].tls, Tls::default());
    assert_eq!(alone[0].for_others().tls, Tls::default(), "its token server has to show a good certificate");
    let text = "skip_verify = true\nca = 'ca.pem'\n";
    std::fs::write(root.path().join("r.example/hosts.toml"), text).unwrap();
    let with_ca = loaded(&root, "r.example").unwrap();
    let others = format!("{:?}", with_ca[0].for_others().tls);
    assert!(others.contains("ca: 1") && others.contains("skip_verify: false"), "{others}");
}

use super::*;

fn parsed(text: &str) -> HostsFile {
    parse(text, Path::new("/certs.d/r.example")).unwrap()
}

fn mistake(text: &str) -> Mistake {
    parse(text, Path::new("/certs.d/r.example")).unwrap_err()
}

fn roots(text: &str) -> Vec<String> {
    parsed(text).hosts.iter().map(|host| host.root.as_ref().map_or("-".into(), Url::to_string)).collect()
}

#[test]
fn hosts_come_in_the_files_order_and_the_server_last() {
    let text = r#"
        server = "https://upstream.example"
        capabilities = ["pull"]
        [host."https://z.example"]
        capabilities = ["pull", "Resolve"]
        [host."https://a.example:5001/cache"]
        [host."https://a.example:5001/cache".header]
        x-one = "1"
        [host."http://127.0.0.1:30020"]
        dial_timeout = "200ms"
        override_path = true
    "#;
    assert_eq!(
        roots(text),
        [
            "https://z.example/v2",
            "https://a.example:5001/cache/v2",
            "http://127.0.0.1:30020/",
            "https://upstream.example/v2"
        ]
    );
    let hosts = parsed(text).hosts;
    assert_eq!(hosts[0].capabilities, Capabilities { pull: true, resolve: true, push: false });
    assert_eq!(hosts[1].capabilities, Capabilities::ALL);
    assert_eq!(hosts[1].headers["x-one"], "1");
    assert_eq!(hosts[2].dial_timeout, Some(Duration::from_millis(200)));
    assert_eq!(hosts[3].capabilities, Capabilities { pull: true, resolve: false, push: false });
}

#[test]
fn roots_of_interfaces() {
    for (server, override_path, root) in [
        ("r.example", false, "https://r.example/v2"),
        ("r.example:5000", false, "https://r.example:5000/v2"),
        ("http://r.example/", false, "http://r.example/v2"),
        ("https://r.example/v2", false, "https://r.example/v2"),
        ("https://r.example/v2/", false, "https://r.example/v2"),
        ("https://r.example/team", false, "https://r.example/team/v2"),
        ("https://r.example/team", true, "https://r.example/team"),
        ("https://r.example", true, "https://r.example/"),
    ] {
        let text = format!("server = {server:?}\noverride_path = {override_path}");
        assert_eq!(roots(&text), [root], "{server} {override_path}");
    }
    assert_eq!(roots(""), ["-"]);
    assert_eq!(roots("server = \"\"\nskip_verify = true"), ["-"]);
}

#[test]
fn certificates_in_all_their_forms() {
    let here = |name: &str| Path::new("/certs.d/r.example").join(name);
    let tls = |text: &str| parsed(text).hosts[0].tls.clone();
    assert_eq!(tls("ca = 'a.crt'").ca, [here("a.crt")]);
    assert_eq!(tls("ca = ['a.crt', '/etc/b.crt']").ca, [here("a.crt"), "/etc/b.crt".into()]);
    assert_eq!(tls("client = 'c.pem'").clients, [(here("c.pem"), None)]);
    assert_eq!(tls("client = ['c.pem', 'd.pem']").clients.len(), 2);
    assert_eq!(
        tls("client = [['c.cert', 'c.key'], 'd.pem']").clients,
        [(here("c.cert"), Some(here("c.key"))), (here("d.pem"), None)]
    );
    assert_eq!(tls("skip_verify = false").skip_verify, Some(false));
    assert!(!tls("skip_verify = false").is_empty());
    assert!(tls("server = 'r.example'").is_empty());
}

#[test]
fn mistakes_have_a_line_and_no_secrets() {
    for (text, line, part) in [
        (
            "server = \"https://r.example\"\ncapabilities = [\"pull\",\n  \"pul\"]",
            3,
            "unknown capability \"pul\"",
        ),
        ("\n\nserver = 5", 3, "string"),
        ("server = \"https://\"", 1, "not a URL"),
        ("[host.\"ftp://m.example\"]", 1, "not a URL"),
        ("[host.\"https://user:SECRET@m.example\"]\n", 1, "user name"),
        ("[host.\"https://m.example\"]\nca = 5", 2, "list of strings"),
        ("client = [[\"a\", \"b\", \"c\"]]", 1, "pairs"),
        ("dial_timeout = \"5\"", 1, "not a time"),
        ("[host.\"https://m.example\"]\nskip_verify = \"SECRET", 2, ""),
        ("[host.\"https://m.example\".header]\nAuthorization = 12345678", 1, ""),
        ("[host.\"https://m.example\"]\nheader = \"SECRET\"", 2, "header names"),
        ("[host.\"https://m.example\".header]\nAuthorization = \"SECRET\\u0007\"", 1, "characters"),
        ("[host.\"https://m.example\".header]\nAuthorization = \"SECRET\nx = 1", 2, ""),
        ("[host.\"https://m.example\".header]\nAuthorization = [\"SECRET\", {}]", 1, ""),
    ] {
        let found = mistake(text);
        // The parser puts some mistakes at the table's head.
        assert!(found.line == line || found.line == line + 1, "{text}: {found:?}");
        let shown = format!("{found:?}");
        assert!(shown.contains(&part.replace('"', "\\\"")), "{text}: {shown}");
        assert!(!shown.contains("SECRET") && !shown.contains("12345678"), "{text}: {shown}");
    }
}

#[test]
fn unknown_keys_are_named_and_ignored() {
    let text = "server = 'r.example'\nfuture = 1\n[host.'m.example']\nweight = 3\nca = 'x'\n[host.'m.example'.new]\na = 1";
    let file = parsed(text);
    assert_eq!(file.unknown, ["future", "host.\"m.example\".new", "host.\"m.example\".weight"]);
    assert_eq!(file.hosts.len(), 2);
}

#[test]
fn debug_hides_headers() {
    let file = parsed("[host.'m.example'.header]\nAuthorization = 'Basic SECRET'\nX-Key = ['SECRET']");
    assert!(!format!("{file:?}").contains("SECRET"), "{file:?}");
}

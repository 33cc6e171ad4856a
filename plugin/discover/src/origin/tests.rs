use super::*;

fn labels(pairs: &[(&str, &str)]) -> HashMap<String, String> {
    let key = |host| format!("{}{host}", labels::DISTRIBUTION_SOURCE_PREFIX);
    pairs.iter().map(|(host, repositories)| (key(host), (*repositories).to_owned())).collect()
}

fn record(name: &str, target: ObjectDigest) -> Record {
    Record { name: name.parse().unwrap(), target }
}

/// `host/repository` of every reference, in order.
fn chosen(from: &[(&str, &str)], image_ref: Option<&str>, records: &[Record], known: &[&str]) -> Vec<String> {
    let hints = Hints { manifest: None, image: image_ref.map(|name| name.parse().unwrap()) };
    let known_hosts: Vec<String> = known.iter().map(|host| (*host).to_owned()).collect();
    let indexes = [ObjectDigest::of(b"index")];
    let names = Names { hints: &hints, records, known_hosts: &known_hosts, indexes: &indexes };
    let manifest = ObjectDigest::of(b"manifest");
    let places = references(&manifest, &origins(&labels(from)), &names);
    assert!(places.iter().all(|p| p.reference.digest == Some(manifest) && p.reference.tag.is_none()));
    // What a name vouches for comes first.
    assert!(places.is_sorted_by_key(|p| p.port_assumed));
    let named = image_ref.is_some()
        || records.iter().any(|r| origins(&labels(from)).iter().any(|o| o.is_of(&r.name)));
    assert!(named || places.iter().all(|p| p.port_assumed));
    places.iter().map(|p| format!("{}/{}", p.reference.host, p.reference.repository)).collect()
}

#[test]
fn labels_alone_give_every_origin() {
    let from = [("docker.io", "library/alpine,me/alpine"), ("a.example", "x")];
    assert_eq!(
        chosen(&from, None, &[], &[]),
        ["a.example/x", "docker.io/library/alpine", "docker.io/me/alpine"]
    );
}

#[test]
fn a_name_that_agrees_comes_first_and_brings_its_port() {
    let from = [("docker.io", "library/alpine"), ("r.example", "team/app")];
    assert_eq!(
        chosen(&from, Some("r.example:5000/team/app:v1"), &[], &[]),
        ["r.example:5000/team/app", "docker.io/library/alpine"],
        "nobody named port 443 of r.example"
    );
}

#[test]
fn a_name_that_is_no_origin_is_ignored() {
    let from = [("r.example", "team/app")];
    for forged in ["evil.example/team/app:v1", "r.example/other/app:v1", "r.example.evil/team/app"] {
        assert_eq!(chosen(&from, Some(forged), &[], &[]), ["r.example/team/app"], "{forged}");
    }
    let evil = record("evil.example/team/app:v1", ObjectDigest::of(b"manifest"));
    assert_eq!(chosen(&from, None, &[evil], &["evil.example:1"]), ["r.example/team/app"]);
    assert_eq!(chosen(&[], Some("r.example/team/app"), &[], &["r.example:1"]), [""; 0]);
}

#[test]
fn records_rank_by_how_close_they_are() {
    let from = [("a.example", "one,two"), ("b.example", "three")];
    let records = [
        record("b.example:1/other:v1", ObjectDigest::of(b"another")),
        record("a.example:2/one:v1", ObjectDigest::of(b"another")),
        record("a.example:3/two:v1", ObjectDigest::of(b"index")),
    ];
    let got = chosen(&from, None, &records, &["b.example:9"]);
    assert_eq!(got, ["a.example:3/two", "a.example:2/one", "b.example:9/three"], "configured, not guessed");
    let got = chosen(&from, None, &records, &[]);
    assert_eq!(got[2..], ["b.example:1/three"], "the port of another image there, for want of a better one");
}

/// For each origin the kinds of names that are there, and the servers that are asked.
#[test]
fn only_servers_that_something_names_are_asked() {
    let (this, another) = (ObjectDigest::of(b"index"), ObjectDigest::of(b"another"));
    for (host, hint, records, known, asked) in [
        ("10.0.0.1", None, &[][..], &[][..], &[][..]),
        ("registry", None, &[], &[], &[]),
        ("localhost", None, &[], &[], &[]),
        ("::1", None, &[], &[], &[]),
        ("r.example", None, &[], &[], &["r.example/app"]),
        (
            "10.0.0.1",
            None,
            &[],
            &["10.0.0.1:5000", "10.0.0.1:6000"],
            &["10.0.0.1:5000/app", "10.0.0.1:6000/app"],
        ),
        ("10.0.0.1", Some("10.0.0.1:7000/app"), &[], &["10.0.0.1:5000"], &["10.0.0.1:7000/app"]),
        ("10.0.0.1", Some("10.0.0.1/app"), &[], &["10.0.0.1:5000"], &["10.0.0.1/app"]),
        ("10.0.0.1", None, &[("10.0.0.1:8000/app", this)], &["10.0.0.1:5000"], &["10.0.0.1:8000/app"]),
        (
            "10.0.0.1",
            None,
            &[("10.0.0.1:8000/app", another), ("10.0.0.1:9000/other", another)],
            &["10.0.0.1:5000"],
            &["10.0.0.1:8000/app", "10.0.0.1:5000/app"],
        ),
        ("r.example", None, &[("r.example:8000/app", another)], &[], &["r.example:8000/app"]),
        ("r.example", None, &[("r.example:9000/other", another)], &[], &["r.example:9000/app"]),
    ] {
        let records: Vec<Record> = records.iter().map(|(name, target)| record(name, *target)).collect();
        assert_eq!(
            chosen(&[(host, "app")], hint, &records, known),
            asked,
            "{host} {hint:?} {records:?} {known:?}"
        );
    }
}

#[test]
fn addresses_are_hosts_too() {
    let from = [("127.0.0.1", "app"), ("::1", "app")];
    let got = chosen(&from, Some("127.0.0.1:5000/app:v1"), &[], &["[::1]:6000"]);
    assert_eq!(got, ["127.0.0.1:5000/app", "[::1]:6000/app"]);
}

#[test]
fn malformed_labels_give_nothing() {
    for (host, repositories) in [
        ("", "app"),
        ("r.example", ""),
        ("r.example", ",,"),
        ("r.example", "UPPER"),
        ("r.example", "../etc"),
        ("r.example", "a@b"),
        ("r.example", "a:tag"),
        ("user@r.example", "app"),
        ("r.example/deeper", "app"),
        ("plainword", "app"),
        ("r.example\n", "app"),
    ] {
        assert_eq!(chosen(&[(host, repositories)], None, &[], &[]), [""; 0], "{host:?} {repositories:?}");
    }
    let many: String = (0..500).map(|i| format!("app{i},")).collect();
    assert_eq!(chosen(&[("r.example", &many)], None, &[], &[]).len(), MAX_PLACES);
}

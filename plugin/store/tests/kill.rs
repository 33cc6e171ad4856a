//! kill -9 in the middle of anything: what was answered is there afterwards, what was not leaves nothing
//! behind.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chunked_core::{Digest, chain_id};
use chunked_store::{
    Adoption, Flavour, Keep, Kind, Labels, LayerPin, NewFile, NewLayer, NewSnapshot, Problem, Store,
    StoreOptions, Usage, Verified, VerifyOptions, Watch,
};

const ROOT: &str = "CHUNKED_STORE_KILL_ROOT";
const ROUND: &str = "CHUNKED_STORE_KILL_ROUND";

fn open(root: &Path) -> Store {
    let options = StoreOptions {
        keep: Keep { min_age: Duration::from_secs(3600), free_percent: 0, ..Keep::default() },
        sync: false,
    };
    Store::open_with(root, options).unwrap()
}

/// The process that dies. Says what it has done, line by line.
#[test]
fn worker() {
    let (Ok(root), Ok(round)) = (std::env::var(ROOT), std::env::var(ROUND)) else { return };
    let store = open(Path::new(&root));
    let say = |line: String| writeln!(std::io::stderr(), "{line}").unwrap();
    for n in 0.. {
        let name = format!("{round}.{n}");
        let layer = layer(&store, &name);
        say(format!("layer {name}"));
        let base = adopt(&store, &layer, &Digest::of(name.as_bytes()), None);
        say(format!("snapshot {base}"));
        let top = adopt(&store, &self::layer(&store, &format!("top {name}")), &top_of(&name), Some(&base));
        say(format!("snapshot {top}"));
        let key = format!("ns/{n}/{name}");
        let labels = Labels::new();
        let new =
            NewSnapshot { name: &key, kind: Kind::Active, parent: Some(&top), labels: &labels, owner: None };
        store.create(&new).unwrap();
        say(format!("snapshot {key}"));
        store.commit(&format!("{key} committed"), &key, &labels, None).unwrap();
        say(format!("gone {key}"));
        say(format!("snapshot {key} committed"));
        if n % 3 == 0 {
            say(format!("going {key} committed"));
            store.remove(&format!("{key} committed")).unwrap();
            say(format!("gone {key} committed"));
            store.cleanup().unwrap();
        }
    }
}

fn top_of(name: &str) -> Digest {
    chain_id(Some(&Digest::of(name.as_bytes())), &Digest::of(format!("top {name}").as_bytes()))
}

fn layer(store: &Store, name: &str) -> LayerPin {
    let staging = store.stage().unwrap();
    std::fs::create_dir(staging.fs().join("opt")).unwrap();
    std::fs::write(staging.fs().join("opt/file"), name).unwrap();
    let file = NewFile {
        path: b"opt/file".to_vec(),
        digest: Digest::of(name.as_bytes()),
        size: name.len() as u64,
        proven: true,
    };
    let new = NewLayer {
        diff_id: Digest::of(name.as_bytes()),
        flavour: Flavour::Upper,
        has_whiteouts: false,
        implied: vec![b"opt".to_vec()],
        shared: Usage::default(),
        files: vec![file],
        chunks: Some(Vec::new()),
        origin: None,
    };
    store.commit_layer(staging, new).unwrap()
}

fn adopt(store: &Store, layer: &LayerPin, target: &Digest, parent: Option<&str>) -> String {
    let labels = Labels::new();
    store.adopt(layer, &Adoption { target: &target.to_string(), parent, labels: &labels }).unwrap().name
}

#[test]
fn what_was_answered_survives_and_nothing_else_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut expected = BTreeSet::new();
    let mut layers = Vec::new();
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["worker", "--exact", "--nocapture"])
            .env(ROOT, dir.path())
            .env(ROUND, round.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        // However busy the machine is: it dies after its first deed, at any moment.
        let mut lines: Vec<String> = output.next().into_iter().collect();
        let reader = std::thread::spawn(move || output.collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(round * 37 % 101));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.extend(reader.join().unwrap());
        assert!(!lines.is_empty(), "killed before it did anything");
        let mut doubtful = BTreeSet::new();
        for line in &lines {
            match line.split_once(' ').unwrap() {
                ("layer", name) => layers.push(name.to_owned()),
                ("snapshot", name) => drop(expected.insert(name.to_owned())),
                ("going", name) => drop(doubtful.insert(name.to_owned())),
                ("gone", name) => drop(expected.remove(name)),
                _ => panic!("{line}"),
            }
        }
        expected.retain(|name| !doubtful.contains(name));
        check(dir.path(), &mut expected, &layers);
    }
}

#[derive(Default)]
struct Problems(Vec<Problem>);

impl Watch for Problems {
    fn progress(&mut self, _: &Verified) -> bool {
        true
    }

    fn problem(&mut self, problem: &Problem) -> bool {
        self.0.push(problem.clone());
        true
    }
}

fn check(root: &Path, expected: &mut BTreeSet<String>, layers: &[String]) {
    let store = open(root);
    store.complete_index().unwrap();
    let found: BTreeSet<String> =
        store.snapshots().unwrap().into_iter().map(|snapshot| snapshot.name).collect();
    // The last commit may have happened without the answer: then its key is gone and its name there.
    let lost: Vec<_> =
        expected.difference(&found).filter(|key| !found.contains(&format!("{key} committed"))).collect();
    assert!(lost.is_empty(), "answered, but lost: {lost:?}");
    for name in layers {
        let layer = store.layer(&Digest::of(name.as_bytes()), Flavour::Upper).unwrap();
        assert_eq!(std::fs::read(layer.unwrap().fs().join("opt/file")).unwrap(), name.as_bytes());
        let donor = store.lookup(&[(Digest::of(name.as_bytes()), name.len() as u64)]);
        assert!(donor[0].is_some(), "{name} is not found again");
    }
    for snapshot in store.snapshots().unwrap() {
        if snapshot.kind == Kind::Committed {
            assert!(store.committed_parent(&snapshot.name).is_ok(), "{} is whole", snapshot.name);
        } else {
            assert!(store.mount(&snapshot.name).unwrap().fs.is_dir());
        }
    }
    for name in contents(root) {
        let wanted = [(Digest::of(&name), name.len() as u64)];
        assert!(store.lookup(&wanted)[0].is_some(), "a layer that was not answered is not found again");
    }
    store.cleanup().unwrap();
    for place in ["staging", "trash", "orphans"] {
        let left = std::fs::read_dir(root.join(place)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{place}");
    }
    let mut problems = Problems::default();
    store.verify(VerifyOptions { contents: true, repair: false }, &mut problems).unwrap();
    assert_eq!(problems.0, []);
    *expected = found;
}

/// What is in `opt/file` of every layer directory.
fn contents(root: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(root.join("snapshots")).unwrap();
    entries.filter_map(|entry| std::fs::read(entry.unwrap().path().join("fs/opt/file")).ok()).collect()
}

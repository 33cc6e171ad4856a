//! Stores that earlier versions left: their databases, lists and markers are made here as those versions made them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chunked_core::{Digest, chain_id};
use chunked_cuts::{Chunker, Cuts};
use chunked_store::{
    Adoption, Flavour, Keep, Kind, Labels, LayerPin, NewFile, NewLayer, NewSnapshot, Problem, Snapshot,
    Store, StoreOptions, Usage, Verified, VerifyOptions, Watch,
};
use rusqlite::Connection;

/// What each version of `state.db` added to the one before.
const STATE: [&str; 4] = [
    "CREATE TABLE ids (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL);
     INSERT INTO ids VALUES (1, 1);
     CREATE TABLE layers (
         id            INTEGER PRIMARY KEY,
         diff_id       BLOB NOT NULL,
         flavour       INTEGER NOT NULL,
         context       BLOB,
         bytes         INTEGER NOT NULL,
         inodes        INTEGER NOT NULL,
         has_whiteouts INTEGER NOT NULL,
         implied       BLOB NOT NULL,
         created       INTEGER NOT NULL,
         used          INTEGER NOT NULL
     ) STRICT;
     CREATE INDEX layers_by_diff_id ON layers (diff_id);
     CREATE TABLE snapshots (
         id      INTEGER PRIMARY KEY,
         name    TEXT NOT NULL UNIQUE,
         kind    INTEGER NOT NULL,
         parent  TEXT,
         dir     INTEGER NOT NULL,
         layer   INTEGER REFERENCES layers (id),
         ref     TEXT,
         created INTEGER NOT NULL,
         updated INTEGER NOT NULL,
         labels  TEXT NOT NULL,
         bytes   INTEGER,
         inodes  INTEGER
     ) STRICT;
     CREATE INDEX snapshots_by_parent ON snapshots (parent) WHERE parent IS NOT NULL;
     CREATE INDEX snapshots_by_ref    ON snapshots (ref)    WHERE ref IS NOT NULL;
     CREATE INDEX snapshots_by_layer  ON snapshots (layer)  WHERE layer IS NOT NULL;",
    "ALTER TABLE layers ADD COLUMN origins TEXT NOT NULL DEFAULT '';",
    "ALTER TABLE layers ADD COLUMN shared_bytes  INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE layers ADD COLUMN shared_inodes INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE layers ADD COLUMN damaged INTEGER NOT NULL DEFAULT 0;",
];
/// Columns of `layers` that each version added.
const LAYER_COLUMNS: [&str; 4] = [
    "id, diff_id, flavour, context, bytes, inodes, has_whiteouts, implied, created, used",
    ", origins",
    ", shared_bytes, shared_inodes",
    ", damaged",
];

/// `index.db` of the second version, and its rows from a layer's files.
const INDEX_2: &str = "
    CREATE TABLE files (
        digest BLOB NOT NULL,
        size   INTEGER NOT NULL,
        layer  INTEGER NOT NULL,
        path   BLOB NOT NULL,
        kind   INTEGER NOT NULL,
        PRIMARY KEY (digest, size, layer, path)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE layers (id INTEGER PRIMARY KEY) STRICT;
    PRAGMA user_version = 2;";
const INDEX_3: &str = "
    CREATE TABLE files (
        key INTEGER NOT NULL, layer INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (key, layer, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE chunks (
        key INTEGER NOT NULL, layer INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (key, layer, at)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE layers (id INTEGER PRIMARY KEY, files INTEGER NOT NULL, chunks INTEGER NOT NULL) STRICT;
    PRAGMA user_version = 3;";
/// What the fourth version added.
const INDEX_4: &str = "
    ALTER TABLE layers ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
    PRAGMA user_version = 4;";
/// Bytes of a list before its first record.
const BEFORE: [i64; 5] = [0, 16, 24, 24, 25];

fn open(root: &Path) -> Store {
    let keep = Keep { min_age: Duration::MAX, free_percent: 0, ..Keep::default() };
    Store::open_with(root, StoreOptions { keep, sync: false }).unwrap()
}

fn large() -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take(60_000).flatten().collect()
}

fn layer(store: &Store, name: &str) -> LayerPin {
    let staging = store.stage().unwrap();
    let file = |path: &str, content: &[u8]| {
        fs::write(staging.fs().join(path), content).unwrap();
        NewFile { path: path.into(), digest: Digest::of(content), size: content.len() as u64, proven: true }
    };
    let files = vec![file("small", name.as_bytes()), file("large", &large())];
    let new = NewLayer {
        diff_id: Digest::of(name.as_bytes()),
        flavour: Flavour::Base,
        has_whiteouts: false,
        implied: Vec::new(),
        shared: Usage { bytes: 1000, inodes: 1 },
        files,
        chunks: None,
        origin: Some("registry.example".to_owned()),
    };
    store.commit_layer(staging, new).unwrap()
}

fn adopt(store: &Store, pin: &LayerPin, name: &str) -> Snapshot {
    let target = chain_id(None, &Digest::of(name.as_bytes())).to_string();
    store.adopt(pin, &Adoption { target: &target, parent: None, labels: &Labels::new() }).unwrap()
}

fn create(store: &Store, name: &str, parent: Option<&str>) -> PathBuf {
    let labels = Labels::from([("a".to_owned(), name.to_owned())]);
    store.create(&NewSnapshot { name, kind: Kind::Active, parent, labels: &labels, owner: None }).unwrap().fs
}

/// Puts the rows of the database at `path` into one of this version.
fn age_state(path: &Path, version: usize) {
    let old = path.with_extension("old");
    {
        let db = Connection::open(&old).unwrap();
        STATE.iter().take(version).for_each(|step| db.execute_batch(step).unwrap());
        let columns = LAYER_COLUMNS[..version].concat();
        db.execute("ATTACH ?1 AS now", [path.to_str().unwrap()]).unwrap();
        db.execute_batch(&format!(
            "UPDATE ids SET next = (SELECT next FROM now.ids);
             INSERT INTO layers ({columns}) SELECT {columns} FROM now.layers;
             INSERT INTO snapshots SELECT * FROM now.snapshots;
             PRAGMA user_version = {version};"
        ))
        .unwrap();
    }
    replace(path, &old);
}

/// Puts the index's rows into one of version 2, 3 or 4 over a list of this version, `files` being digest, size and path
/// of each.
fn age_index(path: &Path, version: i64, list: u8, layer: u64, files: &[(Digest, u64, &str)]) {
    let old = path.with_extension("old");
    {
        let db = Connection::open(&old).unwrap();
        db.execute_batch(if version == 2 { INDEX_2 } else { INDEX_3 }).unwrap();
        if version == 2 {
            for (digest, size, path) in files {
                let row = rusqlite::params![digest.as_bytes(), *size, layer, path.as_bytes(), 0];
                db.execute("INSERT INTO files VALUES (?1, ?2, ?3, ?4, ?5)", row).unwrap();
            }
            db.execute("INSERT INTO layers VALUES (?1)", [layer]).unwrap();
        } else {
            db.execute("ATTACH ?1 AS now", [path.to_str().unwrap()]).unwrap();
            // Records of files had a byte less, and those of chunks, too.
            let earlier = BEFORE[4] - BEFORE[usize::from(list)];
            db.execute_batch(&format!(
                "INSERT INTO files SELECT key, layer, at - {earlier} - row_number() OVER (ORDER BY at) + 1 FROM now.files;
                 INSERT INTO chunks SELECT key, layer, at - {earlier} - (SELECT count(*) FROM now.files)
                     - row_number() OVER (ORDER BY at) + 1 FROM now.chunks;
                 INSERT INTO layers SELECT id, files, chunks FROM now.layers;",
            ))
            .unwrap();
            if version == 4 {
                db.execute_batch(INDEX_4).unwrap();
                db.execute("UPDATE layers SET cut = chunks > 0", []).unwrap();
            }
        }
    }
    replace(path, &old);
}

fn replace(path: &Path, with: &Path) {
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", path.display()));
    }
    fs::rename(with, path).unwrap();
}

/// Writes the list as version 1, 2 or 3 did. None had flags, and version 1 had no length before the records, nor chunks.
fn age_list(path: &Path, version: u8) {
    let now = fs::read(path).unwrap();
    let number = |at: usize| u64::from_le_bytes(now[at..at + 8].try_into().unwrap());
    let first = usize::try_from(BEFORE[4]).unwrap();
    let chunks = first + usize::try_from(number(17)).unwrap();
    let before = usize::try_from(BEFORE[usize::from(version)]).unwrap();
    let (mut records, mut moved, mut at) = (Vec::new(), std::collections::HashMap::new(), first);
    while at < chunks {
        moved.insert(at as u64, (before + records.len()) as u64);
        let path = usize::from(u16::from_le_bytes(now[at + 40..at + 42].try_into().unwrap()));
        records.extend([&now[at..at + 42], &now[at + 43..at + 43 + path]].concat());
        at += 43 + path;
    }
    let mut old = format!("chunked-files-{version}\n").into_bytes();
    if version > 1 {
        old.extend((records.len() as u64).to_le_bytes());
    }
    old.extend(records);
    for at in (chunks..now.len() - 32).step_by(57) {
        old.extend(&now[at..at + 48]);
        old.extend(moved[&number(at + 48)].to_le_bytes());
    }
    old.extend(*Digest::of(&old).as_bytes());
    fs::write(path, old).unwrap();
}

/// Takes out of the marker what its first version did not have.
fn age_marker(path: &Path) {
    let mut marker: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let fields = marker.as_object_mut().unwrap();
    ["origins", "shared_bytes", "shared_inodes"]
        .iter()
        .for_each(|name| assert!(fields.remove(*name).is_some()));
    fs::write(path, marker.to_string()).unwrap();
}

struct Problems(Vec<String>);

impl Watch for Problems {
    fn progress(&mut self, _: &Verified) -> bool {
        true
    }

    fn problem(&mut self, problem: &Problem) -> bool {
        self.0.push(problem.text.clone());
        true
    }
}

fn problems(store: &Store) -> Vec<String> {
    let mut found = Problems(Vec::new());
    store.verify(VerifyOptions { contents: true, repair: false }, &mut found).unwrap();
    found.0
}

fn chunks() -> Vec<(Digest, u64)> {
    let (mut chunker, mut found) = (Chunker::new(Cuts::Compatible), Vec::new());
    chunker.feed(&large(), |chunk| found.push((chunk.digest, chunk.len)));
    chunker.finish(|chunk| found.push((chunk.digest, chunk.len)));
    assert!(found.len() > 3);
    found
}

/// A store of this version of `state.db`, `index.db` and lists, as it is when it is opened now. `lost`: the state
/// database is gone, and only markers tell what the layers are.
fn opens(state: usize, index: i64, list: u8, lost: bool) {
    let what = format!("state.db {state}, index.db {index}, lists {list}, lost {lost}");
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path();
    let store = open(root);
    let pin = layer(&store, "l");
    let committed = adopt(&store, &pin, "l");
    if list > 2 {
        // Since then, large files are cut in the background.
        assert_eq!(store.complete_index().unwrap(), 1, "{what}");
    }
    fs::write(create(&store, "container", Some(&committed.name)).join("written"), "by a container").unwrap();
    let (id, before) = (pin.id().get(), store.snapshots().unwrap());
    let dir = pin.fs().parent().unwrap().to_owned();
    let size = store.layers().unwrap()[0].usage;
    assert!(size.bytes > 480_000 && size.inodes == 3);
    drop((pin, store));

    let small = (Digest::of(b"l"), 1u64);
    let whole = (Digest::of(&large()), large().len() as u64);
    age_index(
        &root.join("index.db"),
        index,
        list,
        id,
        &[(small.0, small.1, "small"), (whole.0, whole.1, "large")],
    );
    age_list(&dir.join("files"), list);
    if state < 3 {
        age_marker(&dir.join("layer.json"));
    }
    age_state(&root.join("state.db"), state);
    if lost {
        fs::remove_file(root.join("state.db")).unwrap();
    }

    for start in 1..3 {
        let store = open(root);
        let what = format!("{what}, start {start}");
        if !lost {
            let now = store.snapshots().unwrap();
            assert_eq!(now, before, "{what}");
            let container = store.mount("container").unwrap();
            assert_eq!(container.parents, [dir.join("fs")], "{what}");
            assert_eq!(fs::read(container.fs.join("written")).unwrap(), b"by a container", "{what}");
        }
        let layers = store.layers().unwrap();
        assert_eq!(layers.len(), 1, "{what}");
        assert_eq!((layers[0].id.get(), layers[0].usage), (id, size), "{what}");
        // What the version did not know is unknown now, what it knew is kept.
        let since = if lost { 3 } else { 2 };
        let from: &[&str] = if state >= since { &["registry.example"] } else { &[] };
        assert_eq!(layers[0].origins, from, "{what}");
        let shared = if state > 2 { 1000 } else { 0 };
        assert_eq!(layers[0].own.bytes, size.bytes - shared, "{what}");
        assert!(store.layer(&Digest::of(b"l"), Flavour::Base).unwrap().is_some(), "{what}");
        if start == 1 && index >= 3 {
            let donors = store.lookup(&[small, whole]);
            assert!(donors.iter().flatten().count() == 2, "{what}: usable at once");
            assert!(donors.iter().flatten().all(|donor| !donor.proven), "{what}: but nobody proved them");
        }
        // Files that the index lacks, and chunks.
        let filled = store.complete_index().unwrap();
        assert_eq!(filled > 0, start == 1, "{what}");
        let donors = store.lookup(&[small, whole]);
        assert!(donors.iter().flatten().filter(|donor| donor.proven).count() == 2, "{what}");
        assert!(store.lookup_chunks(&chunks()).iter().all(Option::is_some), "{what}");
        assert_eq!(store.counts().unwrap().indexed_files, 2, "{what}");
        let index = Connection::open(root.join("index.db")).unwrap();
        let rows: u64 = index.query_row("SELECT count(*) FROM files", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 2, "{what}: rows that lead nowhere");
        assert_eq!(problems(&store), [""; 0], "{what}");
    }
    // And it goes on: no number is given out twice.
    let store = open(root);
    let next = layer(&store, "next");
    assert!(next.id().get() > id, "{what}");
    assert_eq!(adopt(&store, &next, "next").layer, Some(next.id()), "{what}");
    create(&store, "another", None);
    assert_eq!(problems(&store), [""; 0], "{what}");
}

#[test]
fn stores_of_all_earlier_versions_open_with_everything_in_them() {
    for (index, list) in [(2, 1), (3, 1), (3, 2), (4, 2), (4, 3)] {
        for state in 1..=4 {
            opens(state, index, list, false);
        }
    }
}

#[test]
fn their_layers_come_back_when_the_state_database_is_lost() {
    for state in [1, 3, 4] {
        opens(state, 3, 2, true);
    }
}

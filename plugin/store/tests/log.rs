//! The log of the state database stays short, however much is written and read; and nothing but files belongs to the databases.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use chunked_store::{Kind, Labels, NewSnapshot, Store, StoreOptions};

/// What the log may have when whoever writes shortens it, and a transaction more.
const MOST: u64 = 33 << 20;
/// What is left of it when nobody writes.
const QUIET: u64 = 8 << 20;

#[test]
fn thousands_of_changes_leave_a_short_log() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let options = StoreOptions { sync: true, ..StoreOptions::default() };
    let store = Store::open_with(&root, options).unwrap();
    let log = || std::fs::metadata(root.join("state.db-wal")).map_or(0, |meta| meta.len());
    let labels: Labels = (0..5).map(|n| (format!("label{n}"), "x".repeat(200))).collect();
    let (done, longest) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    store.snapshots().unwrap();
                }
            });
        }
        for n in 0..3000 {
            let (active, name) = (format!("a{n}"), format!("c{n}"));
            let new =
                NewSnapshot { name: &active, kind: Kind::Active, parent: None, labels: &labels, owner: None };
            store.create(&new).unwrap();
            store.commit(&name, &active, &labels, None).unwrap();
            // The table stays small, so that reading it does not take the time that writing needs.
            if n >= 50 {
                store.remove(&format!("c{}", n - 50)).unwrap();
            }
            longest.fetch_max(log(), Ordering::Relaxed);
        }
        done.store(true, Ordering::Release);
    });
    let longest = longest.into_inner();
    assert!(longest < MOST, "the log had {longest} bytes");
    let started = Instant::now();
    while log() > QUIET {
        assert!(started.elapsed() < Duration::from_secs(30), "the log still has {} bytes", log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A file that SQLite maps could kill the process on a full disk. So what connections share is on the heap, and nobody else can
/// open a database meanwhile.
#[test]
fn databases_have_no_mapped_files_and_belong_to_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let labels = Labels::new();
    let new = NewSnapshot { name: "a", kind: Kind::Active, parent: None, labels: &labels, owner: None };
    store.create(&new).unwrap();
    assert_eq!(store.snapshots().unwrap().len(), 1);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for name in ["state.db", "index.db"] {
        assert!(dir.path().join(name).exists());
        assert!(!dir.path().join(format!("{name}-shm")).exists(), "{name}");
        assert!(!maps.contains(&*dir.path().join(name).to_string_lossy()), "{name}");
    }
    let script = "import sqlite3, sys\nsqlite3.connect(sys.argv[1], timeout=0).execute('SELECT count(*) FROM snapshots')";
    let read = || {
        let mut python = std::process::Command::new("python3");
        python.args(["-c", script]).arg(dir.path().join("state.db")).output().unwrap()
    };
    let refused = read();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("database is locked"), "{refused:?}");
    drop(store);
    assert!(read().status.success());
}

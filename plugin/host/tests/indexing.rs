//! Passes and look-ups over real directories.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use chunked_core::Digest;
use chunked_host::{
    Control, Filesystem, HostDonor, HostError, HostIndex, HostOptions, PassReport, Policy, run_pass,
};
use rustix::fs::{FileType, Mode, mknodat};

/// A host with one root, `usr`, and a store beside it.
struct Host {
    dir: tempfile::TempDir,
    options: HostOptions,
}

impl Host {
    fn new(policy: Policy) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let owner = fs::metadata(dir.path()).unwrap().uid();
        fs::create_dir_all(dir.path().join("usr/sub")).unwrap();
        let options = HostOptions {
            policy,
            roots: vec![dir.path().join("usr")],
            owners: vec![owner],
            // The tests' own directory may be on any of them.
            filesystems: [&Filesystem::DEFAULT[..], &[Filesystem::Tmpfs, Filesystem::Overlay]].concat(),
            system: dir.path().to_owned(),
            ..HostOptions::default()
        };
        Self { dir, options }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// Writes a file that looks as if it had been there for a while.
    fn put(&self, path: &str, content: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    }

    fn pass(&self) -> PassReport {
        run_pass(&self.store(), &self.options, &Control::default()).unwrap()
    }

    fn index(&self) -> HostIndex {
        HostIndex::new(&self.store(), self.options.clone())
    }

    fn find(&self, content: &[u8]) -> Option<HostDonor> {
        find(&self.index(), content)
    }
}

fn find(index: &HostIndex, content: &[u8]) -> Option<HostDonor> {
    index.lookup(&[(Digest::of(content), content.len() as u64)]).remove(0)
}

fn content(donor: &HostDonor) -> Vec<u8> {
    let mut bytes = Vec::new();
    donor.open().unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Change times cannot be set: what was just written has to grow old before it is indexed.
fn age() {
    std::thread::sleep(Duration::from_millis(3200));
}

#[test]
fn a_pass_finds_what_qualifies_and_the_next_one_what_changed() {
    let host = Host::new(Policy::Any);
    host.put("usr/a", b"content of a");
    host.put("usr/sub/b", b"content of b");
    host.put("usr/sub/gone", b"gone soon");
    host.put("usr/private", b"private");
    fs::set_permissions(host.path("usr/private"), Permissions::from_mode(0o640)).unwrap();
    host.put("usr/setuid", b"setuid");
    fs::set_permissions(host.path("usr/setuid"), Permissions::from_mode(0o4755)).unwrap();
    host.put("usr/closed/readable", b"in a closed directory");
    fs::set_permissions(host.path("usr/closed"), Permissions::from_mode(0o711)).unwrap();
    host.put("outside/secret", b"outside");
    symlink("../outside/secret", host.path("usr/link")).unwrap();
    symlink("../outside", host.path("usr/dirlink")).unwrap();
    mknodat(rustix::fs::CWD, host.path("usr/fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(host.path("usr/socket")).unwrap();
    host.put("usr/empty", b"");

    let early = host.pass();
    assert_eq!(early.skipped.get("changing"), Some(&3), "{early:?}");
    assert!(host.find(b"content of a").is_none());
    age();
    let first = host.pass();
    assert_eq!((first.files, first.hashed_files, first.hashed_bytes), (3, 3, 33), "{first:?}");
    let skipped: Vec<_> = first.skipped.iter().map(|(reason, n)| (reason.as_str(), *n)).collect();
    assert_eq!(skipped, [("private", 2), ("set-id", 1), ("size", 1), ("special", 4)]);
    assert_eq!(content(&host.find(b"content of a").unwrap()), b"content of a");
    let donor = host.find(b"content of b").unwrap();
    assert_eq!(
        (content(&donor).as_slice(), donor.path()),
        (b"content of b".as_slice(), host.path("usr/sub/b"))
    );
    for never in [b"private".as_slice(), b"setuid", b"in a closed directory", b"outside", b"other", b""] {
        assert!(host.find(never).is_none(), "{}", String::from_utf8_lossy(never));
    }
    assert!(host.index().lookup(&[(Digest::of(b"content of a"), 3)])[0].is_none(), "the length counts, too");

    fs::remove_file(host.path("usr/sub/gone")).unwrap();
    host.put("usr/sub/b", b"new content of b");
    fs::rename(host.path("usr/a"), host.path("usr/c")).unwrap();
    age();
    let second = host.pass();
    assert_eq!((second.files, second.hashed_files, second.removed), (2, 2, 2), "{second:?}");
    assert_eq!(content(&host.find(b"new content of b").unwrap()), b"new content of b");
    assert_eq!(host.find(b"content of a").unwrap().path(), host.path("usr/c"));
    assert!(host.find(b"gone soon").is_none());

    let third = host.pass();
    assert_eq!(
        (third.files, third.hashed_files, third.hashed_bytes, third.removed),
        (2, 0, 0, 0),
        "nothing changed"
    );
    fs::remove_dir_all(host.path("usr/sub")).unwrap();
    assert_eq!(host.pass().removed, 1);
    let status = host.index().status();
    assert_eq!((status.enabled, status.running, status.files, status.bytes), (true, false, 1, 12));
    assert!(status.pass.unwrap().finished.is_some());
}

#[test]
fn a_changed_file_is_forgotten_before_it_is_used() {
    let host = Host::new(Policy::Any);
    let names =
        ["content", "replaced", "truncated", "mode", "renamed-over", "linked", "dir/inside", "same-times"];
    for name in names {
        host.put(&format!("usr/{name}"), format!("the content of {name}").as_bytes());
    }
    let before = fs::metadata(host.path("usr/same-times")).unwrap();
    age();
    assert_eq!(host.pass().hashed_files, 8);
    let wanted = |name: &str| format!("the content of {name}").into_bytes();
    let held: Vec<HostDonor> = names.iter().map(|name| host.find(&wanted(name)).unwrap()).collect();

    fs::write(host.path("usr/content"), b"the content of CONTENT").unwrap();
    fs::remove_file(host.path("usr/replaced")).unwrap();
    host.put("usr/replaced", &wanted("replaced"));
    File::options().write(true).open(host.path("usr/truncated")).unwrap().set_len(3).unwrap();
    fs::set_permissions(host.path("usr/mode"), Permissions::from_mode(0o600)).unwrap();
    host.put("usr/other", b"the content of something");
    fs::rename(host.path("usr/other"), host.path("usr/renamed-over")).unwrap();
    fs::remove_file(host.path("usr/linked")).unwrap();
    host.put("secret", &wanted("linked"));
    symlink("../secret", host.path("usr/linked")).unwrap();
    fs::rename(host.path("usr/dir"), host.path("usr/dir2")).unwrap();
    symlink("dir2", host.path("usr/dir")).unwrap();
    // Same length, and the modification time put back: the change time tells.
    let mut file = File::options().write(true).open(host.path("usr/same-times")).unwrap();
    file.write_all(b"THE").unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();

    for (name, donor) in names.iter().zip(held) {
        assert!(donor.open().is_err(), "{name}: a donor found earlier");
        assert!(host.find(&wanted(name)).is_none(), "{name}");
    }
    assert_eq!(host.index().status().files, 0, "they are forgotten");
}

#[test]
fn a_directory_closed_since_the_pass_gives_nothing() {
    let host = Host::new(Policy::Any);
    host.put("usr/sub/deep/file", b"readable by all");
    age();
    host.pass();
    assert!(host.find(b"readable by all").is_some());
    fs::set_permissions(host.path("usr/sub"), Permissions::from_mode(0o700)).unwrap();
    assert!(host.find(b"readable by all").is_none());
}

#[test]
fn only_files_of_packages_by_default() {
    let host = Host::new(Policy::PackageOwned);
    host.put("usr/lib/owned", b"owned");
    host.put("usr/lib/mine", b"mine");
    symlink("usr/lib", host.path("lib")).unwrap();
    host.put("var/lib/dpkg/info/p.list", b"/lib/owned\n");
    age();
    let report = host.pass();
    assert_eq!((report.files, report.packages.as_slice()), (1, ["dpkg".to_owned()].as_slice()));
    assert_eq!(report.skipped.get("not-owned"), Some(&1));
    assert!(host.find(b"owned").is_some());
    assert!(host.find(b"mine").is_none());

    // A purged package's file left behind, and one that a package now has.
    host.put("var/lib/dpkg/info/p.list", b"/lib/mine\n");
    host.pass();
    assert!(host.find(b"owned").is_none());
    assert!(host.find(b"mine").is_some());
}

#[test]
fn other_settings_use_nothing_before_a_pass_of_their_own() {
    let mut host = Host::new(Policy::Any);
    host.put("usr/file", b"some content");
    host.put("opt/file", b"other content");
    age();
    host.pass();
    host.options.policy = Policy::PackageOwned;
    assert!(host.find(b"some content").is_none(), "it was not asked who owns it");
    host.options.policy = Policy::Any;
    host.options.sizes = (1, 1000);
    assert!(host.find(b"some content").is_none());
    assert_eq!(host.pass().hashed_files, 0, "no need to read it again");
    assert!(host.find(b"some content").is_some());
    host.options.roots = vec![host.path("opt")];
    assert!(host.find(b"some content").is_none(), "its root is none any more");
    let report = host.pass();
    assert_eq!((report.files, report.removed), (1, 1));
    assert!(host.find(b"other content").is_some());
    host.options.policy = Policy::Off;
    assert!(host.find(b"other content").is_none());
    assert!(matches!(run_pass(&host.store(), &host.options, &Control::default()), Err(HostError::Off)));
    assert!(!host.index().status().enabled);
}

#[test]
fn a_root_that_is_a_link_or_gone_is_left_out() {
    let mut host = Host::new(Policy::Any);
    host.put("usr/file", b"some content");
    symlink("usr", host.path("alias")).unwrap();
    age();
    host.options.roots = vec![host.path("alias"), host.path("nowhere")];
    assert_eq!(host.pass().files, 0);
    host.options.roots.push(host.path("usr"));
    assert_eq!(host.pass().files, 1);
}

#[test]
fn an_interrupted_pass_is_resumed() {
    let host = Host::new(Policy::Any);
    for n in 0..40 {
        host.put(&format!("usr/d{n}/f"), &vec![n; 100_000]);
    }
    age();
    let control = Control { rate: 2_000_000, ..Control::default() };
    let (stop, progress) = (control.stop.clone(), control.progress.clone());
    let waiter = std::thread::spawn(move || {
        while progress.report().hashed_files < 5 {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let started = SystemTime::now();
    let stopped = run_pass(&host.store(), &host.options, &control);
    waiter.join().unwrap();
    assert!(matches!(stopped, Err(HostError::Stopped)), "{stopped:?}");
    let done = control.progress.report();
    assert!(done.hashed_files >= 5 && done.hashed_files < 40, "{done:?}");
    assert!(started.elapsed().unwrap() > Duration::from_millis(150), "500 kB at 2 MB/s");
    let status = host.index().status();
    assert_eq!(status.files, done.hashed_files);
    assert!(status.pass.unwrap().finished.is_none() && !status.running);
    let rest = host.pass();
    assert_eq!((rest.files, rest.hashed_files), (40, 40 - done.hashed_files));
}

#[test]
fn one_pass_at_a_time() {
    let host = Host::new(Policy::Any);
    host.put("usr/file", &vec![1; 1_000_000]);
    age();
    let control = Control { rate: 1_000_000, ..Control::default() };
    let (store, options, running) = (host.store(), host.options.clone(), control.clone());
    let first = std::thread::spawn(move || run_pass(&store, &options, &running));
    while !host.index().status().running {
        std::thread::sleep(Duration::from_millis(1));
    }
    while control.progress.report().started == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(matches!(run_pass(&host.store(), &host.options, &Control::default()), Err(HostError::Busy)));
    control.stop.store(true, Ordering::Relaxed);
    assert!(matches!(first.join().unwrap(), Err(HostError::Stopped)));
    assert_eq!(host.pass().hashed_files, 1);
}

#[test]
fn an_index_made_later_is_found_and_a_broken_one_is_no_failure() {
    let host = Host::new(Policy::Any);
    host.put("usr/file", b"some content");
    let index = host.index();
    assert!(find(&index, b"some content").is_none());
    age();
    host.pass();
    assert!(find(&index, b"some content").is_some(), "the same handle sees what a pass made");
    index.forget(&Digest::of(b"some content"));
    assert!(find(&index, b"some content").is_none());
    drop(index);
    for name in ["host.db-wal", "host.db-shm"] {
        let _ = fs::remove_file(host.store().join(name));
    }
    fs::write(host.store().join("host.db"), vec![7; 50_000]).unwrap();
    assert!(host.find(b"some content").is_none());
    assert_eq!(host.pass().hashed_files, 1, "the next pass makes it anew");
    assert!(host.find(b"some content").is_some());
}

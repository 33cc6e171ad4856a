use std::os::unix::fs::symlink;

use rusqlite::Connection;

use super::*;

/// A system with merged /usr.
fn system() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["usr/lib", "usr/bin", "usr/lib64", "etc"] {
        std::fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    symlink("usr/lib", dir.path().join("lib")).unwrap();
    symlink("/usr/bin/", dir.path().join("bin")).unwrap();
    symlink("usr/../etc", dir.path().join("odd")).unwrap();
    symlink("mnt", dir.path().join("other")).unwrap();
    dir
}

fn put(system: &Path, path: &str, text: &str) {
    let path = system.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn owned(system: &Path) -> Owned {
    Owned::read(system, &[system.join("usr")])
}

fn has(owned: &Owned, system: &Path, path: &str) -> bool {
    owned.contains(system, &system.join(path))
}

#[test]
fn dpkg_with_merged_usr_and_diversions() {
    let dir = system();
    let system = dir.path();
    put(
        system,
        "var/lib/dpkg/info/libc6:amd64.list",
        "/.\n/lib\n/lib/libc.so.6\n/etc/x\n/usr/lib/a\n/other/b\n",
    );
    put(system, "var/lib/dpkg/info/dash.list", "/bin/sh\n/bin/dash\n");
    put(system, "var/lib/dpkg/info/bash.list", "/bin/sh\n/bin/bash\n");
    put(system, "var/lib/dpkg/info/bash.md5sums", "/usr/bin/not-a-list\n");
    put(system, "var/lib/dpkg/diversions", "/bin/sh\n/bin/sh.distrib\ndash\n");
    let owned = owned(system);
    assert_eq!(owned.sources, ["dpkg"]);
    for path in
        ["usr/lib/libc.so.6", "usr/lib/a", "usr/bin/sh", "usr/bin/sh.distrib", "usr/bin/dash", "usr/bin/bash"]
    {
        assert!(has(&owned, system, path), "{path}");
    }
    for path in ["etc/x", "lib/libc.so.6", "usr/bin/not-a-list", "usr/lib", "usr/lib/b", "other/b"] {
        assert!(!has(&owned, system, path), "{path}");
    }
    assert!(!owned.contains(system, Path::new("/elsewhere/usr/lib/a")));
    assert_eq!(owned.len(), 6);
}

#[test]
fn apk() {
    let dir = system();
    put(dir.path(), "lib/apk/db/installed", "P:musl\nF:lib\nR:ld.so\nF:usr/lib\nR:x\nF:etc\nR:y\n\n");
    let owned = owned(dir.path());
    // `lib` is a link to `usr/lib`, so that the database is found under both of its names.
    assert_eq!(owned.sources, ["apk"]);
    assert!(has(&owned, dir.path(), "usr/lib/ld.so"));
    assert!(has(&owned, dir.path(), "usr/lib/x"));
    assert_eq!(owned.len(), 2);
}

/// The header of a package made by rpmbuild 4.18, as `rpm --install` left it in its database.
const RPM_HEADER: &[u8] = include_bytes!("../../tests/data/rpm-4.18-header.bin");

fn rpm_database(path: &Path) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let database = Connection::open(path).unwrap();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database
        .execute_batch("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
        .unwrap();
    for blob in [RPM_HEADER, &RPM_HEADER[..100], b""] {
        database.execute("INSERT INTO Packages (blob) VALUES (?1)", [blob]).unwrap();
    }
}

#[test]
fn rpm_in_sqlite() {
    let dir = system();
    let path = dir.path().join("usr/lib/sysimage/rpm/rpmdb.sqlite");
    rpm_database(&path);
    let owned = owned(dir.path());
    assert_eq!(owned.sources, ["rpm"]);
    for path in ["usr/bin/chunked-fixture", "usr/lib/chunked fixture/data"] {
        assert!(has(&owned, dir.path(), path), "{path}: {owned:?}");
    }
    assert!(!has(&owned, dir.path(), "etc/chunked-fixture.conf"), "it is not below a root");
    let beside: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "reading leaves nothing beside the database: {beside:?}");
}

#[test]
fn what_cannot_be_read_owns_nothing() {
    let dir = system();
    put(dir.path(), "var/lib/rpm/Packages", "Berkeley DB");
    let none = owned(dir.path());
    assert_eq!((none.sources.len(), none.len()), (0, 0));
    put(dir.path(), "usr/lib/sysimage/rpm/rpmdb.sqlite", "no database");
    put(dir.path(), "var/lib/dpkg/info/x.list", "/usr/x\n");
    let dpkg_only = owned(dir.path());
    assert_eq!(dpkg_only.sources, ["dpkg"]);
    assert!(has(&dpkg_only, dir.path(), "usr/x"));
}

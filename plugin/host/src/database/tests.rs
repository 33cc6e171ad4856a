use super::*;

fn file(n: u32, name: &str) -> Indexed {
    let stamp = Stamp { inode: u64::from(n), size: u64::from(n), ctime: -5, mtime: 7 };
    Indexed { name: name.as_bytes().to_vec(), digest: Digest::of(&n.to_le_bytes()), stamp }
}

fn wanted(n: u32) -> (Digest, u64) {
    (Digest::of(&n.to_le_bytes()), u64::from(n))
}

#[test]
fn files_are_found_by_content_under_their_rules() {
    let dir = tempfile::tempdir().unwrap();
    let mut db = Database::create(&dir.path().join("host.db")).unwrap();
    let id = db.settle_directory(b"/usr", b"bin", 3, 1, &[]).unwrap();
    db.insert(id, &[file(5, "a"), file(5, "b"), file(6, "c")]).unwrap();
    let found =
        db.find(&[wanted(5), wanted(6), wanted(7), (wanted(5).0, 6), (wanted(5).0, u64::MAX)], 1).unwrap();
    let counts: Vec<usize> = found.iter().map(Vec::len).collect();
    assert_eq!(counts, [2, 1, 0, 0, 0]);
    let stamp = file(6, "").stamp;
    let (root, path, name) = (b"/usr".to_vec(), b"bin".to_vec(), b"c".to_vec());
    assert_eq!(found[1][0], Row { directory: id, root, path, name, device: 3, stamp });
    assert!(db.find(&[wanted(5)], 2).unwrap()[0].is_empty(), "made under other rules");
    assert_eq!(db.totals(1).unwrap(), (3, 16));
    assert_eq!(db.totals(2).unwrap(), (0, 0));

    db.forget(&[(id, b"a".to_vec())]).unwrap();
    assert_eq!(db.find(&[wanted(5)], 1).unwrap()[0].len(), 1);
    assert_eq!(db.forget_content(&wanted(5).0).unwrap(), 1);
    assert!(db.find(&[wanted(5)], 1).unwrap()[0].is_empty());

    assert_eq!(db.settle_directory(b"/usr", b"bin", 4, 2, &[b"c".to_vec()]).unwrap(), id);
    let (same, known) = db.directory(b"/usr", b"bin").unwrap().unwrap();
    assert_eq!((same, known.device, known.rules, known.files.len()), (id, 4, 2, 0));
    assert!(db.directory(b"/usr", b"lib").unwrap().is_none());
    db.insert(id, &[file(1, "x"), file(2, "x")]).unwrap();
    assert_eq!(db.directory(b"/usr", b"bin").unwrap().unwrap().1.files.len(), 1, "a name has one row");
    assert_eq!(db.remove_directories(&[id, 99]).unwrap(), 1);
    assert!(db.directories().unwrap().is_empty());
}

#[test]
fn numbers_the_database_cannot_hold_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut db = Database::create(&dir.path().join("host.db")).unwrap();
    let id = db.settle_directory(b"/usr", b"", u64::from(u32::MAX), 1, &[]).unwrap();
    let mut odd = file(5, "odd");
    odd.stamp.inode = u64::MAX;
    db.insert(id, &[odd, file(6, "even")]).unwrap();
    assert_eq!(db.totals(1).unwrap().0, 1);
}

#[test]
fn a_broken_or_foreign_file_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.db");
    assert!(Database::open(&path).unwrap().is_none());
    std::fs::write(&path, "not a database, and long enough to be taken for one".repeat(100)).unwrap();
    assert!(Database::open(&path).is_err());
    Database::create(&path).unwrap().set_state("a", "1").unwrap();
    assert_eq!(
        Database::create(&path).unwrap().state("a").unwrap().as_deref(),
        Some("1"),
        "a good one is kept"
    );
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(Database::open(&path).unwrap().is_none(), "another version is not read");
    assert_eq!(Database::create(&path).unwrap().state("a").unwrap(), None);
}

#[test]
fn a_file_of_an_earlier_version_leaves_wal_mode_when_nobody_else_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.db");
    let shared = || path.with_file_name("host.db-shm").exists();
    Database::create(&path).unwrap().set_state("a", "1").unwrap();
    let old = Connection::open(&path).unwrap();
    old.pragma_update(None, "journal_mode", "WAL").unwrap();
    old.execute("UPDATE state SET value = '2'", []).unwrap();
    let read = || Database::open(&path).unwrap().unwrap().state("a").unwrap();
    assert_eq!(read().as_deref(), Some("2"), "in its old mode");
    assert!(shared());
    drop(old);
    assert_eq!(read().as_deref(), Some("2"));
    assert!(!shared());
    let (one, other) = (Database::open(&path).unwrap().unwrap(), Database::create(&path).unwrap());
    one.set_state("a", "3").unwrap();
    assert_eq!(other.state("a").unwrap().as_deref(), Some("3"));
    assert!(!shared());
}

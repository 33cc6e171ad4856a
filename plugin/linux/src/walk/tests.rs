use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use rustix::fs::{CWD, mkdirat, renameat};

use super::*;
use crate::NodeType;

/// Every path below `dir`, with a slash behind directories, each as often as it is met.
fn all(dir: &Dir) -> Vec<String> {
    let mut walk = Walk::new(dir).unwrap();
    let mut found = Vec::new();
    while let Some(step) = walk.step().unwrap() {
        let path = String::from_utf8(walk.path().to_vec()).unwrap();
        match step {
            Step::Entry(FileType::Directory) if walk.enter().unwrap() => found.push(path + "/"),
            Step::Entry(_) => found.push(path),
            Step::Leave => {}
        }
    }
    found
}

/// A chain of directories `d/d/d/…` of this depth, with a file `f` in each, deeper than any path is long.
fn chain(base: &Path, depth: usize) {
    let mut dir = Dir::open(base).unwrap();
    for _ in 0..depth {
        dir.create_file(b"f", 0o644).unwrap();
        dir.create_dir(b"d").unwrap();
        dir = dir.open_dir(b"d").unwrap();
    }
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn everything_is_met_once() {
    let base = tempfile::tempdir().unwrap();
    let mut wanted = BTreeSet::new();
    // More names than one reading gives, around a chain that closes the directory meanwhile.
    for n in 0..5000 {
        let name = format!("a-name-that-is-not-short-{n:05}");
        std::fs::write(base.path().join(&name), "").unwrap();
        wanted.insert(name);
    }
    for n in 0..20 {
        let top = format!("chain{n}");
        std::fs::create_dir(base.path().join(&top)).unwrap();
        chain(&base.path().join(&top), 50);
        let mut path = top + "/";
        for _ in 0..50 {
            wanted.insert(path.clone());
            wanted.insert(format!("{path}f"));
            path += "d/";
        }
        wanted.insert(path);
    }
    symlink("/", base.path().join("link")).unwrap();
    wanted.insert("link".into());
    let found = all(&Dir::open(base.path()).unwrap());
    assert_eq!(found.len(), wanted.len(), "nothing twice");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn depth_costs_no_descriptors() {
    let base = tempfile::tempdir().unwrap();
    let depth = 2200;
    chain(base.path(), depth);
    let before = open_descriptors();
    let mut walk = Walk::open(base.path()).unwrap();
    let (mut most, mut deepest, mut left, mut files) = (0, 0, 0, 0);
    while let Some(step) = walk.step().unwrap() {
        match step {
            Step::Entry(FileType::Directory) => {
                assert!(walk.enter().unwrap());
                deepest = deepest.max(walk.path().len());
            }
            Step::Entry(_) => {
                assert!(walk.file().is_ok());
                files += 1;
            }
            Step::Leave => left += 1,
        }
        if left % 100 == 0 {
            most = most.max(open_descriptors());
        }
    }
    assert_eq!((deepest, left, files), (2 * depth - 1, depth, depth));
    // Other tests of this process have theirs.
    assert!(most < before + 200, "{most} descriptors were open, {before} before");
    drop(walk);
    let dir = Dir::open(base.path()).unwrap();
    dir.empty().unwrap();
    assert!(dir.is_empty().unwrap());
}

/// Walks a deep chain, of which a part moves elsewhere once the walk is far below it, and if `all` what is above it, too.
/// Gives how many directories were lost on the way.
fn moving(all: bool) -> usize {
    let base = tempfile::tempdir().unwrap();
    let (tree, outside) = (base.path().join("tree"), base.path().join("outside"));
    std::fs::create_dir_all(tree.join("top")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "").unwrap();
    chain(&tree.join("top"), 80);
    let dir = Dir::open(&tree).unwrap();
    let mut walk = Walk::new(&dir).unwrap();
    let (mut stale, mut moved) = (0, false);
    loop {
        match walk.step() {
            Ok(None) => break,
            Ok(Some(Step::Entry(FileType::Directory))) => {
                walk.enter().unwrap();
                if walk.path().len() > 120 && !moved {
                    moved = true;
                    // The directories that are closed by now are above this one, which goes elsewhere.
                    renameat(CWD, tree.join("top/d/d/d"), CWD, outside.join("d")).unwrap();
                    if all {
                        renameat(CWD, tree.join("top"), CWD, tree.join("other")).unwrap();
                    }
                }
            }
            Ok(Some(_)) => assert_ne!(walk.name(), b"secret"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(Errno::STALE.raw_os_error()));
                stale += 1;
            }
        }
    }
    assert!(moved);
    stale
}

#[test]
fn a_directory_that_moved_does_not_lead_elsewhere() {
    assert_eq!(moving(false), 0, "what is above it is found from the root");
    assert_eq!(moving(true), 3, "top, d and d are nowhere to be found");
}

#[test]
fn neither_links_nor_nodes_are_entered_or_opened() {
    let base = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "x").unwrap();
    symlink(outside.path(), base.path().join("link")).unwrap();
    let dir = Dir::open(base.path()).unwrap();
    dir.create_node(b"null", NodeType::Char, 0o666, 1, 3).unwrap();
    dir.create_node(b"fifo", NodeType::Fifo, 0o666, 0, 0).unwrap();
    let mut walk = Walk::new(&dir).unwrap();
    let mut met = 0;
    while walk.step().unwrap().is_some() {
        met += 1;
        assert!(!walk.enter().unwrap(), "{:?}", walk.path());
        assert!(walk.file().is_err(), "{:?}", walk.path());
    }
    assert_eq!(met, 3);
}

#[test]
fn a_directory_that_became_a_link_is_left_alone() {
    let base = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "x").unwrap();
    mkdirat(CWD, base.path().join("d"), Mode::from_raw_mode(0o755)).unwrap();
    let dir = Dir::open(base.path()).unwrap();
    let mut walk = Walk::new(&dir).unwrap();
    assert_eq!(walk.step().unwrap(), Some(Step::Entry(FileType::Directory)));
    std::fs::remove_dir(base.path().join("d")).unwrap();
    symlink(outside.path(), base.path().join("d")).unwrap();
    assert!(!walk.enter().unwrap());
    assert_eq!(walk.step().unwrap(), None);
    dir.empty().unwrap();
    assert!(outside.path().join("secret").exists());
}

/// What its owner deletes while it is measured.
#[test]
fn a_walk_through_what_is_removed_meanwhile_ends() {
    let base = tempfile::tempdir().unwrap();
    let root = base.path().join("root");
    std::fs::create_dir(&root).unwrap();
    chain(&root, 3);
    let mut walk = Walk::open(&root).unwrap();
    let mut steps = 0;
    let mut inside = 0;
    while let Some(step) = walk.step().unwrap() {
        steps += 1;
        assert!(steps < 100, "it goes round in circles");
        if step == Step::Entry(FileType::Directory) && walk.enter().unwrap() {
            inside += 1;
            if inside == 2 {
                std::fs::remove_dir_all(&root).unwrap();
            }
        }
    }
    assert_eq!(inside, 2);
}

//! The model against a file system in memory that does what containerd's unpack does, one entry after the other.

use std::collections::BTreeMap;

use chunked_core::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::tree::model::{Location, Tidy};

fn entry(path: &str, kind: Kind) -> Entry {
    let mtime = Timestamp::default();
    let path = path.as_bytes().to_vec();
    Entry { path, kind, mode: 0o644, uid: 0, gid: 0, mtime, atime: None, xattrs: Vec::new() }
}

/// What lies at a place of the disk: a directory, or the number of the entry that made it.
#[derive(Debug, Clone, PartialEq)]
enum Thing {
    Directory,
    Made(usize),
}

/// A disk that is as strict as a real one: nothing is made where something is, or in what is no directory.
#[derive(Debug, Default, Clone)]
struct Disk(BTreeMap<Vec<u8>, Thing>);

fn parent(path: &[u8]) -> &[u8] {
    crate::tree::path::split(path).0
}

fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.first() == Some(&b'/'))
}

impl Disk {
    fn make(&mut self, path: Vec<u8>, thing: Thing) {
        let parent = parent(&path);
        assert!(parent.is_empty() || self.0.get(parent) == Some(&Thing::Directory), "no parent: {path:?}");
        assert!(self.0.insert(path, thing).is_none(), "something is in the way");
    }

    fn remove(&mut self, path: &[u8]) {
        self.0.retain(|other, _| other != path && !is_below(other, path));
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) {
        assert!(!self.0.contains_key(to), "in the way: {to:?}");
        let moved: Vec<_> =
            self.0.keys().filter(|path| *path == from || is_below(path, from)).cloned().collect();
        assert!(!moved.is_empty(), "nothing to move");
        for path in moved {
            let thing = self.0.remove(&path).unwrap();
            self.0.insert([to, &path[from.len()..]].concat(), thing);
        }
    }
}

const ASIDE: &str = "ASIDE";

fn at(location: Location) -> Vec<u8> {
    match location.aside {
        None => location.path,
        Some(number) => {
            let path = String::from_utf8(location.path).unwrap();
            format!("{ASIDE}/{number}/{path}").trim_end_matches('/').as_bytes().to_vec()
        }
    }
}

/// Runs the entries as the extractor does, with all jobs done late and in reverse order.
fn by_model(entries: &[Entry], base: bool) -> BTreeMap<Vec<u8>, Thing> {
    let (mut placement, mut disk, mut jobs) = (Placement::new(base), Disk::default(), Vec::new());
    disk.make(ASIDE.into(), Thing::Directory);
    for (number, entry) in entries.iter().enumerate() {
        let placed = placement.place(entry).unwrap();
        for id in placed.directories {
            disk.make(at(placement.tree.location(id)), Thing::Directory);
        }
        jobs.extend(placed.node.map(|id| (at(placement.tree.location(id)), number)));
    }
    for (path, number) in jobs.into_iter().rev() {
        disk.make(path, Thing::Made(number));
    }
    let nodes = placement.tree.nodes();
    for step in placement.tree.tidy(&nodes) {
        let tree = &placement.tree;
        match step {
            Tidy::Link { first, node } => {
                let thing = disk.0.get(&at(tree.location(first))).unwrap().clone();
                disk.make(at(tree.location(node)), thing);
            }
            Tidy::Remove { directory, name } => {
                disk.remove(&join(
                    [&at(tree.location(directory))[..], &name].into_iter().filter(|p| !p.is_empty()),
                ));
            }
            Tidy::Move { node } => {
                disk.rename(&at(tree.location(node)), &tree.path(node));
                placement.tree.moved(node);
            }
        }
    }
    disk.remove(ASIDE.as_bytes());
    let mut paths: Vec<_> = nodes.iter().map(|id| placement.tree.path(*id)).collect();
    paths.sort_unstable();
    assert_eq!(paths, disk.0.keys().cloned().collect::<Vec<_>>(), "the disk is what the model says");
    disk.0
}

/// The same, one entry after the other, with nothing put off, for names without symlinks on the way. Gives the entries
/// that have a place, too; a layer with another fails.
fn by_steps(entries: Vec<Entry>, base: bool) -> (BTreeMap<Vec<u8>, Thing>, Vec<Entry>) {
    let (mut disk, mut placed) = (Disk::default(), Vec::new());
    for entry in entries {
        let before = disk.clone();
        match disk.step(&entry, placed.len(), base) {
            Some(()) => placed.push(entry),
            None => disk = before,
        }
    }
    (disk.0, placed)
}

impl Disk {
    fn step(&mut self, entry: &Entry, number: usize, base: bool) -> Option<()> {
        let within =
            |directory: &[u8], name: &[u8]| join([directory, name].into_iter().filter(|p| !p.is_empty()));
        let components = clean(&entry.path);
        let (name, parents) = components.split_last()?;
        let mut directory = Vec::new();
        for part in parents {
            directory = within(&directory, part);
            match self.0.get(&directory) {
                None => self.make(directory.clone(), Thing::Directory),
                Some(Thing::Directory) => {}
                Some(Thing::Made(_)) => return None,
            }
        }
        if let Some(hidden) = name.strip_prefix(b".wh.") {
            let hidden = within(&directory, hidden);
            if base {
                self.remove(&hidden);
            } else if !self.0.contains_key(&hidden) {
                self.make(hidden, Thing::Made(number));
            }
            return Some(());
        }
        let path = within(&directory, name);
        if entry.kind == Kind::Directory && self.0.get(&path) == Some(&Thing::Directory) {
            return Some(());
        }
        self.remove(&path);
        let thing = match &entry.kind {
            Kind::Directory => Thing::Directory,
            Kind::HardLink(target) => match self.0.get(&join(clean(target)))? {
                Thing::Directory => return None,
                thing @ Thing::Made(_) => thing.clone(),
            },
            _ => Thing::Made(number),
        };
        self.make(path, thing);
        Some(())
    }
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let name = prop_oneof![Just("a"), Just("b"), Just("c")];
    let path = prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"));
    let kind = (0..10u8, path.clone());
    let one = (path, kind).prop_map(|(path, (kind, target))| match kind {
        0..=2 => entry(&path, Kind::Directory),
        3..=5 => entry(&path, Kind::File { size: 0, sparse: None }),
        6..=7 => entry(&path, Kind::HardLink(target.into())),
        8 => entry(&path, Kind::Fifo),
        _ => {
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
            entry(&format!("{parent}/.wh.{name}"), Kind::File { size: 0, sparse: None })
        }
    });
    prop::collection::vec(one, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn putting_off_changes_nothing(entries in entries(), base in any::<bool>()) {
        let (expected, entries) = by_steps(entries, base);
        prop_assert_eq!(by_model(&entries, base), expected);
    }
}

#[test]
fn whole_subtrees_are_replaced() {
    let file = || Kind::File { size: 0, sparse: None };
    let link = |target: &str| Kind::HardLink(target.into());
    // The number says which entry made it; 9999: a directory.
    for (entries, base, expected) in [
        // A file of a directory that is replaced lives on under its other name.
        (
            vec![entry("d/f", file()), entry("l", link("d/f")), entry("d", file())],
            true,
            vec![("d", 2), ("l", 0)],
        ),
        // Directory, file, directory again, and what was below is gone.
        (
            vec![
                entry("d/old", file()),
                entry("d", file()),
                entry("d", Kind::Directory),
                entry("d/new", file()),
            ],
            true,
            vec![("d", 9999), ("d/new", 3)],
        ),
        // A whiteout of the lowest layer takes a subtree away, one of an upper layer does not.
        (
            vec![entry("d/f", file()), entry(".wh.d", file()), entry("d/g", file())],
            true,
            vec![("d", 9999), ("d/g", 2)],
        ),
        (
            vec![entry("d/f", file()), entry(".wh.d", file()), entry("d/g", file())],
            false,
            vec![("d", 9999), ("d/f", 0), ("d/g", 2)],
        ),
        // A chain of links, each replaced by the next.
        (
            vec![
                entry("a", file()),
                entry("b", link("a")),
                entry("a", link("b")),
                entry("b", file()),
                entry("c", link("a")),
            ],
            true,
            vec![("a", 0), ("b", 3), ("c", 0)],
        ),
        // An opaque marker of the lowest layer takes away what names only implied.
        (
            vec![
                entry("d/i/f", file()),
                entry("d/k", file()),
                entry("d/.wh..wh..opq", file()),
                entry("d/i/g", file()),
            ],
            true,
            vec![("d", 9999), ("d/i", 9999), ("d/i/g", 3), ("d/k", 1)],
        ),
    ] {
        let found = by_model(&entries, base);
        let found: Vec<_> = found
            .iter()
            .map(|(path, thing)| {
                let number = if let Thing::Made(number) = thing { *number } else { 9999 };
                (std::str::from_utf8(path).unwrap(), number)
            })
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn what_has_no_place_says_why() {
    let file = || Kind::File { size: 0, sparse: None };
    let mut placement = Placement::new(false);
    placement.place(&entry("f", file())).unwrap();
    placement.place(&entry("d", Kind::Directory)).unwrap();
    for (entry, error) in [
        (entry("f/below", file()), TreeError::NotADirectory),
        (entry(".wh..", file()), TreeError::Whiteout),
        (entry(&"n".repeat(256), file()), TreeError::Name),
        (entry("l", Kind::HardLink(b"d".to_vec())), TreeError::LinkToDirectory),
        (entry("l", Kind::HardLink(b"none".to_vec())), TreeError::LinkToNothing("none".into())),
        // It is out of the tree before its target is looked for, as in containerd.
        (entry("f", Kind::HardLink(b"f".to_vec())), TreeError::LinkToNothing("f".into())),
    ] {
        assert_eq!(placement.place(&entry), Err(error));
    }
    assert_eq!(placement.place(&entry("./", Kind::Directory)), Ok(Placed::default()));
}

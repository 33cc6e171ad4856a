//! The model against a file system in memory that does what containerd's unpack does, one entry after the other.

use std::collections::{BTreeMap, BTreeSet};

use chunked_core::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::tree::model::tidy::{Location, Tidy};
use crate::tree::model::whiteouts::Whiteouts;

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
    Whiteout,
}

/// A disk that is as strict as a real one: nothing is made where something is, or in what is no directory.
#[derive(Debug, Default, Clone)]
struct Disk(BTreeMap<Vec<u8>, Thing>);

fn parent(path: &[u8]) -> &[u8] {
    crate::tree::path::split(path).0
}

fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    join([directory, name].into_iter().filter(|part| !part.is_empty()))
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
                disk.remove(&below(&at(tree.location(directory)), &name));
            }
            Tidy::Move { node, over } => {
                if over.is_some() {
                    disk.remove(&tree.path(node));
                }
                disk.rename(&at(tree.location(node)), &tree.path(node));
                placement.tree.moved(node);
            }
        }
    }
    disk.remove(ASIDE.as_bytes());
    let mut paths: Vec<_> = nodes.iter().map(|id| placement.tree.path(*id)).collect();
    paths.sort_unstable();
    assert_eq!(paths, disk.0.keys().cloned().collect::<Vec<_>>(), "the disk is what the model says");
    for Whiteouts { directory, names } in placement.tree.settle_whiteouts() {
        for (name, _) in names {
            disk.make(below(&placement.tree.path(directory), &name), Thing::Whiteout);
        }
    }
    disk.0
}

/// The same, one entry after the other, with nothing put off, for names without symlinks on the way. Gives the entries
/// that have a place, too; a layer with another fails.
fn by_steps(entries: Vec<Entry>, base: bool) -> (BTreeMap<Vec<u8>, Thing>, Vec<Entry>) {
    let (mut disk, mut hidden, mut placed) = (Disk::default(), BTreeSet::new(), Vec::new());
    for entry in entries {
        let before = (disk.clone(), hidden.clone());
        match disk.step(&entry, placed.len(), base, &mut hidden) {
            Some(()) => placed.push(entry),
            None => (disk, hidden) = before,
        }
    }
    disk.whiteouts(&hidden);
    (disk.0, placed)
}

impl Disk {
    /// Makes a whiteout at each path of `hidden` that nothing covers, unless a directory on the way is hidden, too.
    fn whiteouts(&mut self, hidden: &BTreeSet<Vec<u8>>) {
        for path in hidden.iter().filter(|path| !self.0.contains_key(*path)).cloned().collect::<Vec<_>>() {
            if !hidden.iter().any(|above| is_below(&path, above)) {
                self.make(path, Thing::Whiteout);
            }
        }
    }

    fn step(
        &mut self,
        entry: &Entry,
        number: usize,
        base: bool,
        hidden: &mut BTreeSet<Vec<u8>>,
    ) -> Option<()> {
        let within = below;
        let components = clean(&entry.path);
        let (name, parents) = components.split_last()?;
        let mut directory = Vec::new();
        for part in parents {
            directory = within(&directory, part);
            match self.0.get(&directory) {
                None => self.make(directory.clone(), Thing::Directory),
                Some(Thing::Directory) => {}
                Some(_) => return None,
            }
        }
        if let Some(name) = name.strip_prefix(b".wh.") {
            let path = within(&directory, name);
            if base {
                self.remove(&path);
            } else {
                hidden.insert(path);
            }
            return Some(());
        }
        let path = within(&directory, name);
        if entry.kind == Kind::Directory && self.0.get(&path) == Some(&Thing::Directory) {
            return Some(());
        }
        self.remove(&path);
        // What was hidden in a directory that is replaced is covered.
        hidden.retain(|hidden| !is_below(hidden, &path));
        let thing = match &entry.kind {
            Kind::Directory => Thing::Directory,
            Kind::HardLink(target) => match self.0.get(&join(clean(target)))? {
                Thing::Directory => return None,
                thing => thing.clone(),
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
    // The number says which entry made it; 9999: a directory, 8888: a whiteout.
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
        // Also further down, where the directory on the way is described.
        (
            vec![
                entry("d/e", Kind::Directory),
                entry("d/e/i/f", file()),
                entry("d/e/k", file()),
                entry("d/.wh..wh..opq", file()),
            ],
            true,
            vec![("d", 9999), ("d/e", 9999), ("d/e/k", 2)],
        ),
    ] {
        let found = by_model(&entries, base);
        let found: Vec<_> = found
            .iter()
            .map(|(path, thing)| {
                let number = match thing {
                    Thing::Made(number) => *number,
                    Thing::Whiteout => 8888,
                    Thing::Directory => 9999,
                };
                (std::str::from_utf8(path).unwrap(), number)
            })
            .collect();
        assert_eq!(found, expected);
    }
}

/// Every order of every choice of entries that say what becomes of `d`.
#[test]
fn whiteouts_hide_lower_layers_wherever_they_stand() {
    let file = || Kind::File { size: 0, sparse: None };
    let all = [
        ("d", Kind::Directory),
        ("d/new", file()),
        (".wh.d", file()),
        ("d/.wh.old", file()),
        ("d/.wh..wh..opq", file()),
    ];
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for at in 0.. {
        let Some(order) = orders.get(at).cloned() else { break };
        orders.extend((0..all.len()).filter(|n| !order.contains(n)).map(|n| [&order[..], &[n]].concat()));
    }
    assert_eq!(orders.len(), 326);
    for order in orders {
        let entries: Vec<Entry> = order.iter().map(|n| entry(all[*n].0, all[*n].1.clone())).collect();
        let has = |n| order.contains(&n);
        let mut placement = Placement::new(false);
        for entry in &entries {
            placement.place(entry).unwrap();
        }
        let whiteouts: Vec<_> = placement.tree.settle_whiteouts();
        let whiteouts = whiteouts.iter().flat_map(|here| {
            here.names.iter().map(|(name, _)| below(&placement.tree.path(here.directory), name))
        });
        let directory = placement.tree.child(Tree::ROOT, b"d").and_then(|id| placement.tree.directory(id));
        let made = has(0) || has(1) || has(3) || has(4);
        assert_eq!(directory.is_some(), made, "{order:?}");
        let opaque = made && (has(2) || has(4));
        assert_eq!(directory.is_some_and(Directory::is_opaque), opaque, "{order:?}");
        assert_eq!(
            directory.is_some_and(Directory::takes_after_lower),
            made && !has(0) && !has(2),
            "{order:?}"
        );
        let expected: &[&[u8]] = match (made, opaque) {
            (false, _) if has(2) => &[b"d"],
            (true, false) if has(3) => &[b"d/old"],
            _ => &[],
        };
        assert_eq!(whiteouts.collect::<Vec<_>>(), expected, "{order:?}");
    }
}

#[test]
fn a_device_0_0_is_a_whiteout() {
    let device = Kind::CharDevice { major: 0, minor: 0 };
    let found = by_model(&[entry("d", Kind::Directory), entry("d/a", device.clone())], false);
    assert_eq!(found.get(&b"d/a"[..]), Some(&Thing::Whiteout));
    let found = by_model(&[entry("d/a", device)], true);
    assert_eq!(found.get(&b"d/a"[..]), Some(&Thing::Made(0)), "the lowest layer has nothing to hide");
}

#[test]
fn what_aufs_keeps_is_no_part_of_an_image() {
    let file = || Kind::File { size: 0, sparse: None };
    let entries = [
        entry(".wh..wh.plnk", Kind::Directory),
        entry(".wh..wh.plnk/1.2", file()),
        entry(".wh..wh.aufs", file()),
    ];
    for base in [true, false] {
        assert!(by_model(&entries, base).is_empty());
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

//! A donor layer beside the layer that is unpacked: whatever the tar says, nothing of the donor changes. Needs root.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests, too")]

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use chunked_assemble::{Budget, Donor, Extracted, Extractor, Inode, Known, Links, Pool, Rights, Settings};
use chunked_core::Digest;
use chunked_linux::Dir;
use parking_lot::Mutex;
use proptest::prelude::*;

const SMALL: &[u8] = b"some small content";

fn large() -> Vec<u8> {
    (0..1_200_000u32).map(|n| u8::try_from(n % 241).unwrap()).collect()
}

/// A layer that was committed: a directory of files that are found by content, and the inodes that were claimed.
#[derive(Debug)]
struct Neighbour {
    dir: tempfile::TempDir,
    claimed: Arc<Claimed>,
}

#[derive(Debug, Default)]
struct Claimed(Mutex<HashSet<Inode>>);

impl Links for Claimed {
    fn claim(&self, inode: Inode, _: u64) -> bool {
        self.0.lock().insert(inode)
    }

    fn release(&self, inode: Inode) {
        self.0.lock().remove(&inode);
    }
}

impl Known for Neighbour {
    fn find(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Donor>> {
        let root = Arc::new(Dir::open(self.dir.path()).unwrap());
        let links: Arc<dyn Links> = Arc::<Claimed>::clone(&self.claimed);
        let donor = |digest: &Digest| {
            let name = digest.to_hex();
            self.dir.path().join(&name).exists().then(|| Donor {
                root: Arc::clone(&root),
                path: name.into_bytes(),
                rights: Rights::Link(Arc::clone(&links)),
                fresh: false,
                goes: false,
                check: false,
                lender: None,
            })
        };
        wanted.iter().map(|(digest, _)| donor(digest)).collect()
    }
}

/// Content, inode and metadata, attributes.
type Looks = (Vec<u8>, Vec<u64>, Vec<chunked_core::Xattr>);

impl Neighbour {
    /// Files with these contents, mode 0644, owner 7:8, as [`Entry`] has them by default; the last one with an attribute.
    fn new() -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        for content in [SMALL.to_vec(), large(), b"capable".to_vec()] {
            let path = dir.path().join(Digest::of(&content).to_hex());
            std::fs::write(&path, &content).unwrap();
            std::os::unix::fs::chown(&path, Some(7), Some(8)).unwrap();
            let file = std::fs::File::open(&path).unwrap();
            rustix::fs::fchmod(&file, 0o644.into()).unwrap();
            if content == b"capable" {
                rustix::fs::fsetxattr(&file, "user.mark", b"1", rustix::fs::XattrFlags::empty()).unwrap();
            }
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000)).unwrap();
        }
        Arc::new(Self { dir, claimed: Arc::default() })
    }

    /// All that could be told of it, but how many names its files have.
    fn look(&self) -> BTreeMap<String, Looks> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let look = |path: std::path::PathBuf| {
            let (meta, file) = (path.symlink_metadata().unwrap(), std::fs::File::open(&path).unwrap());
            let numbers = [meta.ino(), meta.mode().into(), meta.uid().into(), meta.gid().into(), meta.size()];
            let times = [meta.mtime(), meta.mtime_nsec()].map(|time| u64::try_from(time).unwrap());
            let xattrs = chunked_linux::xattrs(&file).unwrap();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, (std::fs::read(&path).unwrap(), [&numbers[..], &times].concat(), xattrs))
        };
        entries.map(look).collect()
    }
}

/// An entry of a tar.
#[derive(Debug, Clone)]
enum Entry {
    File { name: String, content: u8, meta: u8 },
    Link { name: String, target: String, meta: u8 },
    Directory { name: String },
    Symlink { name: String, target: String },
    Whiteout { name: String },
}

fn content(which: u8) -> Vec<u8> {
    match which {
        0 => large(),
        1 => b"capable".to_vec(),
        2 => b"not the neighbour's".to_vec(),
        _ => SMALL.to_vec(),
    }
}

/// Adds an entry. The higher bits of `meta` make it differ from the neighbour's files.
fn add(tar: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, meta: u8, data: &[u8], link: &str) {
    if meta & 8 != 0 {
        tar.append_pax_extensions([("SCHILY.xattr.user.mark", &b"1"[..])]).unwrap();
    }
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(if meta & 1 == 0 { 0o644 } else { 0o4755 });
    header.set_uid(if meta & 2 == 0 { 7 } else { 1000 });
    header.set_gid(8);
    header.set_mtime(if meta & 4 == 0 { 1_600_000_000 } else { 1 });
    header.set_size(data.len() as u64);
    if link.is_empty() {
        tar.append_data(&mut header, name, data).unwrap();
    } else {
        tar.append_link(&mut header, name, link).unwrap();
    }
}

fn tar(entries: &[Entry]) -> Vec<u8> {
    use tar::EntryType as Kind;
    let mut tar = tar::Builder::new(Vec::new());
    for entry in entries {
        match entry {
            Entry::File { name, content: which, meta } => {
                add(&mut tar, Kind::Regular, name, *meta, &content(*which), "");
            }
            Entry::Link { name, target, meta } => add(&mut tar, Kind::Link, name, *meta, b"", target),
            Entry::Directory { name } => add(&mut tar, Kind::Directory, name, 0, b"", ""),
            Entry::Symlink { name, target } => add(&mut tar, Kind::Symlink, name, 0, b"", target),
            Entry::Whiteout { name } => {
                let (parent, name) = name.rsplit_once('/').unwrap_or((".", name));
                add(&mut tar, Kind::Regular, &format!("{parent}/.wh.{name}"), 0, b"", "");
            }
        }
    }
    tar.into_inner().unwrap()
}

fn unpack(root: &Path, tar: &[u8], base: bool, neighbour: &Arc<Neighbour>) -> Option<Extracted> {
    let known: Arc<dyn Known> = Arc::<Neighbour>::clone(neighbour);
    let (pool, budget) = (Pool::new(2).unwrap(), Budget::new(8 << 20));
    let settings = Settings { pool, owner: "".into(), budget, base, known: Some(known), lease: None };
    let mut extractor = Extractor::new(root, settings).unwrap();
    for part in tar.chunks(70_000) {
        extractor.stream(Bytes::copy_from_slice(part)).ok()?;
    }
    extractor.finish().ok()
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let name = || {
        let part = prop_oneof![Just("a"), Just("b"), Just("c"), Just("s")];
        prop::collection::vec(part, 1..3).prop_map(|parts| parts.join("/"))
    };
    let meta = || prop_oneof![3 => Just(0u8), 1 => Just(8), 3 => 0..16u8];
    let entry = prop_oneof![
        5 => (name(), 0..8u8, meta()).prop_map(|(name, content, meta)| Entry::File { name, content, meta }),
        5 => (name(), name(), meta()).prop_map(|(name, target, meta)| Entry::Link { name, target, meta }),
        1 => name().prop_map(|name| Entry::Directory { name }),
        1 => (name(), name()).prop_map(|(name, target)| Entry::Symlink { name, target }),
        1 => name().prop_map(|name| Entry::Whiteout { name }),
    ];
    prop::collection::vec(entry, 1..16)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn nothing_of_the_neighbour_changes(entries in entries(), base in any::<bool>()) {
        let (root, neighbour) = (tempfile::tempdir().unwrap(), Neighbour::new());
        let before = neighbour.look();
        unpack(root.path(), &tar(&entries), base, &neighbour);
        prop_assert_eq!(neighbour.look(), before);
    }
}

/// What the last link entry says, and what the file was, decide whether the neighbour's inode can stay in the tree.
#[test]
fn an_inode_is_shared_as_long_as_nothing_changes() {
    let file = |content, meta| Entry::File { name: "f".into(), content, meta };
    let link =
        |name: &str, target: &str, meta| Entry::Link { name: name.into(), target: target.into(), meta };
    for (entries, shared) in [
        (vec![file(9, 0)], true),
        (vec![file(9, 0), link("l", "f", 0)], true),
        (vec![file(9, 0), link("l", "f", 1)], false),
        (vec![file(9, 0), link("l", "f", 2)], false),
        (vec![file(9, 0), link("l", "f", 4)], false),
        (vec![file(9, 0), link("l", "f", 8)], false),
        (vec![file(9, 0), link("l", "f", 1), link("m", "l", 0)], true),
        (vec![file(9, 1)], false),
        (vec![file(9, 8)], false),
        // The same attributes, in the file and in the link, or only in the file.
        (vec![file(1, 8)], true),
        (vec![file(1, 8), link("l", "f", 8)], true),
        (vec![file(1, 8), link("l", "f", 0)], true),
        (vec![file(1, 0)], false),
        // Joined late.
        (vec![file(0, 0)], true),
        (vec![file(0, 0), link("l", "f", 0)], true),
        (vec![file(0, 0), link("l", "f", 1)], false),
        // Its first name is replaced.
        (vec![file(9, 0), link("l", "f", 0), file(2, 0)], true),
        (vec![file(9, 0), link("l", "f", 1), file(2, 0)], false),
    ] {
        let (root, neighbour) = (tempfile::tempdir().unwrap(), Neighbour::new());
        let before = neighbour.look();
        let extracted = unpack(root.path(), &tar(&entries), true, &neighbour).unwrap();
        assert_eq!(neighbour.look(), before, "{entries:?}");
        let Some(Entry::File { content: which, .. }) = entries.first() else { unreachable!() };
        let theirs = neighbour.dir.path().join(Digest::of(&content(*which)).to_hex());
        let (last, meta) = match entries.last().unwrap() {
            Entry::Link { name, meta, .. } => (name.as_str(), Some(*meta)),
            _ if entries.len() > 1 => ("l", None),
            _ => ("f", None),
        };
        let ours = root.path().join(last).metadata().unwrap();
        assert_eq!(ours.ino() == theirs.metadata().unwrap().ino(), shared, "{entries:?}");
        assert_eq!(extracted.shared_inodes, u64::from(shared), "{entries:?}");
        if let Some(meta) = meta {
            assert_eq!(ours.mode() & 0o7777, if meta & 1 == 0 { 0o644 } else { 0o4755 }, "{entries:?}");
            assert_eq!(ours.uid(), if meta & 2 == 0 { 7 } else { 1000 }, "{entries:?}");
        }
    }
}

/// The neighbour's inode is claimed once, and given back when it was not linked.
#[test]
fn two_files_of_an_image_never_become_one_inode() {
    let file = |name: &str| Entry::File { name: name.into(), content: 9, meta: 0 };
    let neighbour = Neighbour::new();
    let mut inodes = HashSet::new();
    for _ in 0..2 {
        let root = tempfile::tempdir().unwrap();
        unpack(root.path(), &tar(&[file("a"), file("b"), file("c/d")]), true, &neighbour).unwrap();
        for name in ["a", "b", "c/d"] {
            assert!(inodes.insert(root.path().join(name).metadata().unwrap().ino()), "{name}");
        }
        std::mem::forget(root.keep());
    }
}

//! Whole layers through the extractor, as plain streams; needs root, like everything that restores owners.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests, too")]

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use bytes::Bytes;
use chunked_assemble::{AssembleError, Budget, Extracted, Extractor, Pool, Settings};
use chunked_core::Digest;
use tar::{Builder, EntryType, Header};

#[derive(Default)]
struct Layer(Option<Builder<Vec<u8>>>);

impl Layer {
    fn add(&mut self, path: &str, kind: EntryType, data: &[u8], link: &str, mode: u32) -> &mut Self {
        let builder = self.0.get_or_insert_with(|| Builder::new(Vec::new()));
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_600_000_000);
        header.set_size(data.len() as u64);
        if link.is_empty() {
            builder.append_data(&mut header, path, data).unwrap();
        } else {
            builder.append_link(&mut header, path, link).unwrap();
        }
        self
    }

    fn dir(&mut self, path: &str, mode: u32) -> &mut Self {
        self.add(path, EntryType::Directory, b"", "", mode)
    }

    fn file(&mut self, path: &str, data: &[u8]) -> &mut Self {
        self.add(path, EntryType::Regular, data, "", 0o644)
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.0.take().unwrap().into_inner().unwrap()
    }
}

fn extract(root: &Path, tar: &[u8], base: bool, cut: usize) -> Result<Extracted, AssembleError> {
    let pool = Pool::new(2).unwrap();
    let mut extractor = Extractor::new(
        root,
        Settings { pool, owner: "".into(), budget: Budget::new(1 << 20), base, known: None, lease: None },
    )?;
    for chunk in tar.chunks(cut) {
        extractor.stream(Bytes::copy_from_slice(chunk))?;
    }
    extractor.finish()
}

fn check(tar: &[u8], base: bool, verify: impl Fn(&Path, &Extracted)) {
    for cut in [700, 100_000, 10 << 20] {
        let root = tempfile::tempdir().unwrap();
        let extracted = extract(root.path(), tar, base, cut).unwrap();
        assert_eq!(extracted.diff_id, Digest::of(tar));
        verify(root.path(), &extracted);
    }
}

#[test]
fn metadata_is_the_headers() {
    let big: Vec<u8> = (0..5_000_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let tar = Layer::default()
        .dir("d", 0o2750)
        .file("d/f", b"content")
        .add("d/suid", EntryType::Regular, b"x", "", 0o4755)
        .file("d/big", &big)
        .add("d/link", EntryType::Symlink, b"", "f", 0o777)
        .add("d/hard", EntryType::Link, b"", "d/f", 0o644)
        .add("d/fifo", EntryType::Fifo, b"", "", 0o600)
        .bytes();
    check(&tar, true, |root, extracted| {
        let stat = |p: &str| root.join(p).symlink_metadata().unwrap();
        for path in ["d", "d/f", "d/suid", "d/big", "d/link", "d/fifo"] {
            assert_eq!((stat(path).uid(), stat(path).gid()), (7, 8), "{path}");
            assert_eq!(stat(path).mtime(), 1_600_000_000, "{path}");
        }
        assert_eq!(stat("d").mode() & 0o7777, 0o2750);
        assert_eq!(stat("d/suid").mode() & 0o7777, 0o4755);
        assert_eq!(stat("d/f").ino(), stat("d/hard").ino());
        assert!(stat("d/fifo").file_type().is_fifo());
        assert_eq!(std::fs::read(root.join("d/big")).unwrap(), big);
        let mut files: Vec<_> = extracted.files.iter().map(|f| (f.path.as_slice(), f.digest)).collect();
        files.sort_unstable();
        let expected = [
            (&b"d/big"[..], Digest::of(&big)),
            (b"d/f", Digest::of(b"content")),
            (b"d/suid", Digest::of(b"x")),
        ];
        assert_eq!(files, expected);
        assert!(extracted.implied.is_empty() && !extracted.has_whiteouts);
    });
}

#[test]
fn later_entries_replace_earlier_ones() {
    let tar = Layer::default()
        .dir("a", 0o755)
        .file("a/one", b"1")
        .file("x", b"old")
        .add("y", EntryType::Link, b"", "x", 0o644)
        .file("x", b"new")
        .add("a", EntryType::Symlink, b"", "elsewhere", 0o777)
        .file("z", b"file first")
        .dir("z", 0o700)
        .file("z/in", b"in")
        .bytes();
    check(&tar, true, |root, extracted| {
        assert_eq!(std::fs::read(root.join("x")).unwrap(), b"new");
        assert_eq!(std::fs::read(root.join("y")).unwrap(), b"old");
        assert_eq!(std::fs::read_link(root.join("a")).unwrap(), Path::new("elsewhere"));
        assert_eq!(std::fs::read(root.join("z/in")).unwrap(), b"in");
        let mut paths: Vec<_> = extracted.files.iter().map(|f| f.path.clone()).collect();
        paths.sort_unstable();
        assert_eq!(paths, [&b"x"[..], b"y", b"z/in"], "what was replaced lives on under its other name");
    });
}

/// What replaces what, of every kind by every kind, several times, and more of it than one worker takes at once.
#[test]
fn everything_replaces_everything() {
    const KINDS: usize = 5;
    let mut layer = Layer::default();
    let make = |layer: &mut Layer, name: &str, kind: usize, round: usize| {
        match kind {
            0 => layer.file(name, format!("{name} {round}").as_bytes()),
            1 => layer.dir(name, 0o755).file(&format!("{name}/below/{round}"), b"below"),
            2 => layer.add(name, EntryType::Symlink, b"", &format!("to-{round}"), 0o777),
            3 => layer.add(name, EntryType::Fifo, b"", "", 0o600),
            _ => layer.add(name, EntryType::Link, b"", "first", 0o644),
        };
    };
    layer.file("first", b"first");
    let names: Vec<_> = (0..KINDS.pow(3) * 3).map(|n| (format!("d{}/{n}", n % 7), n)).collect();
    for round in 0..3 {
        for (name, n) in &names {
            make(&mut layer, name, n / KINDS.pow(round) % KINDS, round as usize);
        }
    }
    check(&layer.bytes(), true, |root, extracted| {
        for (name, n) in &names {
            let (path, kinds) = (root.join(name), [0, 1, 2].map(|round| n / KINDS.pow(round) % KINDS));
            let found = path.symlink_metadata().unwrap();
            match kinds[2] {
                0 => assert_eq!(std::fs::read(&path).unwrap(), format!("{name} 2").as_bytes()),
                1 => {
                    // Directories add up as long as nothing else comes in between.
                    let rounds = kinds.iter().rev().take_while(|kind| **kind == 1).count();
                    assert_eq!(std::fs::read_dir(path.join("below")).unwrap().count(), rounds, "{name}");
                }
                2 => assert_eq!(std::fs::read_link(&path).unwrap(), Path::new("to-2")),
                3 => assert!(found.file_type().is_fifo()),
                _ => assert_eq!(found.ino(), root.join("first").metadata().unwrap().ino()),
            }
        }
        assert_eq!(std::fs::read_dir(root).unwrap().count(), 8, "nothing is left beside the tree");
        assert_eq!(extracted.files.iter().filter(|file| file.path == b"first").count(), 1);
    });
}

#[test]
fn symlinked_parents_lead_within_the_layer() {
    let tar = Layer::default()
        .dir("usr", 0o755)
        .add("out", EntryType::Symlink, b"", "../../../../usr", 0o777)
        .add("abs", EntryType::Symlink, b"", "/usr", 0o777)
        .file("out/one", b"1")
        .file("abs/two", b"2")
        .bytes();
    check(&tar, true, |root, _| {
        assert_eq!(std::fs::read(root.join("usr/one")).unwrap(), b"1");
        assert_eq!(std::fs::read(root.join("usr/two")).unwrap(), b"2");
    });
}

#[test]
fn whiteouts_of_upper_and_lowest_layers() {
    let tar = Layer::default()
        .file("kept", b"k")
        .file("gone", b"g")
        .file(".wh.gone", b"")
        .dir("d", 0o755)
        .file("d/.wh..wh..opq", b"")
        .file("d/in", b"i")
        .file("implied/.wh.lower", b"")
        .bytes();
    check(&tar, true, |root, extracted| {
        assert!(extracted.has_whiteouts);
        assert!(!root.join("gone").exists());
        assert!(root.join("d/in").exists());
        assert_eq!(std::fs::read_dir(root.join("implied")).unwrap().count(), 0);
        assert_eq!(extracted.implied, [b"implied".to_vec()]);
    });
    check(&tar, false, |root, _| {
        let device = root.join("implied/lower").symlink_metadata().unwrap();
        assert!(device.file_type().is_char_device() && device.rdev() == 0);
        assert!(root.join("gone").exists(), "a whiteout hides lower layers, not its own");
        let opaque = chunked_linux::Dir::open(&root.join("d")).unwrap();
        let mut value = [0; 4];
        assert_eq!(rustix::fs::fgetxattr(&opaque, "trusted.overlay.opaque", &mut value), Ok(1));
    });
}

#[test]
fn bad_layers_fail_with_the_entry_named() {
    for (layer, name) in [
        (Layer::default().add("h", EntryType::Link, b"", "nowhere", 0o644).bytes(), "nowhere"),
        (Layer::default().file("f", b"x").file("f/below", b"y").bytes(), "f/below"),
        (Layer::default().file(".wh..", b"").bytes(), ".wh.."),
    ] {
        let root = tempfile::tempdir().unwrap();
        let error = extract(root.path(), &layer, false, 1000).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

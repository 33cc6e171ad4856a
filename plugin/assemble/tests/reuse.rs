//! Files and pieces that are not fetched, and what happens when they are not what they should be; needs root.

#![allow(clippy::unwrap_used, reason = "the helpers of a test are tests, too")]

use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use chunked_assemble::{
    AssembleError, Budget, Chunk, Donor, Extracted, Extractor, FetchedPiece, FilePiece, Inode, Known, Links,
    LocalPiece, Pool, Promised, Refetch, Rights, Settings, Spare, SparePiece, promise,
};
use chunked_core::{ByteRange, Digest};
use chunked_linux::Dir;

/// A blob of frames, one for each piece, one file.
#[derive(Debug, Default)]
struct Blob {
    bytes: Vec<u8>,
    pieces: Vec<SparePiece>,
    spoiled: AtomicUsize,
}

impl Blob {
    fn of(pieces: &[&[u8]]) -> Arc<Self> {
        let mut blob = Self::default();
        for piece in pieces {
            let start = blob.bytes.len() as u64;
            blob.bytes.extend(zstd::bulk::compress(piece, 1).unwrap());
            let described = FetchedPiece {
                offset: start,
                len: piece.len() as u64,
                digest: Some(Digest::of(piece)),
                frames: None,
                again: None,
            };
            let range = ByteRange { start, end: blob.bytes.len() as u64 };
            blob.pieces.push(SparePiece { described, blob: Some(range) });
        }
        Arc::new(blob)
    }

    fn fetched(&self, number: usize) -> FetchedPiece {
        let piece = &self.pieces[number];
        let mut frames = Vec::new();
        self.read(piece.blob.unwrap()).read_to_end(&mut frames).unwrap();
        FetchedPiece { frames: Some(frames.into()), ..piece.described.clone() }
    }

    fn local(self: &Arc<Self>, number: usize, chunk: Chunk) -> FilePiece {
        let refetch: Arc<dyn Refetch> = Arc::<Self>::clone(self);
        FilePiece::Local(LocalPiece { spare: self.pieces[number].clone(), chunk, refetch })
    }

    fn spare(self: &Arc<Self>) -> Spare {
        Spare { from: Arc::<Self>::clone(self), file: 0 }
    }
}

impl Refetch for Blob {
    fn pieces(&self, _: usize) -> Vec<SparePiece> {
        self.pieces.clone()
    }

    fn read(&self, range: ByteRange) -> Box<dyn Read + Send> {
        let index = |offset| usize::try_from(offset).unwrap();
        Box::new(std::io::Cursor::new(self.bytes[index(range.start)..index(range.end)].to_vec()))
    }

    fn again(&self, range: ByteRange) -> Option<Box<dyn Read + Send>> {
        Some(self.read(range))
    }

    fn spoiled(&self, _: &[u8], _: &str) {
        self.spoiled.fetch_add(1, Ordering::Relaxed);
    }
}

struct Layer {
    root: tempfile::TempDir,
    extractor: Extractor,
    tar: Vec<u8>,
}

impl Layer {
    fn new(known: Option<Arc<dyn Known>>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let settings = Settings {
            pool: Pool::new(2).unwrap(),
            owner: "".into(),
            budget: Budget::new(8 << 20),
            base: true,
            known,
            lease: None,
        };
        let extractor = Extractor::new(root.path(), settings).unwrap();
        Self { root, extractor, tar: Vec::new() }
    }

    /// The headers of a file with this content; the content itself comes from elsewhere.
    fn header(&mut self, name: &str, content: &[u8]) {
        self.try_header(name, content).unwrap();
    }

    fn try_header(&mut self, name: &str, content: &[u8]) -> Result<(), AssembleError> {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        let mut builder = tar::Builder::new(Vec::new());
        builder.append_data(&mut header, name, content).unwrap();
        let entry = builder.get_ref().clone();
        let padding = content.len().next_multiple_of(512) - content.len();
        self.tar.extend(&entry);
        self.extractor.raw(entry[..entry.len() - content.len() - padding].to_vec().into())
    }

    fn padding(&mut self, content: &[u8]) {
        let padding = content.len().next_multiple_of(512) - content.len();
        self.extractor.raw(vec![0; padding].into()).unwrap();
    }

    fn finish(self) -> Result<(tempfile::TempDir, Extracted), AssembleError> {
        let extracted = self.extractor.finish()?;
        assert_eq!(extracted.diff_id, Digest::of(&self.tar));
        Ok((self.root, extracted))
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed + 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(next).collect()
}

fn donor(dir: &Path, name: &str) -> Donor {
    let root = Arc::new(Dir::open(dir).unwrap());
    Donor {
        root,
        path: name.into(),
        rights: Rights::Share,
        fresh: false,
        goes: false,
        check: false,
        lender: None,
    }
}

fn chunk(dir: &Arc<Dir>, name: &str, offset: usize) -> Chunk {
    Chunk::Donor {
        root: Arc::clone(dir),
        path: name.as_bytes().into(),
        offset: offset as u64,
        may_share: true,
        goes: false,
        lender: None,
    }
}

#[test]
fn pieces_from_donors_at_every_alignment() {
    let parts: Vec<Vec<u8>> = [5000, 70_000, 4096, 1, 300_000, 900_000, 12_345]
        .iter()
        .zip(0..)
        .map(|(len, n)| noise(n, *len))
        .collect();
    let whole = parts.concat();
    let pieces: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let blob = Blob::of(&pieces);
    let donors = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open(donors.path()).unwrap());
    // `shift` bytes further in the donor than here; every third piece is fetched.
    for (shift, long) in [(0, true), (4096, true), (3, true), (0, false)] {
        let count = if long { parts.len() } else { 4 };
        let content = &whole[..parts[..count].iter().map(Vec::len).sum()];
        let mut held = noise(99, shift);
        held.extend(&whole);
        std::fs::write(donors.path().join("d"), &held).unwrap();
        let mut layer = Layer::new(None);
        layer.header("f", content);
        let mut at = 0;
        let mut make = |n: usize| {
            let piece = match n % 3 {
                2 => FilePiece::Fetched(blob.fetched(n), None),
                _ => blob.local(n, chunk(&dir, "d", shift + at)),
            };
            at += parts[n].len();
            piece
        };
        let (size, digest) = (content.len() as u64, Digest::of(content));
        if long {
            let mut file = layer.extractor.long_file(size, digest).unwrap();
            (0..count).for_each(|n| file.piece(make(n)).unwrap());
            file.finish(Vec::new()).unwrap();
        } else {
            let ready = (0..count).map(make).collect();
            layer.extractor.pieces(size, digest, ready, Vec::new()).unwrap();
        }
        layer.padding(content);
        let (root, _) = layer.finish().unwrap();
        assert!(std::fs::read(root.path().join("f")).unwrap() == content, "{shift} {long}");
    }
    assert_eq!(blob.spoiled.load(Ordering::Relaxed), 0);
}

#[test]
fn bad_chunks_are_fetched() {
    let parts = [noise(1, 70_000), noise(2, 80_000), noise(3, 90_000)];
    let content = parts.concat();
    let blob = Blob::of(&[&parts[0], &parts[1], &parts[2]]);
    let donors = tempfile::tempdir().unwrap();
    let dir = Arc::new(Dir::open(donors.path()).unwrap());
    let mut wrong = content.clone();
    wrong[100_000] ^= 1;
    std::fs::write(donors.path().join("wrong"), &wrong).unwrap();
    std::fs::write(donors.path().join("short"), &content[..100_000]).unwrap();
    std::os::unix::fs::symlink("wrong", donors.path().join("link")).unwrap();
    for (name, bad) in [("wrong", 1), ("short", 3), ("link", 3), ("none", 3)] {
        let before = blob.spoiled.load(Ordering::Relaxed);
        let mut layer = Layer::new(None);
        layer.header("f", &content);
        let offsets = [0, 70_000, 150_000];
        let ready = (0..3).map(|n| blob.local(n, chunk(&dir, name, offsets[n]))).collect();
        let (size, digest) = (content.len() as u64, Digest::of(&content));
        layer.extractor.pieces(size, digest, ready, Vec::new()).unwrap();
        layer.padding(&content);
        let (root, _) = layer.finish().unwrap();
        assert!(std::fs::read(root.path().join("f")).unwrap() == content, "{name}");
        assert_eq!(blob.spoiled.load(Ordering::Relaxed) - before, bad, "{name}");
    }
}

#[test]
fn bad_files_are_fetched() {
    let content = noise(7, 1_500_000);
    let small = noise(8, 3000);
    for content in [content, small] {
        let half = content.len() / 2;
        let blob = Blob::of(&[&content[..half], &content[half..]]);
        let donors = tempfile::tempdir().unwrap();
        let mut wrong = content.clone();
        wrong[1000] ^= 1;
        std::fs::write(donors.path().join("wrong"), &wrong).unwrap();
        std::fs::write(donors.path().join("short"), &content[1..]).unwrap();
        std::fs::create_dir(donors.path().join("dir")).unwrap();
        for name in ["wrong", "short", "none", "dir"] {
            let mut layer = Layer::new(None);
            layer.header("f", &content);
            let donor = Donor { check: true, ..donor(donors.path(), name) };
            let (size, digest) = (content.len() as u64, Digest::of(&content));
            layer.extractor.donor(size, digest, donor, blob.spare()).unwrap();
            layer.padding(&content);
            let (root, _) = layer.finish().unwrap();
            assert!(std::fs::read(root.path().join("f")).unwrap() == content, "{name}");
        }
        assert_eq!(blob.spoiled.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn many_bad_files_are_another_plans_affair() {
    let content = b"content";
    let blob = Blob::of(&[content]);
    let mut layer = Layer::new(None);
    for n in 0..200 {
        let (size, digest) = (content.len() as u64, Digest::of(content));
        let pushed = layer.try_header(&n.to_string(), content).and_then(|()| {
            layer.extractor.promised(size, digest, &Promised::broken(), blob.spare())?;
            let padding = content.len().next_multiple_of(512) - content.len();
            layer.extractor.raw(vec![0; padding].into())
        });
        if let Err(error) = pushed {
            return assert!(matches!(error, AssembleError::Broken { .. }), "{error}");
        }
    }
    assert!(matches!(layer.finish(), Err(AssembleError::Broken { .. })));
}

#[test]
fn repeats_and_promises() {
    let content = noise(5, 200_000);
    let parts = [&content[..90_000], &content[90_000..]];
    let blob = Blob::of(&parts);
    let key = (content.len() as u64, Digest::of(&content));
    let mut layer = Layer::new(None);
    let ((kept, repeat), (first, part)) = (promise(), promise());
    layer.header("a", &content);
    let ready =
        vec![FilePiece::Fetched(blob.fetched(0), Some(first)), FilePiece::Fetched(blob.fetched(1), None)];
    layer.extractor.pieces(key.0, key.1, ready, vec![kept]).unwrap();
    layer.padding(&content);
    layer.header("b", &content);
    layer.extractor.promised(key.0, key.1, &repeat, blob.spare()).unwrap();
    layer.padding(&content);
    // The same part twice, from what is made in the same batch.
    let twice = [parts[0], parts[0]].concat();
    layer.header("c", &twice);
    let ready = (0..2).map(|_| blob.local(0, Chunk::Repeat(part.clone()))).collect();
    layer.extractor.pieces(twice.len() as u64, Digest::of(&twice), ready, Vec::new()).unwrap();
    layer.padding(&twice);
    let (late, promised) = promise();
    layer.header("d", &content);
    layer.extractor.promised(key.0, key.1, &promised, blob.spare()).unwrap();
    layer.padding(&content);
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("made"), &content).unwrap();
    let root = Arc::new(Dir::open(elsewhere.path()).unwrap());
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        late.keep(&chunked_assemble::Made { root, path: b"made"[..].into(), offset: 0, lease: None });
    });
    let (root, extracted) = layer.finish().unwrap();
    let read = |name: &str| std::fs::read(root.path().join(name)).unwrap();
    assert!(read("a") == content && read("b") == content && read("c") == twice && read("d") == content);
    let inode = |name: &str| root.path().join(name).metadata().unwrap().ino();
    assert!(inode("a") != inode("b") && inode("a") != inode("d"));
    assert_eq!((blob.spoiled.load(Ordering::Relaxed), extracted.files.len()), (0, 4));
}

#[test]
fn holes_of_a_donor_stay_holes() {
    let mut content = noise(1, 3 << 20);
    content[100_000..2_900_000].fill(0);
    let donors = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(donors.path().join("d")).unwrap();
    file.set_len(content.len() as u64).unwrap();
    file.write_all_at(&content[..100_000], 0).unwrap();
    file.write_all_at(&content[2_900_000..], 2_900_000).unwrap();
    let blob = Blob::of(&[&content]);
    let mut layer = Layer::new(None);
    layer.header("f", &content);
    let (size, digest) = (content.len() as u64, Digest::of(&content));
    layer.extractor.donor(size, digest, donor(donors.path(), "d"), blob.spare()).unwrap();
    layer.padding(&content);
    let (root, _) = layer.finish().unwrap();
    let made = root.path().join("f");
    assert!(std::fs::read(&made).unwrap() == content);
    assert!(made.metadata().unwrap().blocks() * 512 < 1 << 20);
}

/// Any inode may be linked to.
#[derive(Debug)]
struct AnyInode;

impl Links for AnyInode {
    fn claim(&self, _: Inode, _: u64) -> bool {
        true
    }

    fn release(&self, _: Inode) {}
}

/// Files in a directory, found by their content's digest.
#[derive(Debug)]
struct Held(std::path::PathBuf);

impl Known for Held {
    fn find(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Donor>> {
        let held = |digest: &Digest| self.0.join(digest.to_hex()).exists().then(|| digest.to_hex());
        let rights = Rights::Link(Arc::new(AnyInode));
        let donor = |name: String| Donor { rights: rights.clone(), ..donor(&self.0, &name) };
        wanted.iter().map(|(digest, _)| held(digest).map(donor)).collect()
    }
}

#[test]
fn plain_layers_share_what_is_equal_and_nothing_else() {
    let (small, large, liar) = (noise(1, 9000), noise(2, 2_500_000), noise(3, 9000));
    let held = tempfile::tempdir().unwrap();
    for (digest, content) in [(&small, &small), (&large, &large), (&liar, &small)] {
        let path = held.path().join(Digest::of(digest).to_hex());
        std::fs::write(&path, content).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        rustix::fs::fchmod(&file, 0o644.into()).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        file.set_modified(time).unwrap();
    }
    let mut layer = Layer::new(Some(Arc::new(Held(held.path().to_owned()))));
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content, mtime) in [
        ("small", &small, 1_600_000_000),
        ("large", &large, 1_600_000_000),
        ("other", &large, 1_600_000_001),
        ("liar", &liar, 1_600_000_000),
    ] {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(mtime);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    layer.tar = builder.into_inner().unwrap();
    for part in layer.tar.chunks(100_000) {
        layer.extractor.stream(Bytes::copy_from_slice(part)).unwrap();
    }
    let (root, extracted) = layer.finish().unwrap();
    let stat = |name: &str| root.path().join(name).metadata().unwrap();
    for (name, content, mtime) in
        [("small", &small, 0), ("large", &large, 0), ("other", &large, 1), ("liar", &liar, 0)]
    {
        assert!(std::fs::read(root.path().join(name)).unwrap() == *content, "{name}");
        assert_eq!(stat(name).mtime(), 1_600_000_000 + mtime, "{name}");
    }
    // By inode, and with another time by blocks, if the filesystem can.
    let size = |len: usize| (len as u64).next_multiple_of(4096);
    let reflinks = chunked_linux::can_share_blocks(&Dir::open(root.path()).unwrap());
    let expected = size(small.len()) + size(large.len()) * if reflinks { 2 } else { 1 };
    assert_eq!((extracted.shared_bytes, extracted.shared_inodes), (expected, 2));
    for (name, content) in [("small", &small), ("large", &large)] {
        let twin = held.path().join(Digest::of(content).to_hex()).metadata().unwrap();
        assert_eq!(stat(name).ino(), twin.ino(), "{name}");
    }
    assert_eq!((stat("other").nlink(), stat("liar").nlink()), (1, 1));
}

/// The header that [`Layer::header`] writes describes the file.
fn like_its_header(path: &Path) {
    let file = std::fs::File::open(path).unwrap();
    rustix::fs::fchmod(&file, 0o644.into()).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000)).unwrap();
}

#[test]
fn a_donor_is_linked_if_nothing_could_tell_and_checked_first_if_it_must_be() {
    let content = noise(4, 5000);
    let blob = Blob::of(&[&content]);
    let donors = tempfile::tempdir().unwrap();
    let mut wrong = content.clone();
    wrong[77] ^= 1;
    for (name, content) in [("right", &content), ("wrong", &wrong)] {
        std::fs::write(donors.path().join(name), content).unwrap();
        like_its_header(&donors.path().join(name));
    }
    let inode = |path: &Path| path.metadata().unwrap().ino();
    for (name, check, rights, linked) in [
        ("right", false, Rights::Link(Arc::new(AnyInode)), true),
        ("right", true, Rights::Link(Arc::new(AnyInode)), true),
        ("right", false, Rights::Share, false),
        ("right", false, Rights::Read, false),
        ("wrong", true, Rights::Link(Arc::new(AnyInode)), false),
    ] {
        let mut layer = Layer::new(None);
        layer.header("f", &content);
        let (size, digest) = (content.len() as u64, Digest::of(&content));
        let donor = Donor { check, rights, ..donor(donors.path(), name) };
        layer.extractor.donor(size, digest, donor, blob.spare()).unwrap();
        layer.padding(&content);
        let (root, extracted) = layer.finish().unwrap();
        let made = root.path().join("f");
        assert!(std::fs::read(&made).unwrap() == content, "{name} {check}");
        assert_eq!(inode(&made) == inode(&donors.path().join(name)), linked, "{name} {check}");
        assert_eq!(extracted.shared_inodes, u64::from(linked), "{name} {check}");
    }
    assert_eq!(blob.spoiled.load(Ordering::Relaxed), 1);
}

/// ext4 gives an inode 65000 names, btrfs 65535.
#[test]
fn an_inode_that_has_all_its_names_is_shared_otherwise() {
    const MOST: usize = 70_000;
    let content = noise(4, 5000);
    let blob = Blob::of(&[&content]);
    let donors = tempfile::tempdir().unwrap();
    let first = donors.path().join("f");
    std::fs::write(&first, &content).unwrap();
    like_its_header(&first);
    let refused = |path: &Path| std::fs::hard_link(&first, path).is_err();
    let full = (0..MOST).any(|n| refused(&donors.path().join(n.to_string())));
    // The names may be counted in each directory.
    let full = full && refused(&tempfile::tempdir().unwrap().path().join("f"));
    let mut layer = Layer::new(None);
    layer.header("f", &content);
    let donor = Donor { rights: Rights::Link(Arc::new(AnyInode)), ..donor(donors.path(), "f") };
    let (size, digest) = (content.len() as u64, Digest::of(&content));
    layer.extractor.donor(size, digest, donor, blob.spare()).unwrap();
    layer.padding(&content);
    let (root, extracted) = layer.finish().unwrap();
    let made = root.path().join("f");
    assert!(std::fs::read(&made).unwrap() == content);
    assert_eq!(made.metadata().unwrap().ino() == first.metadata().unwrap().ino(), !full);
    assert_eq!((extracted.shared_inodes, blob.spoiled.load(Ordering::Relaxed)), (u64::from(!full), 0));
}

//! The extractor on arbitrary tars, in a scratch directory beside a donor layer: nothing of the donor, and nothing outside, changes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chunked_assemble::{Budget, Donor, Extractor, Inode, Known, Links, Pool, Rights, Settings};
use chunked_core::Digest;
use chunked_linux::Dir;

use super::checksums::right_checksums;

/// Files of the donor layer, at most.
const MAX_DONORS: usize = 6;

/// A tar after a byte of options, one of which gives its headers right checksums.
pub fn extractor(data: &[u8]) {
    let Some((options, tar)) = data.split_first() else { return };
    let mut tar = tar.to_vec();
    if options & 1 != 0 {
        right_checksums(&mut tar);
    }
    let scratch = tempfile::tempdir().expect("a directory");
    let place = |name: &str| scratch.path().join(name);
    for name in ["staging", "donor", "outside"] {
        fs::create_dir(place(name)).expect("a directory");
    }
    fs::write(place("outside/canary"), b"canary").expect("a file");
    fs::set_permissions(place("outside/canary"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let donor = DonorLayer::of(&place("donor"), &tar);
    let before = (walk(&place("donor")), walk(&place("outside")));

    let base = options & 2 != 0;
    let known: Option<Arc<dyn Known>> = (options & 4 == 0).then(|| Arc::new(donor) as Arc<dyn Known>);
    let cut = if options & 8 == 0 { 10_000 } else { 700 };
    let extracted = extract(&place("staging"), &tar, base, known, cut);
    if let Some(digest) = extracted {
        assert_eq!(digest, Digest::of(&tar));
    }

    assert_eq!(
        (walk(&place("donor")), walk(&place("outside"))),
        before,
        "something of another layer, or outside, changed"
    );
    let names: Vec<_> = fs::read_dir(scratch.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names.len(), 3, "something was made outside: {names:?}");
}

/// Unpacks the tar; its digest, if it can be unpacked.
fn extract(root: &Path, tar: &[u8], base: bool, known: Option<Arc<dyn Known>>, cut: usize) -> Option<Digest> {
    let settings = Settings {
        pool: Pool::new(2).expect("workers"),
        owner: "".into(),
        budget: Budget::new(4 << 20),
        base,
        known,
        lease: None,
    };
    let mut extractor = Extractor::new(root, settings).expect("an empty directory");
    for chunk in tar.chunks(cut) {
        extractor.stream(Bytes::copy_from_slice(chunk)).ok()?;
    }
    extractor.finish().ok().map(|extracted| extracted.diff_id)
}

/// A layer of the store that has some of the tar's files, with the same metadata where a header tells it.
#[derive(Debug)]
struct DonorLayer {
    root: Arc<Dir>,
    files: BTreeMap<(Digest, u64), Vec<u8>>,
    links: Arc<dyn Links>,
}

/// Each inode serves once.
#[derive(Debug, Default)]
struct Once(Mutex<HashSet<Inode>>);

impl Links for Once {
    fn claim(&self, inode: Inode, _: u64) -> bool {
        self.0.lock().expect("nobody panics with it").insert(inode)
    }

    fn release(&self, inode: Inode) {
        self.0.lock().expect("nobody panics with it").remove(&inode);
    }
}

impl DonorLayer {
    fn of(root: &Path, tar: &[u8]) -> Self {
        let mut files = BTreeMap::new();
        for (number, (header, payload)) in payloads(tar).into_iter().take(MAX_DONORS).enumerate() {
            let path = root.join(format!("f{number}"));
            fs::write(&path, payload).expect("a file");
            let field = |at: usize, len: usize| octal(&header[at..at + len]);
            std::os::unix::fs::chown(&path, Some(field(108, 8) as u32), Some(field(116, 8) as u32))
                .expect("an owner");
            fs::set_permissions(&path, fs::Permissions::from_mode(field(100, 8) as u32 & 0o7777))
                .expect("a mode");
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(field(136, 12) & 0x7fff_ffff);
            fs::File::open(&path).and_then(|file| file.set_modified(time)).expect("a time");
            files.insert((Digest::of(payload), payload.len() as u64), format!("f{number}").into_bytes());
        }
        Self { root: Arc::new(Dir::open(root).expect("a directory")), files, links: Arc::<Once>::default() }
    }
}

impl Known for DonorLayer {
    fn find(&self, wanted: &[(Digest, u64)]) -> Vec<Option<Donor>> {
        let donor = |path: &Vec<u8>| Donor {
            root: Arc::clone(&self.root),
            path: path.clone(),
            rights: Rights::Link(Arc::clone(&self.links)),
            fresh: false,
            goes: false,
            check: false,
            lender: None,
        };
        wanted.iter().map(|key| self.files.get(key).map(donor)).collect()
    }
}

/// Headers that have a payload, and the payloads, as far as sizes in octal lead.
fn payloads(tar: &[u8]) -> Vec<(&[u8], &[u8])> {
    let (mut found, mut at) = (Vec::new(), 0usize);
    while let Some(header) = tar.get(at..at + 512) {
        let size = usize::try_from(octal(&header[124..136])).unwrap_or(usize::MAX);
        let start = at + 512;
        if let Some(payload) = start.checked_add(size).and_then(|end| tar.get(start..end))
            && !payload.is_empty()
        {
            found.push((header, payload));
        }
        at = start.saturating_add(size.saturating_add(511) / 512 * 512);
        if at > tar.len() {
            break;
        }
    }
    found
}

fn octal(field: &[u8]) -> u64 {
    let digits =
        field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| matches!(byte, b'0'..=b'7'));
    digits.fold(0, |number, digit| (number << 3) | u64::from(digit - b'0'))
}

/// Mode, owner, group, seconds and nanoseconds of the time, content, and names of attributes.
type Facts = (u32, u32, u32, i64, i64, Vec<u8>, Vec<Vec<u8>>);

/// What must not change of a file: everything but how many names it has.
fn walk(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root).expect("a directory") {
        let path = entry.expect("an entry").path();
        let meta = path.symlink_metadata().expect("a file");
        let content = fs::read(&path).expect("a file");
        let facts = (
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            content,
            attributes(&path),
        );
        found.insert(path, facts);
    }
    found
}

/// Names of the extended attributes.
fn attributes(path: &Path) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut buffer[..]).unwrap_or(0);
    buffer[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
}

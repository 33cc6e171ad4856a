use super::read::List;
use super::*;
use crate::layer::{NewChunk, NewFile};

fn some() -> (Vec<NewFile>, Vec<NewChunk>) {
    let file = |n: u8| NewFile {
        path: vec![n.max(1); usize::from(n) * 9 + 1],
        digest: Digest::of(&[n]),
        size: u64::from(n) << 33,
        proven: true,
    };
    let chunk = |n: u8| NewChunk {
        digest: Digest::of(&[n, n]),
        size: u64::from(n) + 1,
        path: file(n).path,
        offset: u64::from(n) << 34,
        proven: true,
    };
    ((0..80).map(file).collect(), (0..40).map(chunk).collect())
}

#[test]
fn reads_back_whole_and_by_record() {
    let dir = tempfile::tempdir().unwrap();
    let (files, chunks) = some();
    let entries = write(dir.path(), &files, Some(&chunks)).unwrap();
    let list = List::read(dir.path()).unwrap();
    assert_eq!(list.entries(), entries);
    assert_eq!(list.files().map(|(_, file)| file).collect::<Vec<_>>(), files);
    let records = Records::open(dir.path()).unwrap();
    for (entry, file) in entries.files.iter().zip(&files) {
        assert_eq!(&records.file(entry.at).unwrap(), file);
    }
    assert_eq!(entries.chunks.len(), chunks.len());
    for (entry, chunk) in entries.chunks.iter().zip(&chunks) {
        let found = records.chunk(entry.at).unwrap();
        assert_eq!((found.digest, found.size, found.offset), (chunk.digest, chunk.size, chunk.offset));
        assert_eq!(records.file(found.file).unwrap().path, chunk.path);
    }
}

#[test]
fn records_are_found_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = |n: usize| match n % 500 {
        7 => vec![b'l'; 20_000 + n],
        _ => format!("{}{n}", "d/".repeat(n % 97)).into_bytes(),
    };
    let file =
        |n: usize| NewFile { path: path(n), digest: Digest::of(&n.to_le_bytes()), size: 5, proven: true };
    let files: Vec<_> = (0..3000).map(file).collect();
    let entries = write(dir.path(), &files, None).unwrap();
    let all: Vec<_> = entries.files.iter().zip(&files).collect();
    let mut orders = [all.clone(), all.clone(), all.clone()];
    orders[1].reverse();
    orders[2].sort_by_key(|(entry, _)| (entry.at.wrapping_mul(0x9e37_79b9_7f4a_7c15), entry.at));
    for order in orders {
        let records = Records::open(dir.path()).unwrap();
        for (entry, file) in order {
            assert_eq!(&records.file(entry.at).unwrap(), file);
        }
    }
}

/// The list as a version before flags wrote it.
fn aged(version: u8, files: &[NewFile], chunks: &[(u64, NewChunk)]) -> Vec<u8> {
    let mut bytes = format!("chunked-files-{version}\n").into_bytes();
    let mut records = Vec::new();
    for file in files {
        records.extend(file.digest.as_bytes());
        records.extend(file.size.to_le_bytes());
        records.extend(u16::try_from(file.path.len()).unwrap().to_le_bytes());
        records.extend(&file.path);
    }
    if version > 1 {
        bytes.extend((records.len() as u64).to_le_bytes());
    }
    bytes.extend(records);
    for (file, chunk) in chunks {
        bytes.extend(chunk.digest.as_bytes());
        [chunk.size, chunk.offset, *file].iter().for_each(|number| bytes.extend(number.to_le_bytes()));
    }
    bytes.extend(*Digest::of(&bytes).as_bytes());
    bytes
}

#[test]
fn reads_lists_of_the_first_version() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, _) = some();
    std::fs::write(dir.path().join(NAME), aged(1, &files, &[])).unwrap();
    let list = List::read(dir.path()).unwrap();
    files.iter_mut().for_each(|file| file.proven = file.size <= LARGE);
    assert_eq!(list.files().map(|(_, file)| file).collect::<Vec<_>>(), files);
    assert_eq!(list.chunks().count(), 0);
    let records = Records::open(dir.path()).unwrap();
    for (at, file) in list.files() {
        assert_eq!(records.file(at).unwrap().path, file.path);
    }
}

#[test]
fn before_flags_what_may_have_come_in_pieces_counts_as_unproven() {
    let file = |path: &str, size| NewFile { path: path.into(), digest: Digest::of(b"f"), size, proven: true };
    let files = [file("small", 10), file("pieces", 20), file("large", LARGE + 1)];
    let chunk =
        NewChunk { digest: Digest::of(b"c"), size: 10, path: b"pieces".to_vec(), offset: 5, proven: true };
    let second = 24 + 42 + "small".len() as u64;
    let list = List::parse(aged(3, &files, &[(second, chunk.clone())])).unwrap();
    assert!(list.is_cut() && !list.is_marked());
    assert_eq!(list.files().map(|(_, file)| file.proven).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(list.entries().unproven(), 3);
    let (found, chunks) = list.contents();
    assert_eq!(found.len(), 3);
    assert_eq!(chunks, [NewChunk { proven: false, ..chunk }]);
}

#[test]
fn flags_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut files, mut chunks) = some();
    files.iter_mut().step_by(3).for_each(|file| file.proven = false);
    chunks.iter_mut().step_by(7).for_each(|chunk| chunk.proven = false);
    let entries = write(dir.path(), &files, Some(&chunks)).unwrap();
    assert_eq!(entries.unproven(), 27 + 6);
    let list = List::read(dir.path()).unwrap();
    assert!(list.is_marked());
    assert_eq!((list.entries(), list.contents()), (entries, (files, chunks)));
}

#[test]
fn damage_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (files, chunks) = some();
    write(dir.path(), &files[..3], Some(&chunks[..2])).unwrap();
    let good = std::fs::read(dir.path().join(NAME)).unwrap();
    assert!(List::parse(good.clone()).is_some());
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 1;
        assert!(List::parse(bad).is_none(), "flipped byte {position}");
        assert!(List::parse(good[..position].to_vec()).is_none(), "cut at {position}");
    }
    // Right sums over wrong contents.
    for (cut, add) in [(1, 0), (0, 1)] {
        let body = &good[..good.len() - 32];
        let mut bad = [&body[..body.len() - cut], &vec![0; add]].concat();
        bad.extend(*Digest::of(&bad).as_bytes());
        assert!(List::parse(bad).is_none(), "cut {cut}, added {add}");
    }
}

#[test]
fn lengths_are_part_of_the_key() {
    let digest = Digest::of(b"");
    assert_ne!(key(&digest, 0), key(&digest, 1));
    assert_ne!(key(&digest, 1), key(&Digest::of(b"x"), 1));
}

#[test]
fn chunks_of_unknown_files_and_endless_paths_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let long = NewFile { path: vec![b'a'; 70_000], digest: Digest::of(b""), size: 0, proven: true };
    let chunk =
        NewChunk { digest: Digest::of(b"c"), size: 1, path: b"none".to_vec(), offset: 0, proven: true };
    let none = Entries { cut: true, ..Entries::default() };
    assert_eq!(write(dir.path(), &[long], Some(&[chunk])).unwrap(), none);
    assert_eq!(List::read(dir.path()).unwrap().entries(), none);
}

#[test]
fn large_files_without_chunks_are_to_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let file = |size| NewFile { path: b"f".to_vec(), digest: Digest::of(b""), size, proven: true };
    for (size, chunks, cut) in
        [(LARGE, None, true), (LARGE + 1, None, false), (LARGE + 1, Some([].as_slice()), true)]
    {
        assert_eq!(write(dir.path(), &[file(size)], chunks).unwrap().cut, cut);
        assert_eq!(List::read(dir.path()).unwrap().is_cut(), cut);
    }
    // The second version, where only a TOC's chunks tell.
    let chunk = NewChunk { digest: Digest::of(b"c"), size: 1, path: b"f".to_vec(), offset: 0, proven: true };
    for chunks in [vec![], vec![(24, chunk)]] {
        assert_eq!(List::parse(aged(2, &[file(LARGE + 1)], &chunks)).unwrap().is_cut(), !chunks.is_empty());
    }
}

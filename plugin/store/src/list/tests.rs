use super::*;

fn some() -> (Vec<NewFile>, Vec<NewChunk>) {
    let file = |n: u8| NewFile {
        path: vec![n.max(1); usize::from(n) * 9 + 1],
        digest: Digest::of(&[n]),
        size: u64::from(n) << 33,
    };
    let chunk = |n: u8| NewChunk {
        digest: Digest::of(&[n, n]),
        size: u64::from(n) + 1,
        path: file(n).path,
        offset: u64::from(n) << 34,
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
fn reads_lists_of_the_first_version() {
    let dir = tempfile::tempdir().unwrap();
    let (files, _) = some();
    let mut bytes = MAGIC_1.to_vec();
    for file in &files {
        bytes.extend(file.digest.as_bytes());
        bytes.extend(file.size.to_le_bytes());
        bytes.extend(u16::try_from(file.path.len()).unwrap().to_le_bytes());
        bytes.extend(&file.path);
    }
    bytes.extend(*Digest::of(&bytes).as_bytes());
    std::fs::write(dir.path().join(NAME), bytes).unwrap();
    let list = List::read(dir.path()).unwrap();
    assert_eq!(list.files().map(|(_, file)| file).collect::<Vec<_>>(), files);
    assert_eq!(list.chunks().count(), 0);
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
    let long = NewFile { path: vec![b'a'; 70_000], digest: Digest::of(b""), size: 0 };
    let chunk = NewChunk { digest: Digest::of(b"c"), size: 1, path: b"none".to_vec(), offset: 0 };
    let none = Entries { cut: true, ..Entries::default() };
    assert_eq!(write(dir.path(), &[long], Some(&[chunk])).unwrap(), none);
    assert_eq!(List::read(dir.path()).unwrap().entries(), none);
}

#[test]
fn large_files_without_chunks_are_to_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let file = |size| NewFile { path: b"f".to_vec(), digest: Digest::of(b""), size };
    for (size, chunks, cut) in
        [(LARGE, None, true), (LARGE + 1, None, false), (LARGE + 1, Some([].as_slice()), true)]
    {
        assert_eq!(write(dir.path(), &[file(size)], chunks).unwrap().cut, cut);
        assert_eq!(List::read(dir.path()).unwrap().is_cut(), cut);
    }
    // The second version, where only a TOC's chunks tell.
    let chunk = NewChunk { digest: Digest::of(b"c"), size: 1, path: b"f".to_vec(), offset: 0 };
    for chunks in [vec![], vec![chunk]] {
        write(dir.path(), &[file(LARGE + 1)], Some(&chunks)).unwrap();
        let mut bytes = std::fs::read(dir.path().join(NAME)).unwrap();
        bytes[..MAGIC_2.len()].copy_from_slice(MAGIC_2);
        let body = bytes.len() - 32;
        let sum = Digest::of(&bytes[..body]);
        bytes[body..].copy_from_slice(sum.as_bytes());
        assert_eq!(List::parse(bytes).unwrap().is_cut(), !chunks.is_empty());
    }
}

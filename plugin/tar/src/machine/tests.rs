use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;
use chunked_core::Kind;

fn archive() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut add = |name: &str, kind: EntryType, data: &[u8], link: &str| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(data.len() as u64);
        header.set_mode(0o4755);
        header.set_mtime(1_700_000_000);
        if link.is_empty() {
            builder.append_data(&mut header, name, data).unwrap();
        } else {
            builder.append_link(&mut header, name, link).unwrap();
        }
    };
    add("dir/", EntryType::Directory, b"", "");
    add("dir/file", EntryType::Regular, b"hello world", "");
    add(&format!("dir/{}", "n".repeat(300)), EntryType::Regular, &[7; 1024], "");
    add("dir/empty", EntryType::Regular, b"", "");
    add("dir/link", EntryType::Symlink, b"", &"t".repeat(200));
    add("dir/hard", EntryType::Link, b"", "dir/file");
    builder.into_inner().unwrap()
}

fn run(tar: &[u8], cut: usize) -> Result<Vec<(Entry, Vec<u8>)>, TarError> {
    let mut machine = Machine::new();
    let mut out: Vec<(Entry, Vec<u8>)> = Vec::new();
    for chunk in tar.chunks(cut.max(1)) {
        let mut input = Bytes::copy_from_slice(chunk);
        while let Some(event) = machine.next(&mut input)? {
            match event {
                Event::Entry(entry) => out.push((entry, Vec::new())),
                Event::Data(data) => out.last_mut().unwrap().1.extend_from_slice(&data),
            }
        }
        assert!(input.is_empty(), "input must be used up before more is asked for");
    }
    machine.finish()?;
    Ok(out)
}

#[test]
fn any_cut_gives_the_same_entries() {
    let tar = archive();
    let whole = run(&tar, tar.len()).unwrap();
    assert_eq!(whole.len(), 6);
    assert_eq!(whole[1].1, b"hello world");
    assert_eq!(whole[1].0.mode, 0o4755);
    assert_eq!(whole[2].0.path.len(), 304);
    assert_eq!(whole[4].0.kind, Kind::Symlink(vec![b't'; 200]));
    assert_eq!(whole[5].0.kind, Kind::HardLink(b"dir/file".to_vec()));
    for cut in [1, 7, 511, 512, 513, 1000, 4096] {
        assert_eq!(run(&tar, cut).unwrap(), whole, "cut {cut}");
    }
}

#[test]
fn payload_may_come_from_elsewhere() {
    let tar = archive();
    let mut machine = Machine::new();
    // Header of dir/ and of dir/file, then its payload out of band, then the rest.
    let mut input = Bytes::copy_from_slice(&tar[..1024]);
    while machine.next(&mut input).unwrap().is_some() {}
    assert!(matches!(machine.take_payload(12), Err(TarError::Payload { expected: 11, offered: 12, .. })));
    machine.take_payload(11).unwrap();
    let mut input = Bytes::copy_from_slice(&tar[1024 + 11..]);
    let mut entries = 0;
    while let Some(event) = machine.next(&mut input).unwrap() {
        entries += usize::from(matches!(event, Event::Entry(_)));
    }
    assert_eq!(entries, 4);
    machine.finish().unwrap();
}

#[test]
fn truncation_is_an_error() {
    let tar = archive();
    for len in [100, 700, 1024 + 5] {
        assert!(run(&tar[..len], 4096).is_err(), "{len} bytes");
    }
}

#[test]
fn endless_headers_end() {
    // A GNU sparse header whose extension blocks never stop must not grow the buffer for ever.
    let mut header = Header::new_gnu();
    header.set_path("f").unwrap();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(0);
    header.as_gnu_mut().unwrap().isextended = [1];
    header.as_gnu_mut().unwrap().realsize = *b"00000000000\0";
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    let mut block = [0u8; 512];
    block[504] = 1;
    for _ in 0..20_000 {
        tar.extend_from_slice(&block);
    }
    let too_long = run(&tar, 1 << 20);
    assert!(matches!(too_long, Err(TarError::Header { source: Refusal::SparseTooLong, .. })), "{too_long:?}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096), cut in 1usize..2000) {
        let _ = run(&bytes, cut);
    }

    #[test]
    fn a_damaged_archive_never_panics(at in 0usize..6000, value: u8, cut in 1usize..2000) {
        let mut tar = archive();
        let at = at % tar.len();
        tar[at] = value;
        let _ = run(&tar, cut);
    }
}

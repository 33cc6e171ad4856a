//! The tar reader, fed in pieces of many sizes.

use bytes::Bytes;
use chunked_core::Entry;
use chunked_tar::{Event, Machine, TarError};

use super::checksums::right_checksums;

/// A tar after a byte of options: it is read in one piece, and in pieces of many sizes.
pub fn tar(data: &[u8]) {
    let Some((options, tar)) = data.split_first() else { return };
    let mut tar = tar.to_vec();
    if options & 1 != 0 {
        right_checksums(&mut tar);
    }
    let whole = entries(&tar, tar.len());
    for piece in [usize::from(*options) + 1, 511, 512, 4096] {
        assert_eq!(entries(&tar, piece), whole, "pieces of {piece} bytes");
    }
}

/// Entries with their payload, and how the reading ended.
type Reading = (Vec<(Entry, Vec<u8>)>, Result<(), String>);

/// What the reader makes of `tar` in pieces of so many bytes.
fn entries(tar: &[u8], piece: usize) -> Reading {
    let mut machine = Machine::new();
    let mut found: Vec<(Entry, Vec<u8>)> = Vec::new();
    let mut read = || -> Result<(), TarError> {
        for piece in tar.chunks(piece.max(1)) {
            let mut input = Bytes::copy_from_slice(piece);
            while let Some(event) = machine.next(&mut input)? {
                match event {
                    Event::Entry(entry) => found.push((entry, Vec::new())),
                    Event::Data(data) => found.last_mut().expect("an entry").1.extend_from_slice(&data),
                }
            }
            assert!(input.is_empty(), "no input may be left when more is wanted");
        }
        machine.finish()
    };
    let ended = read().map_err(|error| error.to_string());
    for (entry, data) in found.iter().rev().skip(1) {
        assert_eq!(data.len() as u64, entry.payload_len());
    }
    (found, ended)
}

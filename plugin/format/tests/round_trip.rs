//! Every kind of tar comes out of its blob again, byte for byte; and what can be chunked is.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::io::{self, Read};

use chunked_format::{Cuts, Outcome, WriteError, WriteOptions, write};
use common::oddities::{Tar, expressible, inexpressible};
use common::{annotations, check, options, reason, written};

#[test]
fn what_can_be_expressed_is_chunked() {
    for (what, tar, _) in expressible() {
        for cuts in [Cuts::Compatible, Cuts::AtLeast(8192)] {
            let (blob, written) = written(&tar, &WriteOptions { cuts, ..options(3, 2) });
            assert!(matches!(written.toc, Outcome::Chunked { .. }), "{what}: {}", reason(&written));
            let found = check(&tar, &blob, annotations(&written));
            let stats = written.stats;
            let chunks = found.chunks.unwrap();
            assert_eq!((chunks.entries, chunks.files), (stats.entries, stats.files), "{what}");
            assert_eq!(
                (chunks.data_chunks + chunks.holes, chunks.holes),
                (stats.chunks, stats.holes),
                "{what}"
            );
            assert_eq!(found.frames.data, stats.frames, "{what}");
            assert_eq!(found.verified.unwrap().headers, stats.entries, "{what}");
        }
    }
}

#[test]
fn what_cannot_be_expressed_is_a_plain_layer_with_its_reason() {
    for (what, tar, expected) in inexpressible() {
        let (blob, written) = written(&tar, &options(3, 2));
        let reason = reason(&written);
        assert!(reason.contains(expected.unwrap()), "{what}: {reason}");
        let found = common::verified(&blob, None);
        assert!(found.toc.is_none() && found.problems.is_empty(), "{what}: {:?}", found.problems);
        assert_eq!(found.verified.unwrap().diff_id, written.diff_id, "{what}");
    }
}

#[test]
fn every_cut_of_a_tar_comes_out_again() {
    let tar =
        Tar::default().file(b"a", &common::noise(1, 700)).entry(b"l", b'2', b"a").file(b"b", b"x").end();
    for len in 0..tar.len() {
        written(&tar[..len], &options(1, 1));
    }
}

#[test]
fn a_wrong_level_or_minimum_is_refused() {
    for level in [0, 20, -1] {
        let outcome = write([].as_slice(), Vec::new(), &options(level, 1));
        assert!(matches!(outcome, Err(WriteError::Level(refused)) if refused == level), "{outcome:?}");
    }
    let cuts = Cuts::AtLeast(Cuts::MOST + 1);
    let outcome = write([].as_slice(), Vec::new(), &WriteOptions { cuts, ..WriteOptions::default() });
    assert!(matches!(outcome, Err(WriteError::Cuts(_))), "{outcome:?}");
}

/// Gives an error after some bytes.
struct Failing(u64);

impl Read for Failing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("pulled out"));
        }
        let len = buffer.len().min(usize::try_from(self.0).unwrap());
        buffer[..len].fill(b'x');
        self.0 -= len as u64;
        Ok(len)
    }
}

impl io::Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("pulled out"));
        }
        let len = bytes.len().min(usize::try_from(self.0).unwrap());
        self.0 -= len as u64;
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The threads end too: the call would not return otherwise.
#[test]
fn errors_of_input_and_output_are_told_with_their_place() {
    let outcome = write(Failing(3 << 20), Vec::new(), &options(3, 2));
    assert!(matches!(outcome, Err(WriteError::Read { offset: 3_145_728, .. })), "{outcome:?}");
    let tar = Tar::default().file(b"a", &common::noise(1, 20 << 20)).end();
    let outcome = write(tar.as_slice(), Failing(5 << 20), &options(3, 2));
    assert!(matches!(outcome, Err(WriteError::Write { offset: 1.., .. })), "{outcome:?}");
}

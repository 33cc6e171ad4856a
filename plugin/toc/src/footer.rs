//! The last bytes of a blob, for tools that look at a local one (zstd-chunked.md §4).

use crate::position::FrameRef;

/// Which footer a blob ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FooterKind {
    /// 64 bytes, `GNUlInUx`: generations D to F.
    Current,
    /// 40 bytes, `GnUlInUx`: generations A and B, and stargz-snapshotter's.
    Old,
}

/// Positions found in a footer. Nothing authenticates them: never pull by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Its layout.
    pub kind: FooterKind,
    /// The TOC.
    pub toc: FrameRef,
    /// The tar-split, in the current layout.
    pub tar_split: Option<FrameRef>,
}

/// Bytes at a blob's end that [`footer`] needs to see.
const FOOTER_BYTES: usize = 72;

/// Reads the footer at the end of `tail`, the last bytes of a blob (72 or more to recognise the current one).
///
/// `None` for anything else, the broken 56-byte footer of 2023 among it.
pub fn footer(tail: &[u8]) -> Option<Footer> {
    current(tail).or_else(|| old(tail))
}

fn current(tail: &[u8]) -> Option<Footer> {
    let frame = tail.last_chunk::<FOOTER_BYTES>()?;
    let payload = frame.strip_prefix(b"\x50\x2a\x4d\x18\x40\0\0\0")?.strip_suffix(b"GNUlInUx")?;
    let [offset, compressed, uncompressed, kind, split @ ..] = numbers::<7>(payload)?;
    let [split_offset, split_compressed, split_uncompressed] = split;
    (kind == 1).then_some(Footer {
        kind: FooterKind::Current,
        toc: FrameRef { offset, compressed, uncompressed },
        tar_split: Some(FrameRef {
            offset: split_offset,
            compressed: split_compressed,
            uncompressed: split_uncompressed,
        }),
    })
}

fn old(tail: &[u8]) -> Option<Footer> {
    let frame = tail.last_chunk::<48>()?;
    let payload = frame.strip_prefix(b"\x50\x2a\x4d\x18\x28\0\0\0")?.strip_suffix(b"GnUlInUx")?;
    let [offset, compressed, uncompressed, kind] = numbers::<4>(payload)?;
    (kind == 1).then_some(Footer {
        kind: FooterKind::Old,
        toc: FrameRef { offset, compressed, uncompressed },
        tar_split: None,
    })
}

fn numbers<const N: usize>(payload: &[u8]) -> Option<[u64; N]> {
    let (words, []) = payload.as_chunks::<8>() else { return None };
    let words: &[[u8; 8]; N] = words.try_into().ok()?;
    Some(words.map(u64::from_le_bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The footer of specimen `tiny` (zstd-chunked.md §13), frame header included.
    fn tiny() -> Vec<u8> {
        let mut frame = b"\x50\x2a\x4d\x18\x40\0\0\0".to_vec();
        for number in [252u64, 288, 567, 1, 548, 423, 14116] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        frame.extend_from_slice(b"GNUlInUx");
        frame
    }

    /// The footer of specimen `old-2022` (generation A).
    fn old_2022() -> Vec<u8> {
        let mut frame = b"\x50\x2a\x4d\x18\x28\0\0\0".to_vec();
        for number in [0x0030_1f70_u64, 0x117a, 0x400a, 1] {
            frame.extend_from_slice(&number.to_le_bytes());
        }
        frame.extend_from_slice(b"GnUlInUx");
        frame
    }

    #[test]
    fn both_layouts_are_read() {
        let toc = FrameRef { offset: 252, compressed: 288, uncompressed: 567 };
        let tar_split = Some(FrameRef { offset: 548, compressed: 423, uncompressed: 14116 });
        let expected = Some(Footer { kind: FooterKind::Current, toc, tar_split });
        assert_eq!(footer(&tiny()), expected);
        assert_eq!(footer(&[b"payload".as_slice(), &tiny()].concat()), expected);
        let toc = FrameRef { offset: 3_153_776, compressed: 4_474, uncompressed: 16_394 };
        assert_eq!(footer(&old_2022()), Some(Footer { kind: FooterKind::Old, toc, tar_split: None }));
    }

    #[test]
    fn anything_else_is_no_footer() {
        assert_eq!(footer(&[]), None);
        assert_eq!(footer(&tiny()[1..]), None);
        assert_eq!(footer(&[tiny(), vec![0]].concat()), None);
        // The case of one letter is all that tells the generations' magics apart.
        let mut wrong_case = tiny();
        wrong_case[65] = b'n';
        assert_eq!(footer(&wrong_case), None);
        let mut wrong_type = tiny();
        wrong_type[32] = 2;
        assert_eq!(footer(&wrong_type), None);
        // Generation C: 56 bytes, the old magic in the middle, zeros behind.
        let mut broken = b"\x50\x2a\x4d\x18\x38\0\0\0".to_vec();
        broken.extend_from_slice(&old_2022()[8..]);
        broken.extend_from_slice(&[0; 16]);
        assert_eq!(footer(&broken), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = footer(&bytes);
        }

        #[test]
        fn mutated_footers_never_panic(at in 0usize..72, byte: u8, cut in 0usize..72) {
            let mut bytes = tiny();
            bytes[at] = byte;
            if let Some(found) = footer(&bytes) {
                let _ = found.toc.range();
            }
            let _ = footer(&bytes[cut..]);
        }
    }
}

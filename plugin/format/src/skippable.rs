//! The three skippable frames at a blob's end, and the annotations that point at them (zstd-chunked.md §3 to §5).

use std::collections::BTreeMap;

use chunked_core::{Digest, labels};
use chunked_toc::FrameRef;

/// RFC 8878 §3.1.2: the first of the sixteen magics, the only one writers use.
const MAGIC: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];

/// Bytes of a skippable frame's header: magic and length.
pub(crate) const HEADER: u64 = 8;

/// Type of the TOC; no other was ever defined.
const TOC_TYPE: u64 = 1;

/// The footer's last bytes in the current generation.
const FOOTER_MAGIC: &[u8; 8] = b"GNUlInUx";

/// The header of a skippable frame; `None` if the payload is too long for one.
pub(crate) fn header(payload: &[u8]) -> Option<[u8; 8]> {
    let [a, b, c, d] = MAGIC;
    let [e, f, g, h] = u32::try_from(payload.len()).ok()?.to_le_bytes();
    Some([a, b, c, d, e, f, g, h])
}

/// The 64 bytes of the footer's payload.
pub(crate) fn footer(toc: FrameRef, tar_split: FrameRef) -> Vec<u8> {
    let numbers = [
        toc.offset,
        toc.compressed,
        toc.uncompressed,
        TOC_TYPE,
        tar_split.offset,
        tar_split.compressed,
        tar_split.uncompressed,
    ];
    let mut payload: Vec<u8> = numbers.into_iter().flat_map(u64::to_le_bytes).collect();
    payload.extend_from_slice(FOOTER_MAGIC);
    payload
}

/// The annotations that make a layer descriptor zstd:chunked; `toc_digest` is over the compressed TOC.
pub(crate) fn annotations(
    toc_digest: Digest,
    toc: FrameRef,
    tar_split: FrameRef,
) -> BTreeMap<String, String> {
    let FrameRef { offset, compressed, uncompressed } = toc;
    let toc = format!("{offset}:{compressed}:{uncompressed}:{TOC_TYPE}");
    let FrameRef { offset, compressed, uncompressed } = tar_split;
    let tar_split = format!("{offset}:{compressed}:{uncompressed}");
    BTreeMap::from([
        (labels::ZSTD_CHUNKED_CHECKSUM.to_owned(), toc_digest.to_string()),
        (labels::ZSTD_CHUNKED_POSITION.to_owned(), toc),
        (labels::ZSTD_CHUNKED_TARSPLIT.to_owned(), tar_split),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_in_the_worked_example() {
        let toc = FrameRef { offset: 252, compressed: 288, uncompressed: 567 };
        let tar_split = FrameRef { offset: 548, compressed: 423, uncompressed: 14_116 };
        let payload = footer(toc, tar_split);
        assert_eq!(header(&payload), Some(*b"\x50\x2a\x4d\x18\x40\0\0\0"));
        let frame = [b"\x50\x2a\x4d\x18\x40\0\0\0".as_slice(), &payload].concat();
        let found = chunked_toc::footer(&frame).unwrap();
        assert_eq!((found.toc, found.tar_split), (toc, Some(tar_split)));
        let annotations = annotations(Digest::of(b""), toc, tar_split);
        assert_eq!(annotations[labels::ZSTD_CHUNKED_POSITION], "252:288:567:1");
        assert_eq!(annotations[labels::ZSTD_CHUNKED_TARSPLIT], "548:423:14116");
    }
}

//! Where a skippable frame's payload lies: the `offset:compressed:uncompressed` fields.

use chunked_core::ByteRange;

/// Position and lengths of a compressed document inside a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRef {
    /// Offset in the blob of the skippable frame's payload, in bytes.
    pub offset: u64,
    /// Compressed length, in bytes.
    pub compressed: u64,
    /// Length after decompression, in bytes, as declared by the writer.
    pub uncompressed: u64,
}

impl FrameRef {
    /// The compressed bytes' range in the blob. Saturates at `u64::MAX`, which only an unchecked footer can
    /// reach: what [`classify`](crate::classify) gives lies inside the blob.
    pub fn range(&self) -> ByteRange {
        ByteRange { start: self.offset, end: self.offset.saturating_add(self.compressed) }
    }
}

/// Reads exactly `N` decimal fields separated by colons: no signs, spaces, empty fields or trailing text.
pub(crate) fn fields<const N: usize>(text: &str) -> Option<[u64; N]> {
    let mut values = [0; N];
    let mut parts = text.split(':');
    for value in &mut values {
        let part = parts.next()?;
        if !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *value = part.parse().ok()?;
    }
    parts.next().is_none().then_some(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_strict() {
        assert_eq!(fields("252:288:567:1"), Some([252, 288, 567, 1]));
        assert_eq!(fields("18446744073709551615"), Some([u64::MAX]));
        for bad in [
            "",
            "1",
            "1:2:",
            ":1:2",
            "1:2:3:4",
            "1:2:3 ",
            "+1:2:3",
            "1:-2:3",
            "1::3",
            "1:2:18446744073709551616",
        ] {
            assert_eq!(fields::<3>(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn fields_read_back_what_was_printed(values: [u64; 3]) {
            let [a, b, c] = values;
            prop_assert_eq!(fields(&format!("{a}:{b}:{c}")), Some(values));
        }

        #[test]
        fn fields_never_panic(text in "\\PC*") {
            let _ = fields::<4>(&text);
        }
    }
}

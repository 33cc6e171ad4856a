//! `Content-Range` of a single-part answer (RFC 9110, section 14.4).

use chunked_core::ByteRange;

use crate::error::Failure;

/// What a server says it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRange {
    /// Bytes of the blob in the body.
    pub range: ByteRange,
    /// Length of the whole blob, when the server tells it.
    pub total: Option<u64>,
}

impl ContentRange {
    /// The range that a 206 for one of `asked` has by its own word `text`: at least the first byte of the one it is for,
    /// and of a blob of `size` bytes. It may be longer, or shorter; the announced length of its body does not matter.
    pub(crate) fn of(text: &str, asked: &[ByteRange], size: u64) -> Result<ByteRange, Failure> {
        let served = Self::parse(text)
            .filter(|answer| answer.range.end <= size && answer.total.is_none_or(|total| total == size))
            .map(|answer| answer.range)
            .filter(|served| {
                asked.iter().any(|asked| served.start <= asked.start && asked.start < served.end)
            });
        served.ok_or_else(|| {
            let asked = asked.first().copied().unwrap_or(ByteRange { start: 0, end: 0 });
            Failure::ContentRange { asked, size, answer: text.chars().take(100).collect() }
        })
    }

    /// Parses `bytes FIRST-LAST/TOTAL` or `bytes FIRST-LAST/*`; `None` for everything else, also for the
    /// unsatisfied form `bytes */TOTAL`, which no 206 may carry.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (unit, rest) = text.trim().split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = rest.trim_start().split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let range = ByteRange::new(number(first)?, number(last)?.checked_add(1)?)?;
        let total = match total {
            "*" => None,
            total => Some(number(total)?),
        };
        if range.is_empty() || total.is_some_and(|total| range.end > total) {
            return None;
        }
        Some(Self { range, total })
    }
}

/// Digits only: `str::parse` would take a plus sign.
fn number(text: &str) -> Option<u64> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        for (text, expected) in [
            ("bytes 0-9/100", Some((0, 10, Some(100)))),
            ("BYTES 5-5/6", Some((5, 6, Some(6)))),
            ("bytes 0-9/*", Some((0, 10, None))),
            ("bytes */100", None),
            ("bytes 9-0/100", None),
            ("bytes 0-100/100", None),
            ("bytes 0-18446744073709551615/*", None),
            ("bytes +0-9/100", None),
            ("bytes 0-9", None),
            ("bytes=0-9/100", None),
            ("items 0-9/100", None),
            ("", None),
        ] {
            let parsed = ContentRange::parse(text).map(|c| (c.range.start, c.range.end, c.total));
            assert_eq!(parsed, expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = ContentRange::parse(&text);
        }

        #[test]
        fn reads_what_servers_write(start in any::<u64>(), len in 1..u64::MAX, total in any::<u64>()) {
            let text = format!("bytes {start}-{}/{total}", start.wrapping_add(len).wrapping_sub(1));
            if let Some(parsed) = ContentRange::parse(&text) {
                prop_assert_eq!(parsed.range, ByteRange::at(start, len).unwrap());
                prop_assert!(parsed.range.end <= total);
            }
        }
    }
}

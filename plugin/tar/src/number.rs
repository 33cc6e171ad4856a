//! Numbers and times in headers and PAX records (Go's archive/tar/strconv.go).

use chunked_core::Timestamp;

/// A header's number: octal, or in base 256 where the first bit is set (two's complement, that bit aside).
pub(crate) fn numeric(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first()?;
    if first & 0x80 == 0 {
        return octal(bytes);
    }
    let inverted = if first & 0x40 == 0 { 0 } else { 0xff };
    let mut value = 0u64;
    for (index, byte) in bytes.iter().enumerate() {
        let byte = (byte ^ inverted) & if index == 0 { 0x7f } else { 0xff };
        if value >> 56 > 0 {
            return None;
        }
        value = value << 8 | u64::from(byte);
    }
    let value = i64::try_from(value).ok()?;
    Some(if inverted == 0 { value } else { !value })
}

/// Octal digits between spaces and NULs, up to the first NUL among them; nothing at all is 0.
pub(crate) fn octal(bytes: &[u8]) -> Option<i64> {
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let Some(start) = bytes.iter().position(|byte| !blank(byte)) else { return Some(0) };
    let end = bytes.iter().rposition(|byte| !blank(byte))?;
    let mut value = 0u64;
    for digit in text(bytes.get(start..=end)?) {
        if !matches!(digit, b'0'..=b'7') {
            return None;
        }
        value = value.checked_mul(8)?.checked_add(u64::from(digit - b'0'))?;
    }
    Some(value.cast_signed())
}

/// Bytes up to the first NUL.
pub(crate) fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A decimal number with an optional sign, as Go's `strconv.ParseInt` reads it.
pub(crate) fn decimal(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The value of a PAX time record: decimal seconds, digits beyond nanoseconds dropped, the fraction of a negative time
/// counted downwards.
pub(crate) fn time(bytes: &[u8]) -> Option<Timestamp> {
    let dot = bytes.iter().position(|byte| *byte == b'.');
    let (whole, fraction) =
        dot.and_then(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?))).unwrap_or((bytes, &[]));
    let seconds = decimal(whole)?;
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
    let nanos = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    if whole.starts_with(b"-") && nanos > 0 {
        // "-1.25" is 1.25 seconds before the epoch: -2 s + 0.75 s. Go's time wraps, too.
        return Some(Timestamp { seconds: seconds.wrapping_sub(1), nanos: 1_000_000_000 - nanos });
    }
    Some(Timestamp { seconds, nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_go_reads_them() {
        for (bytes, value) in [
            (b"0000644\0".as_slice(), Some(0o644)),
            (b"  644 \0\0", Some(0o644)),
            (b"\x00000755\0", Some(0o755)),
            (b"\0 755 \0\0", Some(0o755)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"00\x0012\0\0\0", Some(0)),
            (b"0000648\0", None),
            (b"6 4\0\0\0\0\0", None),
            (b"-000001\0", None),
            (b"+000001\0", None),
            (b"\x80\0\0\0\0\0\x01\0", Some(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xc0\0\0\0\0\0\0\0", Some(-(1 << 62))),
            (b"\x80\0\0\x7f\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"777777777777", Some(0o777_777_777_777)),
        ] {
            assert_eq!(numeric(bytes), value, "{bytes:?}");
        }
    }

    #[test]
    fn decimals_as_go_reads_them() {
        for (bytes, value) in [
            (b"7".as_slice(), Some(7)),
            (b"+7", Some(7)),
            (b"-2", Some(-2)),
            (b"007", Some(7)),
            (b"", None),
            (b"+", None),
            (b" 7", None),
            (b"7 ", None),
            (b"1_000", None),
            (b"1000.5", None),
            (b"0x7", None),
            (b"9223372036854775808", None),
            (b"\xd9\xa7", None),
        ] {
            assert_eq!(decimal(bytes), value, "{bytes:?}");
        }
    }

    #[test]
    fn times_as_go_reads_them() {
        for (text, expected) in [
            ("1700000000", Some((1_700_000_000, 0))),
            ("1700000000.1234567899", Some((1_700_000_000, 123_456_789))),
            ("1.5", Some((1, 500_000_000))),
            ("0.000000001", Some((0, 1))),
            ("+7.", Some((7, 0))),
            ("-1", Some((-1, 0))),
            ("-1.25", Some((-2, 750_000_000))),
            ("-0.5", Some((-1, 500_000_000))),
            ("-0.0000000001", Some((0, 0))),
            ("-9223372036854775808.5", Some((i64::MAX, 500_000_000))),
            ("", None),
            (".5", None),
            ("x", None),
            ("1.x", None),
            ("1.-5", None),
            ("1.5.5", None),
            ("1e5", None),
            (" 1", None),
            ("9223372036854775808", None),
        ] {
            let expected = expected.map(|(seconds, nanos)| Timestamp { seconds, nanos });
            assert_eq!(time(text.as_bytes()), expected, "{text}");
        }
    }
}

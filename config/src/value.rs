//! Times and sizes as people write them, with bounds.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Reads a time: whole numbers with units from `d`, `h`, `m`, `s`, `ms`, largest first: `1h30m`, `500ms`.
/// `None` for anything else.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0u64;
    let mut smallest = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, millis) = TIMES.iter().find(|(name, _)| *name == unit)?;
        if *millis >= smallest {
            return None;
        }
        smallest = *millis;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_millis(total))
}

/// Reads a number of bytes: a whole number with a unit from `B`, `KiB`, `MiB`, `GiB`, `TiB`. `None` for
/// anything else.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, bytes) = SIZES.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*bytes)
}

/// Writes a time so that [`parse_duration`] gives it back (whole milliseconds).
pub fn format_duration(time: Duration) -> String {
    let mut left = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, millis) in TIMES {
        if left >= millis {
            text.push_str(&format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// Writes a number of bytes in the largest unit that keeps it whole.
pub fn format_size(bytes: u64) -> String {
    let whole = |(_, size): &&(&str, u64)| bytes >= *size && bytes.is_multiple_of(*size);
    let (unit, size) = SIZES.iter().find(whole).unwrap_or(&("B", 1));
    format!("{}{unit}", bytes / size)
}

/// A time between `MIN` and `MAX` milliseconds.
pub(crate) fn duration<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    from: D,
) -> Result<Duration, D::Error> {
    let text = quoted(from, "a time with its unit, like \"10s\" or \"1h30m\"")?;
    let time = parse_duration(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is not a time: write whole numbers with units d, h, m, s, ms, like \"10s\""
        ))
    })?;
    let (min, max) = (Duration::from_millis(MIN), Duration::from_millis(MAX));
    if time < min || time > max {
        return Err(out_of_bounds(&text, &format_duration(min), &format_duration(max)));
    }
    Ok(time)
}

/// A number of bytes between `MIN` and `MAX`.
pub(crate) fn size<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    from: D,
) -> Result<u64, D::Error> {
    let text = quoted(from, "a size with its unit, like \"2MiB\"")?;
    let bytes = parse_size(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "{text:?} is not a size: write a whole number with unit B, KiB, MiB, GiB or TiB, like \"2MiB\""
        ))
    })?;
    if bytes < MIN || bytes > MAX {
        return Err(out_of_bounds(&text, &format_size(MIN), &format_size(MAX)));
    }
    Ok(bytes)
}

/// A count between `MIN` and `MAX`.
pub(crate) fn count<'de, const MIN: usize, const MAX: usize, D: Deserializer<'de>>(
    from: D,
) -> Result<usize, D::Error> {
    let number = i64::deserialize(from)?;
    let fits = usize::try_from(number).ok().filter(|n| (MIN..=MAX).contains(n));
    fits.ok_or_else(|| out_of_bounds(&number.to_string(), &MIN.to_string(), &MAX.to_string()))
}

fn out_of_bounds<E: serde::de::Error>(value: &str, min: &str, max: &str) -> E {
    E::custom(format!("{value} is out of bounds: the least is {min}, the most {max}"))
}

/// A string; the text of the error says what else to write when it is something else.
fn quoted<'de, D: Deserializer<'de>>(from: D, expected: &'static str) -> Result<String, D::Error> {
    struct Text(&'static str);
    impl serde::de::Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    from.deserialize_str(Text(expected))
}

pub(crate) fn show_duration<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_duration(*time))
}

pub(crate) fn show_size<S: Serializer>(bytes: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_size(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, millis) in
            [("10s", 10_000), ("1h30m", 5_400_000), ("500ms", 500), ("0s", 0), ("7d", 604_800_000)]
        {
            let time = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Some(time), "{text}");
            assert_eq!(format_duration(time), text);
        }
        for bad in [
            "",
            "10",
            "s",
            "10 s",
            "-1s",
            "1.5s",
            "1s1m",
            "1m1m",
            "10S",
            "1y",
            "99999999999999999999s",
            "1éh",
        ] {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
        assert!(!format_duration(Duration::MAX).is_empty());
    }

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("2MiB", 2 << 20), ("0B", 0), ("1500KiB", 1_536_000), ("3TiB", 3 << 40), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
            assert_eq!(format_size(bytes), text);
        }
        assert_eq!(parse_size("2 MiB"), Some(2 << 20));
        for bad in ["", "2", "MiB", "2MB", "2mib", "1.5GiB", "-1B", "99999999TiB", "2MiBx"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }
}

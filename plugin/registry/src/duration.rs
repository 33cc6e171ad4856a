//! Durations as Go writes them: containerd's and the kubelet's files have them.

use std::time::Duration;

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Reads `1h2m`, `1.5s`, `300ms`, `0` (Go, package time, `ParseDuration`). `None` for anything else, for what is
/// negative, and for more than a century.
pub(crate) fn parse_go_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(end)?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(end)?;
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        let number: f64 = number.parse().ok()?;
        seconds += number * scale;
        rest = after;
    }
    (seconds < 3.2e9).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (text, millis) in [
            ("0", Some(0)),
            ("10s", Some(10_000)),
            ("1h2m", Some(3_720_000)),
            ("1.5s", Some(1_500)),
            ("300ms", Some(300)),
            ("+1m", Some(60_000)),
            ("1µs", Some(0)),
            ("12h0m0s", Some(43_200_000)),
            ("", None),
            ("10", None),
            ("s", None),
            (".s", None),
            ("-1s", None),
            ("1x", None),
            ("1 s", None),
            ("1..5s", None),
            ("99999999999999999999h", None),
        ] {
            assert_eq!(parse_go_duration(text).map(|time| time.as_millis()), millis, "{text:?}");
        }
    }
}

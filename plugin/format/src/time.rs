//! Times of tar entries, as RFC 3339 in UTC: the same text whatever the zone of the machine.

use chunked_core::Timestamp;

/// Go's zero time, 0001-01-01T00:00:00Z, in Unix seconds. It means "none" and is never written.
const GO_ZERO: i64 = -62_135_596_800;

/// A point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds after that, below 10⁹.
    pub nanos: u32,
}

impl Time {
    pub(crate) fn seconds(seconds: i64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// Go's `time.IsZero`.
    pub(crate) fn is_go_zero(self) -> bool {
        self == Self::seconds(GO_ZERO)
    }

    /// RFC 3339 in UTC with as many decimals as needed; `None` outside the years 0 to 9999.
    pub(crate) fn to_rfc3339(self) -> Option<String> {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days)?;
        let mut text = format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
        if self.nanos > 0 {
            let digits = format!("{:09}", self.nanos);
            text.push('.');
            text.push_str(digits.trim_end_matches('0'));
        }
        text.push('Z');
        Some(text)
    }

    /// Reads RFC 3339 with any zone offset, as other writers give it.
    pub(crate) fn from_rfc3339(text: &str) -> Option<Self> {
        let (date, rest) = text.split_once('T')?;
        let mut date = date.splitn(3, '-').map(digits);
        let days = days(date.next()??, date.next()??, date.next()??)?;
        let zone = rest.find(['Z', '+', '-'])?;
        let (clock, zone) = rest.split_at(zone);
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
        let mut clock = clock.splitn(3, ':').map(digits);
        let (hours, minutes, seconds) = (clock.next()??, clock.next()??, clock.next()??);
        let second = days * 86_400 + hours * 3600 + minutes * 60 + seconds - offset(zone)?;
        Some(Self { seconds: second, nanos: nanos(fraction)? })
    }
}

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self { seconds: time.seconds, nanos: time.nanos }
    }
}

/// Nanoseconds of a decimal fraction; digits beyond them are dropped.
fn nanos(fraction: &str) -> Option<u32> {
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(9);
    Some(digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// A number of at most four digits.
fn digits(text: &str) -> Option<i64> {
    let sound = (1..=4).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if sound { text.parse().ok() } else { None }
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    let seconds = |text: &str| {
        let (hours, minutes) = text.split_once(':')?;
        Some(digits(hours)? * 3600 + digits(minutes)? * 60)
    };
    match (zone, zone.strip_prefix('+'), zone.strip_prefix('-')) {
        ("Z", ..) => Some(0),
        (_, Some(east), _) => seconds(east),
        (_, _, Some(west)) => seconds(west).map(|seconds| -seconds),
        _ => None,
    }
}

/// Days in 400 years of the Gregorian calendar.
const ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01. Counting years from March puts the leap day last.
const MARCH_ZERO: i64 = 719_468;

/// Year, month and day of a day counted from 1970-01-01; `None` outside the years 0 to 9999.
fn civil(days: i64) -> Option<(i64, i64, i64)> {
    let shifted = days.checked_add(MARCH_ZERO)?;
    let (era, day) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let in_year = day - (365 * year + year / 4 - year / 100);
    let march = (5 * in_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    (0..=9999).contains(&year).then_some((year, month, in_year - (153 * march + 2) / 5 + 1))
}

/// The inverse of [`civil`] for any month and day in range.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let (era, in_era) = (year.div_euclid(400), year.rem_euclid(400));
    let in_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    Some(era * ERA + in_era * 365 + in_era / 4 - in_era / 100 + in_year - MARCH_ZERO)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_700_000_000, 0, "2023-11-14T22:13:20Z"),
            (1_700_000_000, 123_456_789, "2023-11-14T22:13:20.123456789Z"),
            (-1, 500_000_000, "1969-12-31T23:59:59.5Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (GO_ZERO, 0, "0001-01-01T00:00:00Z"),
            (-62_167_219_200, 0, "0000-01-01T00:00:00Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
        ] {
            let time = Time { seconds, nanos };
            assert_eq!(time.to_rfc3339().as_deref(), Some(text));
            assert_eq!(Time::from_rfc3339(text), Some(time));
        }
        for seconds in [-62_167_219_201, 253_402_300_800, i64::MIN, i64::MAX] {
            assert_eq!(Time::seconds(seconds).to_rfc3339(), None);
        }
        let tokyo = Time::from_rfc3339("2023-11-15T07:13:20+09:00");
        assert_eq!(tokyo, Some(Time::seconds(1_700_000_000)));
        for bad in
            ["", "2023", "2023-11-15", "2023-11-15T07:13:20", "2023-13-15T07:13:20Z", "x-11-15T07:13:20Z"]
        {
            assert_eq!(Time::from_rfc3339(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn text_reads_back(seconds in -62_167_219_200i64..253_402_300_800, nanos in 0u32..1_000_000_000) {
            let time = Time { seconds, nanos };
            prop_assert_eq!(Time::from_rfc3339(&time.to_rfc3339().unwrap()), Some(time));
        }

        #[test]
        fn nothing_panics(text in "\\PC*", seconds: i64) {
            let _ = (Time::from_rfc3339(&text), Time::seconds(seconds).to_rfc3339());
        }
    }
}

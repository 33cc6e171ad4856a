//! What a request costs against what a byte costs.

use std::time::Duration;

use serde::Serialize;

/// What a plan saves first, of a layer of which the node has something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// Bytes: only what is missing is asked for, and as much of the gaps as [`Costs::EXTRA_PERCENT_CROWDED`] allows.
    #[default]
    Bytes,
    /// Time: also one stream of everything from the first to the last missing byte, where that is expected to be
    /// faster.
    Time,
}

/// The network between the node and a registry, and what is to be saved on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Costs {
    /// Bytes per second, all connections together.
    pub bandwidth: u64,
    /// From sending a request to the first byte of its answer.
    pub round_trip: Duration,
    /// Requests that run at the same time.
    pub connections: u32,
    /// The same for requests of at most [`Costs::SMALL_REQUEST`] bytes for one range; fewer than `connections` count as
    /// that many.
    pub small_requests: u32,
    /// Ranges that one request may ask for: 1, unless a probe showed that the registry takes several.
    pub ranges_per_request: u32,
    /// Largest gap to fill, in bytes, whatever the other numbers say; at most [`Costs::MAX_GAP`] is heeded.
    pub max_gap: u64,
    /// What is saved first.
    pub prefer: Prefer,
}

impl Costs {
    /// Gaps up to this many bytes are filled on any network: the headers of a request and its answer are
    /// hardly smaller.
    pub const MIN_GAP: u64 = 4 << 10;
    /// Gaps of more bytes are never filled for their own sake.
    pub const MAX_GAP: u64 = 1 << 20;
    /// Gap bytes in per cent of the bytes that are needed.
    pub const EXTRA_PERCENT: u64 = 4;
    /// The same while there are more than [`Costs::MAX_RANGES`] ranges.
    pub const EXTRA_PERCENT_CROWDED: u64 = 5;
    /// Gap bytes and headers of parts in per cent of the bytes that are needed, where a request takes several ranges.
    pub const EXTRA_PERCENT_PARTS: u64 = 2;
    /// Bytes before each part of a multipart answer (RFC 9110, section 14.6), as servers send it.
    pub const PART_HEADER: u64 = 160;
    /// Gap bytes that are fine however little is needed, where time is preferred.
    pub const EXTRA_FREE: u64 = 4 << 10;
    /// The same where bytes are preferred: the heads of two or three requests and answers are as long.
    pub const EXTRA_FREE_OF_BYTES: u64 = 1 << 10;
    /// Bytes that the heads of one more request and its answer take at least. While there are more than
    /// [`Costs::MAX_RANGES`] ranges, gaps up to this length are filled where bytes are preferred: asking apart from them
    /// would move more bytes.
    pub const HEADS: u64 = 400;
    /// Gap bytes, in per cent of the bytes needed, that are not worth a second request.
    pub const NEGLIGIBLE_PERCENT: u64 = 1;
    /// Ranges that are fine: this many take 32 round trips if 16 run at the same time, well under a second on most
    /// networks. More of them keep the registry's disk and everybody's processor busy, even in few requests.
    pub const MAX_RANGES: usize = 512;
    /// Bytes up to which a request is small: more of them may run at the same time.
    pub const SMALL_REQUEST: u64 = 256 << 10;

    /// Time, in microseconds, that is worth any number of bytes: one stream that saves so much is taken however
    /// few the ranges are.
    pub const WORTH_MICROS: u64 = 200_000;

    /// Size of a gap, in bytes, whose transfer takes as long as asking once more:
    /// bandwidth × round trip / ranges asked for at once, within [`Costs::MIN_GAP`] and [`Costs::MAX_GAP`].
    pub fn gap(&self) -> u64 {
        let in_flight = u128::from(self.bandwidth).saturating_mul(self.round_trip.as_micros()) / 1_000_000;
        let gap = in_flight / u128::from(self.at_once(0));
        let limit = self.max_gap.clamp(Self::MIN_GAP, Self::MAX_GAP);
        u64::try_from(gap).unwrap_or(u64::MAX).clamp(Self::MIN_GAP, limit)
    }

    /// Gap bytes that are fine however little is needed.
    pub(crate) fn free(&self) -> u64 {
        match self.prefer {
            Prefer::Bytes => Self::EXTRA_FREE_OF_BYTES,
            Prefer::Time => Self::EXTRA_FREE,
        }
    }

    /// Ranges of `bytes` bytes each that are asked for in one round trip.
    fn at_once(&self, bytes: u64) -> u64 {
        let connections = u64::from(self.connections.max(1));
        let several = u64::from(self.ranges_per_request.max(1));
        if several == 1 && bytes <= Self::SMALL_REQUEST {
            return connections.max(self.small_requests.into());
        }
        connections.saturating_mul(several)
    }

    /// Time, in microseconds, that `bytes` in `ranges` ranges take: the bytes at full bandwidth, and a round trip
    /// for each set of requests that run at the same time.
    pub fn micros(&self, bytes: u64, ranges: usize) -> u64 {
        let transfer = u128::from(bytes) * 1_000_000 / u128::from(self.bandwidth.max(1));
        let count = u64::try_from(ranges).unwrap_or(u64::MAX);
        let trips = u128::from(count).div_ceil(u128::from(self.at_once(bytes / count.max(1))));
        let waiting = trips.saturating_mul(self.round_trip.as_micros());
        u64::try_from(transfer.saturating_add(waiting)).unwrap_or(u64::MAX)
    }
}

impl Default for Costs {
    /// A modest link to a registry in the same region: 100 Mbit/s, 20 ms, 16 small requests. Gap: 15 KiB. A
    /// faster link with a shorter way (1 Gbit/s, 2 ms) gives the same.
    fn default() -> Self {
        Self {
            bandwidth: 12_500_000,
            round_trip: Duration::from_millis(20),
            connections: 4,
            small_requests: 16,
            ranges_per_request: 1,
            max_gap: Self::MAX_GAP,
            prefer: Prefer::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_worth_a_round_trip() {
        let costs = |bandwidth, millis, connections| Costs {
            bandwidth,
            round_trip: Duration::from_millis(millis),
            connections,
            small_requests: 0,
            ..Costs::default()
        };
        assert_eq!(Costs::default().gap(), 15_625);
        assert_eq!(costs(125_000_000, 2, 4).gap(), 62_500);
        assert_eq!(costs(12_500_000, 20, 0).gap(), 250_000);
        assert_eq!(costs(1_000, 1, 4).gap(), Costs::MIN_GAP);
        assert_eq!(costs(0, 0, 4).gap(), Costs::MIN_GAP);
        assert_eq!(costs(u64::MAX, u64::MAX, 1).gap(), Costs::MAX_GAP);
        assert_eq!(Costs { max_gap: 10_000, ..Costs::default() }.gap(), 10_000);
        assert_eq!(Costs { max_gap: 0, ..Costs::default() }.gap(), Costs::MIN_GAP);
        assert_eq!(Costs { ranges_per_request: 10, ..Costs::default() }.gap(), 6_250);
    }

    #[test]
    fn time_is_bytes_and_trips() {
        let costs = Costs::default();
        assert_eq!(costs.micros(12_500_000, 1), 1_020_000);
        assert_eq!(costs.micros(12_500_000, 4), 1_020_000);
        assert_eq!(costs.micros(12_500_000, 5), 1_040_000);
        assert_eq!(costs.micros(1_250_000, 16), 120_000);
        assert_eq!(costs.micros(1_250_000, 17), 140_000);
        assert_eq!(Costs { ranges_per_request: 64, ..costs }.micros(0, 257), 40_000);
        assert_eq!(costs.micros(0, 0), 0);
        assert_eq!(Costs { bandwidth: 0, ..costs }.micros(u64::MAX, usize::MAX), u64::MAX);
    }
}

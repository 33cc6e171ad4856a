//! Ranges, or one stream of everything from the first to the last missing byte: which is taken, and why.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::costs::{Costs, Prefer};

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Nothing: everything is here.
    #[default]
    Nothing,
    /// What is missing, and small gaps.
    Ranges,
    /// Everything from the first to the last missing byte: hardly anything else lies between, or it takes no longer.
    Stream,
}

/// How it was decided, with what went into it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Decision {
    /// What was taken.
    pub way: Way,
    /// Expected time of the ranges, in microseconds.
    pub ranges_micros: u64,
    /// Expected time of one stream, in microseconds.
    pub stream_micros: u64,
    /// The network that was reckoned with.
    #[serde(serialize_with = "costs")]
    pub costs: Costs,
}

fn costs<S: Serializer>(costs: &Costs, to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Inputs {
        bytes_per_second: u64,
        round_trip_micros: u64,
        connections: u32,
        small_requests: u32,
        ranges_per_request: u32,
        largest_gap: u64,
        prefer: Prefer,
    }
    let round_trip_micros = u64::try_from(costs.round_trip.as_micros()).unwrap_or(u64::MAX);
    Inputs {
        bytes_per_second: costs.bandwidth,
        round_trip_micros,
        connections: costs.connections,
        small_requests: costs.small_requests,
        ranges_per_request: costs.ranges_per_request,
        largest_gap: costs.gap(),
        prefer: costs.prefer,
    }
    .serialize(to)
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Nothing => return f.write_str("nothing to fetch"),
            Way::Ranges => "ranges",
            Way::Stream => "one stream",
        };
        let first = match self.costs.prefer {
            Prefer::Bytes => "bytes",
            Prefer::Time => "time",
        };
        write!(
            f,
            "{way}, {first} first (ranges {} ms, one stream {} ms, at {} kB/s, {} ms round trip, {} connections, {} for small requests, of {} ranges, gaps up to {} bytes)",
            self.ranges_micros / 1000,
            self.stream_micros / 1000,
            self.costs.bandwidth / 1000,
            self.costs.round_trip.as_millis(),
            self.costs.connections,
            self.costs.small_requests,
            self.costs.ranges_per_request,
            self.costs.gap(),
        )
    }
}

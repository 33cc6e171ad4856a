//! Between the store's types and the wire's.

use std::collections::HashMap;

use chunked_proto::containerd::services::snapshots::v1 as wire;
use chunked_store::{Kind, Labels, Snapshot};
use prost_types::Timestamp;

/// A snapshot as containerd sees it.
pub(crate) fn info(snapshot: Snapshot) -> wire::Info {
    let kind = match snapshot.kind {
        Kind::View => wire::Kind::View,
        Kind::Active => wire::Kind::Active,
        Kind::Committed => wire::Kind::Committed,
    };
    wire::Info {
        name: snapshot.name,
        parent: snapshot.parent.unwrap_or_default(),
        kind: kind.into(),
        created_at: Some(timestamp(snapshot.created)),
        updated_at: Some(timestamp(snapshot.updated)),
        labels: snapshot.labels.into_iter().collect(),
    }
}

/// Nanoseconds since the epoch, as a protobuf time.
fn timestamp(nanos: i64) -> Timestamp {
    const SECOND: i64 = 1_000_000_000;
    Timestamp {
        seconds: nanos.div_euclid(SECOND),
        nanos: i32::try_from(nanos.rem_euclid(SECOND)).unwrap_or(0),
    }
}

/// Labels of a request.
pub(crate) fn labels(labels: &HashMap<String, String>) -> Labels {
    labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// An optional name: protobuf has no absent strings.
pub(crate) fn optional(name: &str) -> Option<&str> {
    Some(name).filter(|name| !name.is_empty())
}

/// A number for a protobuf that has no unsigned ones here.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_nanoseconds() {
        assert_eq!(
            timestamp(1_700_000_000_123_456_789),
            Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 }
        );
        assert_eq!(timestamp(-1), Timestamp { seconds: -1, nanos: 999_999_999 });
    }
}

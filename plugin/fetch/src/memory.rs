//! What a transfer holds in memory, charged to the layer's share of the node's budget.

use std::sync::Arc;

use bytes::Bytes;
use chunked_fair::{Denied, Permit, Share};

use crate::segments::Output;

/// Bytes that may be asked for now.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) bytes: u64,
    /// `None` where nobody counts.
    pub(crate) permit: Option<Permit>,
}

/// Room for a request of at most `wanted` bytes. Without it (`needed`), nothing would go on: then it is waited for,
/// and may be less. `None`: nobody wants the bytes any more.
pub(crate) async fn room(
    memory: Option<&Arc<Share>>,
    wanted: u64,
    needed: bool,
    output: &Output,
) -> Option<Room> {
    let Some(memory) = memory else { return Some(Room { bytes: wanted, permit: None }) };
    if let Some(permit) = memory.try_take(wanted) {
        return Some(Room { bytes: wanted, permit: Some(permit) });
    }
    if !needed {
        return Some(Room { bytes: 0, permit: None });
    }
    let least = wanted.min(memory.guaranteed()).max(1);
    tokio::select! {
        permit = memory.take(least) => permit.ok().map(|permit| Room { bytes: least, permit: Some(permit) }),
        () = output.closed() => None,
    }
}

/// `data`, charged to `memory`. `None`: nobody wants it any more.
pub(crate) async fn charge(memory: Option<&Arc<Share>>, data: Bytes, output: &Output) -> Option<Bytes> {
    let Some(memory) = memory else { return Some(data) };
    let permit = tokio::select! {
        permit = memory.take(data.len() as u64) => permit,
        () = output.closed() => return None,
    };
    match permit {
        Ok(permit) => Some(charged(data, Some(permit))),
        // A budget smaller than what one read from a connection brings.
        Err(Denied::TooMuch { .. }) => Some(data),
        Err(Denied::Closed) => None,
    }
}

/// Bytes that give their permit back when the last of them is gone.
struct Charged {
    data: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

/// `data`, which holds `permit` until nobody has it any more.
pub(crate) fn charged(data: Bytes, permit: Option<Permit>) -> Bytes {
    match permit {
        Some(permit) => Bytes::from_owner(Charged { data, _permit: permit }),
        None => data,
    }
}

//! The task behind a stream of segments.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chunked_core::ByteRange;
use chunked_fair::Share;
use chunked_registry::{Blob, Body, Budget, ErrorKind, Network, Patience, Retry};
use tokio::sync::mpsc;

use crate::error::FetchError;
use crate::lanes::Lanes;
use crate::memory::{Room, room};
use crate::ranges::Wanted;
use crate::segments::{CHANNEL, Output, Segments};
use crate::transfer::{Stop, Transfer, WholeAnswer};
use crate::whole::Reading;

/// Bytes of a request while the bandwidth is not known.
const UNMEASURED: u64 = 1 << 20;
/// Bytes of a small request.
pub const SMALL: u64 = 256 << 10;
/// Fewest bytes of a request for the sake of a slow network.
const LEAST: u64 = 256 << 10;
/// A request is to last for so many round trips, and for so long at least.
const ROUND_TRIPS: u32 = 20;
const LEAST_TIME: Duration = Duration::from_millis(250);
/// Compressed bytes that one processor decodes in a second.
const DECODED: u64 = 256 << 20;

/// Some bytes of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Offset of the first byte in the blob.
    pub offset: u64,
    /// The bytes; never empty.
    pub data: Bytes,
}

/// How a blob is fetched.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Requests at once; at least 1 is used.
    pub connections: usize,
    /// The same for requests of at most [`SMALL`] bytes for one range: where they cost a round trip each, more of
    /// them take no more memory. Fewer than `connections` count as that many.
    pub small_requests: usize,
    /// Most bytes asked for by one request; at least 1 is used. Fewer, down to a quarter, are asked for where
    /// that keeps all connections busy.
    pub segment: u64,
    /// Ranges in one request, where a [probe](crate::probe) showed that the registry can: 1 means never more.
    pub ranges_per_request: usize,
    /// Bytes of blobs that this node can take in, in a second: no network is taken to be faster, whatever is measured.
    pub fastest: u64,
    /// What is done about failures that may pass.
    pub retry: Retry,
    /// Where what is asked for and not used yet is charged. While it gives nothing, less is asked for, down to one
    /// request of what it guarantees. `None`: nobody counts.
    pub memory: Option<Arc<Share>>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        // A request costs docker-registry 2 to 4 ms of processor time, as much as sending 4 MiB.
        let retry = Retry::default();
        Self {
            connections: 4,
            small_requests: 16,
            segment: 4 << 20,
            ranges_per_request: 64,
            fastest: fastest(),
            retry,
            memory: None,
        }
    }
}

/// What all processors decode together of zstd at its usual levels, hashing and writing not counted.
fn fastest() -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    DECODED.saturating_mul(u64::try_from(cores).unwrap_or(1))
}

impl FetchOptions {
    fn patience(&self) -> Patience {
        Patience::sharing(self.retry.clone(), Budget::new(&self.retry))
    }
}

/// Fetches `ranges` of `blob`, which must be sorted and must not overlap.
///
/// Gives every byte of every range exactly once, in blob order. What fails and may pass is repeated, for what is
/// missing. If ranges cannot be had, one whole body is read, and the wanted bytes are picked out of it: of the
/// answer itself, where the registry answered a range with the whole blob. After an error comes what had arrived
/// by then, in blob order and with gaps, and nothing more. Must be called inside a tokio runtime.
pub fn fetch(blob: Blob, ranges: Vec<ByteRange>, options: FetchOptions) -> Segments {
    Segments::from(|output| async move {
        if let Err(error) = run(blob, ranges, &options, &output).await {
            // The receiver may be gone already.
            let _ = output.send(Err(error)).await;
        }
    })
}

/// Fetches the whole blob as one stream. Otherwise like [`fetch`].
pub fn fetch_all(blob: Blob, options: &FetchOptions) -> Segments {
    everything(blob, None, options)
}

fn everything(blob: Blob, body: Option<Body>, options: &FetchOptions) -> Segments {
    let (patience, memory) = (options.patience(), options.memory.clone());
    Segments::from(|output| async move {
        // Cannot fail: the range is the blob.
        if let Ok(mut wanted) = Wanted::new(&blob, vec![ByteRange { start: 0, end: blob.size() }]) {
            let reading = Reading { blob: &blob, memory: memory.as_ref(), output: &output };
            // The receiver may be gone already.
            let _ = reading.run(&mut wanted, body, WholeAnswer::Take, patience).await;
        }
    })
}

/// What came for a part of a blob that is wanted before anything else.
#[derive(Debug)]
pub enum First {
    /// Its bytes.
    Part(Bytes),
    /// The registry sends the whole blob instead: all of it, from its first byte, of the same answer.
    Whole(Segments),
}

/// Fetches `range`, without reading a whole body for it: if the registry sends one, the caller gets it.
///
/// # Errors
/// [`FetchError`] when the range cannot be had; the whole blob may be.
pub async fn fetch_first(blob: Blob, range: ByteRange, options: FetchOptions) -> Result<First, FetchError> {
    let mut wanted = Wanted::new(&blob, vec![range])?;
    if blob.has_ranges() == Some(false) {
        return Ok(First::Whole(everything(blob, None, &options)));
    }
    let mut lanes = Lanes::default();
    let (output, mut segments) = mpsc::channel(CHANNEL);
    let fetching = async {
        let done = by_ranges(&blob, &mut wanted, &mut lanes, &options, &output).await;
        drop(output);
        done
    };
    let collecting = async {
        let mut bytes = BytesMut::with_capacity(usize::try_from(range.len()).unwrap_or(0));
        while let Some(Ok(segment)) = segments.recv().await {
            bytes.extend_from_slice(&segment.data);
        }
        bytes.freeze()
    };
    match tokio::join!(fetching, collecting) {
        (Ok(()), bytes) => Ok(First::Part(bytes)),
        (Err((_, Stop::Whole(body))), _) => {
            drop(lanes);
            Ok(First::Whole(everything(blob, Some(body), &options)))
        }
        (Err((offset, Stop::Failed(source))), _) => Err(FetchError::Registry { offset, source }),
    }
}

async fn run(
    blob: Blob,
    ranges: Vec<ByteRange>,
    options: &FetchOptions,
    output: &Output,
) -> Result<(), FetchError> {
    let mut wanted = Wanted::new(&blob, ranges)?;
    let mut lanes = Lanes::default();
    if wanted.span().is_none() {
        return Ok(());
    }
    let (mut body, mut way, mut retry) = (None, WholeAnswer::Take, options.retry.clone());
    let mut arrived = Vec::new();
    if blob.has_ranges() != Some(false) {
        match by_ranges(&blob, &mut wanted, &mut lanes, options, output).await {
            Ok(()) => return Ok(()),
            Err((_, Stop::Whole(whole))) => body = Some(whole),
            // What holds for every request is told at once.
            Err((offset, Stop::Failed(source)))
                if source.kind() != ErrorKind::Denied && source.holds_for_repository() =>
            {
                return Err(FetchError::Registry { offset, source });
            }
            // Whatever else it is, a request without a range may do: some firewalls refuse only those.
            Err((offset, Stop::Failed(error))) => {
                tracing::warn!(blob = %blob.digest(), offset, %error, "ranges failed");
                way = WholeAnswer::Ask;
                if error.kind() == ErrorKind::Transient {
                    // Most of the patience is used up.
                    retry.attempts = retry.attempts.min(1);
                }
            }
        }
        // The others end before the whole body is read.
        arrived = lanes.arrived();
        wanted.put_back(lanes.cancel());
    }
    tracing::info!(blob = %blob.digest(), origin = blob.origin(), "reading the whole blob instead of ranges");
    let patience = Patience::sharing(retry.clone(), Budget::new(&retry));
    let reading = Reading { blob: &blob, memory: options.memory.as_ref(), output };
    if reading.run(&mut wanted, body, way, patience).await.is_err() {
        // It cost its transfer: whoever tries again later need not ask for it again.
        let missing = wanted.span().map_or(u64::MAX, |span| span.start);
        for segment in arrived.into_iter().filter(|segment| segment.offset >= missing) {
            if output.send(Ok(segment)).await.is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Keeps `connections` requests running, or more small ones, until everything is handed on or one fails: then gives the offset of
/// the first byte it lacks, and why.
async fn by_ranges(
    blob: &Blob,
    wanted: &mut Wanted,
    lanes: &mut Lanes,
    options: &FetchOptions,
    output: &Output,
) -> Result<(), (u64, Stop)> {
    let connections = options.connections.max(1);
    let budget = Budget::new(&options.retry);
    let mut left = wanted.total();
    loop {
        // One request alone shows whether ranges are served, whatever was known: the whole blob must not come
        // several times.
        while may_start(blob, wanted, lanes, options) {
            let count = if blob.has_multi_range() == Some(true) { options.ranges_per_request } else { 1 };
            let segment = segment(&blob.network(), connections, options.segment.max(1));
            let most = share(left, connections, segment);
            let most = wanted.next_len().map_or(most, |next| if count > 1 { most } else { most.min(next) });
            let room = room(options.memory.as_ref(), most, lanes.len() == 0, output).await;
            let Room { bytes, mut permit } = match room {
                Some(room) if room.bytes > 0 => room,
                // There will be more when something that has arrived is used.
                Some(_) => break,
                None => return Ok(()),
            };
            let ranges = wanted.cut_many(bytes, count);
            if ranges.is_empty() {
                break;
            }
            let len = ranges.iter().map(ByteRange::len).sum::<u64>();
            let permit = permit.as_mut().map(|permit| permit.split(len));
            left -= len;
            let patience = Patience::sharing(options.retry.clone(), budget.clone());
            let transfer = Transfer::new(blob.clone(), ranges.clone(), WholeAnswer::HandOver, patience);
            lanes.start(ranges, transfer, permit);
        }
        if lanes.len() == 0 {
            return Ok(());
        }
        tokio::select! {
            biased;
            permit = output.reserve(), if lanes.is_ready() => {
                let Ok(permit) = permit else { return Ok(()) };
                if let Some(next) = lanes.pop() {
                    permit.send(Ok(next));
                }
            }
            news = poll_fn(|cx| lanes.poll(cx)) => {
                news?;
                if let Some(bandwidth) = lanes.bandwidth() {
                    blob.note_bandwidth(bandwidth.min(options.fastest));
                }
            }
            () = output.closed() => return Ok(()),
        }
    }
}

/// May another request be started now?
fn may_start(blob: &Blob, wanted: &Wanted, lanes: &Lanes, options: &FetchOptions) -> bool {
    let Some(next) = wanted.next_len() else { return false };
    match lanes.len() {
        0 => true,
        running if running < options.connections.max(1) => lanes.has_begun(),
        running => {
            running < most_small(lanes.complete(), options)
                && blob.has_multi_range() != Some(true)
                && next <= SMALL
                && lanes.awaited() + next <= SMALL * 4
        }
    }
}

/// Small requests that may run at once, after `complete` ones: a registry that has second thoughts about ranges would
/// answer each of them with the whole blob.
fn most_small(complete: usize, options: &FetchOptions) -> usize {
    options.small_requests.min(options.connections.max(1).saturating_add(complete / 4))
}

/// Most bytes of one request, at most `limit`: what a connection brings while some round trips pass. More would be
/// lost if the pull were interrupted, and would keep the first bytes waiting for the last; less would be mostly
/// requests. Until the network was measured, a little.
fn segment(network: &Network, connections: usize, limit: u64) -> u64 {
    let Some(bandwidth) = network.bandwidth else { return limit.min(UNMEASURED) };
    let time = network.round_trip.unwrap_or_default().saturating_mul(ROUND_TRIPS).max(LEAST_TIME);
    let bytes =
        u128::from(bandwidth) * time.as_millis() / 1000 / u128::try_from(connections.max(1)).unwrap_or(1);
    u64::try_from(bytes).unwrap_or(u64::MAX).clamp(LEAST.min(limit), limit)
}

/// Bytes of the next request when `left` are still to be asked for: large requests are cheap, and equal shares
/// let all connections finish together.
fn share(left: u64, connections: usize, segment: u64) -> u64 {
    let equal = left.div_ceil(u64::try_from(connections).unwrap_or(u64::MAX));
    equal.clamp(segment.div_ceil(4), segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_as_long_as_the_network_is_fast() {
        let network = |bandwidth, millis| Network {
            bandwidth: Some(bandwidth),
            round_trip: Some(Duration::from_millis(millis)),
        };
        for (network, bytes) in [
            (Network { bandwidth: None, round_trip: None }, 1 << 20),
            (network(1_000_000, 5), 256 << 10),
            (network(12_500_000, 5), 781_250),
            (network(12_500_000, 100), 6_250_000),
            (network(1_000_000_000, 1), 8 << 20),
        ] {
            assert_eq!(segment(&network, 4, 8 << 20), bytes, "{network:?}");
            assert!(segment(&network, 4, 100_000) <= 100_000);
        }
    }

    #[test]
    fn shares_are_bounded() {
        const MIB: u64 = 1 << 20;
        for (left, share_of) in
            [(0, 2 * MIB), (MIB, 2 * MIB), (10 * MIB, 5 * MIB / 2), (32 * MIB, 8 * MIB), (u64::MAX, 8 * MIB)]
        {
            assert_eq!(share(left, 4, 8 * MIB), share_of, "{left}");
        }
        assert_eq!(share(10, 4, 1), 1);
    }
}

//! The task behind a stream of segments.

use std::future::poll_fn;

use bytes::Bytes;
use chunked_core::ByteRange;
use chunked_registry::{Blob, ErrorKind};
use tokio::sync::mpsc;

use crate::error::FetchError;
use crate::lanes::Lanes;
use crate::ranges::Wanted;
use crate::transfer::{Stop, Transfer};
use crate::whole;

/// Segments that wait in the channel. Each is one read from a connection: some kB up to 400 kB.
const CHANNEL: usize = 16;

pub(crate) type Output = mpsc::Sender<Result<Segment, FetchError>>;

/// Some bytes of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Offset of the first byte in the blob.
    pub offset: u64,
    /// The bytes; never empty.
    pub data: Bytes,
}

/// How a blob is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// Requests at once; at least 1 is used.
    pub connections: usize,
    /// Most bytes asked for by one request; at least 1 is used. Fewer, down to a quarter, are asked for where
    /// that keeps all connections busy.
    pub segment: u64,
}

impl Default for FetchOptions {
    fn default() -> Self {
        // A request costs docker-registry 2 to 4 ms of processor time, as much as sending 4 MiB.
        Self { connections: 4, segment: 8 << 20 }
    }
}

/// Fetches `ranges` of `blob`, which must be sorted and must not overlap.
///
/// Gives every byte of every range exactly once, in blob order; after an error nothing more. A registry that
/// answers a range with the whole blob, or refuses ranges, is asked for one whole body, from which the wanted
/// bytes are picked. Dropping the receiver ends all requests. Must be called inside a tokio runtime.
pub fn fetch(
    blob: Blob,
    ranges: Vec<ByteRange>,
    options: FetchOptions,
) -> mpsc::Receiver<Result<Segment, FetchError>> {
    start(blob, ranges, options, true)
}

/// Like [`fetch`], but gives [`FetchError::NoRanges`] where `fetch` would read a whole body. For a small part
/// of a blob whose rest is not worth reading before it is known what is in it.
pub fn fetch_only(
    blob: Blob,
    ranges: Vec<ByteRange>,
    options: FetchOptions,
) -> mpsc::Receiver<Result<Segment, FetchError>> {
    start(blob, ranges, options, false)
}

/// Fetches the whole blob as one stream. Otherwise like [`fetch`].
pub fn fetch_all(blob: Blob) -> mpsc::Receiver<Result<Segment, FetchError>> {
    let (output, segments) = mpsc::channel(CHANNEL);
    tokio::spawn(async move {
        let all = ByteRange { start: 0, end: blob.size() };
        // Cannot fail: the range is the blob.
        if let Ok(wanted) = Wanted::new(&blob, vec![all]) {
            whole::run(&blob, wanted, None, &output).await;
        }
    });
    segments
}

fn start(
    blob: Blob,
    ranges: Vec<ByteRange>,
    options: FetchOptions,
    accept_whole: bool,
) -> mpsc::Receiver<Result<Segment, FetchError>> {
    let (output, segments) = mpsc::channel(CHANNEL);
    tokio::spawn(async move {
        if let Err(error) = run(blob, ranges, options, accept_whole, &output).await {
            // The receiver may be gone already.
            let _ = output.send(Err(error)).await;
        }
    });
    segments
}

async fn run(
    blob: Blob,
    ranges: Vec<ByteRange>,
    options: FetchOptions,
    accept_whole: bool,
    output: &Output,
) -> Result<(), FetchError> {
    let mut wanted = Wanted::new(&blob, ranges)?;
    let mut lanes = Lanes::default();
    if wanted.span().is_none() {
        return Ok(());
    }
    let by_ranges = match blob.has_ranges() {
        Some(false) => Err((0, None)),
        _ => by_ranges(&blob, &mut wanted, &mut lanes, &options, output).await,
    };
    let (offset, stop) = match by_ranges {
        Ok(()) => return Ok(()),
        Err(early) => early,
    };
    match stop {
        Some(Stop::Failed(source)) if source.kind() != ErrorKind::RangeUnsupported => {
            Err(FetchError::Registry { offset, source })
        }
        _ if !accept_whole => Err(FetchError::NoRanges { blob: blob.digest() }),
        stop => {
            // The others end before the whole body is read.
            wanted.put_back(lanes.cancel());
            tracing::info!(blob = %blob.digest(), "the registry does not serve ranges; reading the whole blob");
            let span = wanted.span();
            let transfer = match (stop, span) {
                (Some(Stop::Whole(body)), Some(span)) => Some(Transfer::from_whole(blob.clone(), span, body)),
                _ => None,
            };
            whole::run(&blob, wanted, transfer, output).await;
            Ok(())
        }
    }
}

/// Keeps `connections` requests running until everything is handed on or one fails: then gives the offset of
/// the first byte it lacks, and why.
async fn by_ranges(
    blob: &Blob,
    wanted: &mut Wanted,
    lanes: &mut Lanes,
    options: &FetchOptions,
    output: &Output,
) -> Result<(), (u64, Option<Stop>)> {
    let (connections, segment) = (options.connections.max(1), options.segment.max(1));
    let mut has_ranges = false;
    let mut left = wanted.total();
    loop {
        // One request alone shows whether this registry has ranges: the whole blob must not come several times.
        has_ranges = has_ranges || blob.has_ranges() == Some(true);
        while lanes.len() < if has_ranges { connections } else { 1 }
            && let Some(range) = wanted.cut(share(left, connections, segment))
        {
            left -= range.len();
            lanes.start(blob, range);
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
                news.map_err(|(offset, stop)| (offset, Some(stop)))?;
            }
            () = output.closed() => return Ok(()),
        }
    }
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

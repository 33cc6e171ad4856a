//! Parts side by side, delivered one after the other.

use std::collections::VecDeque;

use chunked_core::ByteRange;
use chunked_registry::{Blob, Body};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::part::{self, Ended};
use crate::{FetchError, Segment};

/// Segments that may wait for the reader, for each part; a body chunk is 8 to 64 KiB.
const WAITING: usize = 64;

/// How a blob is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOptions {
    /// Requests at once.
    pub connections: usize,
    /// Bytes one request asks for at most.
    pub segment: u64,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self { connections: 4, segment: 2 << 20 }
    }
}

type Sender = mpsc::Sender<Result<Segment, FetchError>>;
type Receiver = mpsc::Receiver<Result<Segment, FetchError>>;

/// Fetches `ranges`, ascending and not overlapping. Dropping the receiver ends every request.
pub fn fetch(blob: Blob, ranges: Vec<ByteRange>, options: FetchOptions) -> Receiver {
    let (to, receiver) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        tokio::select! {
            () = run(&blob, &ranges, &options, &to) => {}
            () = to.closed() => {}
        }
    });
    receiver
}

/// Fetches the whole blob as one stream.
pub fn fetch_all(blob: Blob) -> Receiver {
    let range = ByteRange { start: 0, end: blob.size() };
    fetch(blob, vec![range], FetchOptions { connections: 1, segment: u64::MAX })
}

/// A part being fetched; dropping it ends its request.
#[derive(Debug)]
struct Running {
    range: ByteRange,
    segments: Receiver,
    task: JoinHandle<Result<Ended, FetchError>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(blob: &Blob, ranges: &[ByteRange], options: &FetchOptions, to: &Sender) {
    let mut parts = cut(ranges, options.segment.max(1)).into_iter();
    let mut running: VecDeque<Running> = VecDeque::new();
    // The first part goes alone until its first bytes are here: a registry that ignores ranges would otherwise be
    // asked for the whole blob several times over.
    let mut width = 1;
    loop {
        while running.len() < width {
            let Some(range) = parts.next() else { break };
            running.push_back(start(blob, range));
        }
        let Some(mut head) = running.pop_front() else { return };
        let mut first = true;
        while let Some(segment) = head.segments.recv().await {
            if std::mem::take(&mut first) && width == 1 && options.connections > 1 {
                width = options.connections;
                while running.len() + 1 < width {
                    let Some(range) = parts.next() else { break };
                    running.push_back(start(blob, range));
                }
            }
            if to.send(segment).await.is_err() {
                return;
            }
        }
        let range = head.range;
        let ended = (&mut head.task).await;
        match ended {
            Ok(Ok(Ended::Done)) => {}
            Ok(Ok(Ended::Whole(body))) => {
                running.clear();
                let rest: Vec<ByteRange> = cut_from(ranges, range.start);
                return whole(body, &rest, to).await;
            }
            Ok(Err(error)) => {
                let _ = to.send(Err(error)).await;
                return;
            }
            // Only a panic in the HTTP stack could bring this about.
            Err(_) => return,
        }
    }
}

fn start(blob: &Blob, range: ByteRange) -> Running {
    let (sender, segments) = mpsc::channel(WAITING);
    let blob = blob.clone();
    let task = tokio::spawn(async move { part::fetch(&blob, range, &sender).await });
    Running { range, segments, task }
}

/// `ranges` in parts of at most `limit` bytes.
fn cut(ranges: &[ByteRange], limit: u64) -> Vec<ByteRange> {
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        let mut start = range.start;
        while start < range.end {
            let end = start.saturating_add(limit).min(range.end);
            parts.push(ByteRange { start, end });
            start = end;
        }
    }
    parts
}

/// What of `ranges` lies at `start` or after it.
fn cut_from(ranges: &[ByteRange], start: u64) -> Vec<ByteRange> {
    let rest = ranges.iter().filter(|range| range.end > start);
    rest.map(|range| ByteRange { start: range.start.max(start), end: range.end }).collect()
}

/// Takes `ranges` out of a body that is the whole blob, and leaves it once it has the last one.
async fn whole(mut body: Body, ranges: &[ByteRange], to: &Sender) {
    let mut wanted = ranges.iter().copied().peekable();
    let mut offset = 0;
    let all = body.range();
    while wanted.peek().is_some() {
        let mut data = match body.chunk().await.transpose() {
            Ok(Some(data)) => data,
            Ok(None) => return,
            Err(source) => {
                let _ = to.send(Err(FetchError { range: ByteRange { start: offset, end: all.end }, source })).await;
                return;
            }
        };
        while let (Some(range), false) = (wanted.peek().copied(), data.is_empty()) {
            let end = offset + data.len() as u64;
            if end <= range.start {
                break;
            }
            let skip = usize::try_from(range.start.saturating_sub(offset)).unwrap_or(0);
            let _ = data.split_to(skip.min(data.len()));
            offset += skip as u64;
            let n = usize::try_from(range.end - offset).map_or(data.len(), |n| n.min(data.len()));
            let segment = Segment { offset, data: data.split_to(n) };
            offset += n as u64;
            if to.send(Ok(segment)).await.is_err() {
                return;
            }
            if offset >= range.end {
                wanted.next();
            }
        }
        // What follows the last wanted range of this chunk.
        offset += data.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(list: &[(u64, u64)]) -> Vec<ByteRange> {
        list.iter().map(|&(start, end)| ByteRange { start, end }).collect()
    }

    #[test]
    fn cutting() {
        assert_eq!(cut(&ranges(&[(0, 5), (7, 8)]), 2), ranges(&[(0, 2), (2, 4), (4, 5), (7, 8)]));
        assert_eq!(cut(&ranges(&[(3, 9)]), u64::MAX), ranges(&[(3, 9)]));
        assert_eq!(cut_from(&ranges(&[(0, 5), (7, 9)]), 8), ranges(&[(8, 9)]));
    }
}

//! Several transfers at once, handed on in blob order.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use chunked_core::ByteRange;
use chunked_fair::Permit;
use futures_util::{Stream, StreamExt};

use crate::fetch::Segment;
use crate::memory::charged;
use crate::meter::Meter;
use crate::transfer::{Stop, Transfer};

type Pieces = Pin<Box<dyn Stream<Item = Result<Vec<Segment>, Stop>> + Send>>;

/// One request and what it has brought.
struct Lane {
    /// What has not been handed on yet, in blob order.
    left: VecDeque<ByteRange>,
    /// `None` once complete.
    pieces: Option<Pieces>,
    /// By offset. Several ranges in one request may arrive in any order.
    arrived: BTreeMap<u64, Bytes>,
    /// Its first byte has arrived.
    begun: bool,
    /// For what has not arrived.
    memory: Option<Permit>,
}

impl Lane {
    /// The first byte that has not arrived.
    fn missing(&self) -> u64 {
        let mut offset = self.left.front().map_or(0, |range| range.start);
        for (start, data) in &self.arrived {
            if *start != offset && self.left.iter().any(|range| range.start <= offset && offset < range.end) {
                break;
            }
            offset = start + data.len() as u64;
        }
        offset
    }

    fn is_ready(&self) -> bool {
        self.left.front().is_some_and(|range| self.arrived.contains_key(&range.start))
    }

    /// The next segment in blob order, if it has arrived.
    fn pop(&mut self) -> Option<Segment> {
        let range = self.left.front_mut()?;
        let offset = range.start;
        let data = self.arrived.remove(&offset)?;
        range.start += data.len() as u64;
        if range.is_empty() {
            self.left.pop_front();
        }
        Some(Segment { offset, data })
    }

    fn arrive(&mut self, segments: Vec<Segment>) {
        self.begun = true;
        for segment in segments {
            let len = segment.data.len() as u64;
            let permit = self.memory.as_mut().map(|memory| memory.split(len));
            self.arrived.insert(segment.offset, charged(segment.data, permit));
        }
    }
}

/// Requests in blob order. All are read as their data arrives; only the first one's is handed on. As each is
/// bounded in length, so is what is held here.
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: VecDeque<Lane>,
    begun: bool,
    /// Requests that brought everything.
    complete: usize,
    meter: Meter,
}

impl Lanes {
    /// Starts `transfer`, which brings `ranges`; they come after those started before. Their bytes are charged to
    /// `memory`.
    pub(crate) fn start(&mut self, ranges: Vec<ByteRange>, transfer: Transfer, memory: Option<Permit>) {
        let pieces = futures_util::stream::unfold(transfer, |mut transfer| async move {
            let piece = transfer.next().await?;
            Some((piece, transfer))
        });
        let pieces: Pieces = Box::pin(pieces);
        let (left, arrived) = (ranges.into(), BTreeMap::new());
        self.lanes.push_back(Lane { left, pieces: Some(pieces), arrived, begun: false, memory });
    }

    /// Requests that are running, or whose data is not handed on yet.
    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Bytes of all requests that are not handed on yet.
    pub(crate) fn awaited(&self) -> u64 {
        self.lanes.iter().flat_map(|lane| &lane.left).map(ByteRange::len).sum()
    }

    /// Requests that brought everything.
    pub(crate) fn complete(&self) -> usize {
        self.complete
    }

    /// True once the first byte has arrived.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun
    }

    /// True when there is something to hand on.
    pub(crate) fn is_ready(&self) -> bool {
        self.lanes.front().is_some_and(Lane::is_ready)
    }

    /// The next segment in blob order, if it has arrived.
    pub(crate) fn pop(&mut self) -> Option<Segment> {
        let segment = self.lanes.front_mut()?.pop();
        self.retire();
        segment
    }

    /// Drops leading lanes that are complete and empty.
    fn retire(&mut self) {
        while self.lanes.front().is_some_and(|lane| lane.pieces.is_none() && lane.arrived.is_empty()) {
            self.lanes.pop_front();
        }
    }

    /// What has arrived and was not handed on, in blob order.
    pub(crate) fn arrived(&mut self) -> Vec<Segment> {
        let arrived = self.lanes.iter_mut().flat_map(|lane| std::mem::take(&mut lane.arrived));
        arrived.map(|(offset, data)| Segment { offset, data }).collect()
    }

    /// Ends all requests; gives what was not handed on.
    pub(crate) fn cancel(&mut self) -> impl DoubleEndedIterator<Item = ByteRange> {
        std::mem::take(&mut self.lanes).into_iter().flat_map(|lane| lane.left)
    }

    /// What was measured since this was asked last: bytes per second, all requests together.
    pub(crate) fn bandwidth(&mut self) -> Option<u64> {
        self.meter.take()
    }

    /// Ready when data has arrived or a request is complete, or with the byte offset and cause when one failed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), (u64, Stop)>> {
        let (mut news, mut measured, mut waiting) = (false, 0_u64, false);
        for lane in &mut self.lanes {
            // How long the first byte takes says more about the round trip.
            let begun = lane.begun;
            while let Some(pieces) = &mut lane.pieces {
                match pieces.poll_next_unpin(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(segments))) => {
                        self.begun = true;
                        if begun {
                            measured += segments.iter().map(|segment| segment.data.len() as u64).sum::<u64>();
                        }
                        lane.arrive(segments);
                    }
                    Poll::Ready(Some(Err(stop))) => return Poll::Ready(Err((lane.missing(), stop))),
                    Poll::Ready(None) => {
                        lane.pieces = None;
                        self.complete += 1;
                    }
                }
                news = true;
            }
            waiting |= lane.begun && lane.pieces.is_some();
        }
        self.meter.note(measured, waiting, Instant::now());
        self.retire();
        if news { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lanes.iter().map(|lane| &lane.left)).finish()
    }
}

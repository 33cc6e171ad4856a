//! Several transfers at once, handed on in blob order.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use chunked_core::ByteRange;
use chunked_registry::Blob;
use futures_util::{Stream, StreamExt};

use crate::fetch::Segment;
use crate::transfer::{Stop, Transfer, WholeAnswer};

type Pieces = Pin<Box<dyn Stream<Item = Result<Segment, Stop>> + Send>>;

/// One request and what it has brought.
struct Lane {
    /// What has not been handed on yet.
    left: ByteRange,
    /// `None` once complete.
    pieces: Option<Pieces>,
    arrived: VecDeque<Segment>,
}

impl Lane {
    /// The first byte that has not arrived.
    fn missing(&self) -> u64 {
        self.arrived.back().map_or(self.left.start, |last| last.offset + last.data.len() as u64)
    }
}

/// Requests in blob order. All are read as their data arrives; only the first one's is handed on. As each is
/// bounded in length, so is what is held here.
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: VecDeque<Lane>,
}

impl Lanes {
    /// Starts a request for `range`, which comes after those started before.
    pub(crate) fn start(&mut self, blob: &Blob, range: ByteRange) {
        let transfer = Transfer::new(blob.clone(), range, WholeAnswer::HandOver);
        let pieces = futures_util::stream::unfold(transfer, |mut transfer| async move {
            let piece = transfer.next().await?;
            Some((piece.map(|(offset, data)| Segment { offset, data }), transfer))
        });
        let pieces: Pieces = Box::pin(pieces);
        self.lanes.push_back(Lane { left: range, pieces: Some(pieces), arrived: VecDeque::new() });
    }

    /// Requests that are running, or whose data is not handed on yet.
    pub(crate) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// True when there is something to hand on.
    pub(crate) fn is_ready(&self) -> bool {
        self.lanes.front().is_some_and(|lane| !lane.arrived.is_empty())
    }

    /// The next segment in blob order, if it has arrived.
    pub(crate) fn pop(&mut self) -> Option<Segment> {
        let lane = self.lanes.front_mut()?;
        let segment = lane.arrived.pop_front();
        if let Some(segment) = &segment {
            lane.left.start = segment.offset + segment.data.len() as u64;
        }
        self.retire();
        segment
    }

    /// Drops leading lanes that are complete and empty.
    fn retire(&mut self) {
        while self.lanes.front().is_some_and(|lane| lane.pieces.is_none() && lane.arrived.is_empty()) {
            self.lanes.pop_front();
        }
    }

    /// Ends all requests; gives what was not handed on.
    pub(crate) fn cancel(&mut self) -> impl DoubleEndedIterator<Item = ByteRange> {
        std::mem::take(&mut self.lanes).into_iter().map(|lane| lane.left)
    }

    /// Ready when data has arrived or a request is complete, or with the byte offset and cause when one failed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), (u64, Stop)>> {
        let mut news = false;
        for lane in &mut self.lanes {
            while let Some(pieces) = &mut lane.pieces {
                match pieces.poll_next_unpin(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(segment))) => lane.arrived.push_back(segment),
                    Poll::Ready(Some(Err(stop))) => return Poll::Ready(Err((lane.missing(), stop))),
                    Poll::Ready(None) => lane.pieces = None,
                }
                news = true;
            }
        }
        self.retire();
        if news { Poll::Ready(Ok(())) } else { Poll::Pending }
    }
}

impl fmt::Debug for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lanes.iter().map(|lane| lane.left)).finish()
    }
}

//! The body of an answer as it arrives.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use tokio::time::Sleep;

use super::broken;
use super::limits::Permits;
use super::throttle::Throttle;
use super::traffic::Traffic;
use crate::error::{Failure, Said};
use crate::hosts::Health;

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// Bytes read of a body nobody wants, so that its connection can be used again.
const MAX_DRAIN: usize = 64 << 10;
/// Time given to that.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A body: gives an error when the server goes silent or the connection breaks, keeps to the common bandwidth,
/// and holds the request's connection until it ends or is dropped. Does not check its length.
///
/// Reading to its end lets the connection be used again; dropping it before closes the connection.
pub(crate) struct Incoming {
    chunks: Option<Chunks>,
    permits: Option<Permits>,
    throttle: Arc<Throttle>,
    traffic: Arc<Traffic>,
    pace: Pace,
    /// When the wait that is going on becomes a stall.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Since when somebody waits for data.
    waiting: Option<tokio::time::Instant>,
    /// Waits since the server last brought as much as it must, and bytes since then.
    waited: Duration,
    came: u64,
    /// What has arrived and must be waited for, to keep to the bandwidth.
    held: Option<(Bytes, Pin<Box<Sleep>>)>,
    witness: Option<Witness>,
}

/// How fast a server must be: it stalls when it brings less than `least` bytes while somebody waits for `stall`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub stall: Duration,
    pub least: u64,
}

impl Pace {
    /// At least `rate` bytes in a second on average; 0 means any.
    pub(super) fn new(stall: Duration, rate: u64) -> Self {
        let least = u128::from(rate) * stall.as_millis() / 1000;
        Self { stall, least: u64::try_from(least).unwrap_or(u64::MAX).max(1) }
    }
}

/// Who is told how a body ended.
#[derive(Debug)]
pub(crate) struct Witness {
    pub health: Arc<Health>,
    /// Name of the endpoint.
    pub name: Arc<str>,
    /// What was asked for.
    pub item: String,
}

impl Incoming {
    pub(super) fn new(
        response: reqwest::Response,
        permits: Permits,
        (throttle, traffic): (Arc<Throttle>, Arc<Traffic>),
        pace: Pace,
    ) -> Self {
        Self {
            chunks: Some(Box::pin(response.bytes_stream())),
            permits: Some(permits),
            throttle,
            traffic,
            pace,
            deadline: None,
            waiting: None,
            waited: Duration::ZERO,
            came: 0,
            held: None,
            witness: None,
        }
    }

    /// Lets `witness` know when the body breaks.
    pub(crate) fn watch(&mut self, witness: Witness) {
        self.witness = Some(witness);
    }

    /// Lets the witness know that the body was not what it said it was: another host is to be asked.
    pub(crate) fn blame(&self, said: Said) {
        if let Some(Witness { health, name, item }) = &self.witness {
            health.lied(name, item, said, Instant::now());
        }
    }

    /// Reads a short body that nobody wants, so that its connection is used again, and gives its place back in any
    /// case.
    pub(crate) async fn drain(self) {
        self.read_some(MAX_DRAIN, DRAIN_TIME).await;
    }

    /// The first `most` bytes at most, as far as they come within `time`. The body's place is free after that.
    pub(crate) async fn read_some(mut self, most: usize, time: Duration) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        let read = async {
            while let Some(Ok(chunk)) = self.next().await {
                let room = most - bytes.len();
                bytes.extend(chunk.iter().take(room));
                if bytes.len() >= most {
                    break;
                }
            }
        };
        // Late or broken: the connection is closed.
        let _ = tokio::time::timeout(time, read).await;
        bytes
    }

    /// A body of what [`Incoming::read_some`] gives, which holds no place.
    pub(super) async fn settle(self, most: usize, time: Duration) -> Self {
        let (throttle, traffic, pace) = (Arc::clone(&self.throttle), Arc::clone(&self.traffic), self.pace);
        let bytes = Bytes::from(self.read_some(most, time).await);
        let chunks: Chunks = Box::pin(futures_util::stream::once(std::future::ready(Ok(bytes))));
        let (deadline, held, witness) = (None, None, None);
        let (chunks, permits, waiting, waited, came) = (Some(chunks), None, None, Duration::ZERO, 0);
        Self { chunks, permits, throttle, traffic, pace, deadline, waiting, waited, came, held, witness }
    }

    fn end(&mut self) {
        self.chunks = None;
        self.permits = None;
    }

    /// Called when no data is there: lets the clock run only while somebody waits for data, so that a slow
    /// reader does not look like a slow server.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let Pace { stall, .. } = self.pace;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        if self.waiting.is_none() {
            let now = tokio::time::Instant::now();
            self.waiting = Some(now);
            deadline.as_mut().reset(now + stall.saturating_sub(self.waited));
        }
        let came = self.came;
        let failure =
            || if came == 0 { Failure::Stalled(stall) } else { Failure::Slow { bytes: came, time: stall } };
        deadline.as_mut().poll(cx).map(|()| failure())
    }

    /// Called when data is there. A little is not enough: a byte now and then would keep us for ever.
    fn arrived(&mut self, bytes: usize) {
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        self.came = self.came.saturating_add(bytes as u64);
        if self.came >= self.pace.least {
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
    }

    fn fail(&mut self, failure: Failure) -> Failure {
        self.end();
        if let Some(Witness { health, name, .. }) = &self.witness {
            health.failed(name, None, Instant::now());
        }
        failure
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, Failure>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some((bytes, pause)) = &mut this.held {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let bytes = std::mem::take(bytes);
                this.held = None;
                return Poll::Ready(Some(Ok(bytes)));
            }
            let Some(chunks) = &mut this.chunks else { return Poll::Ready(None) };
            match chunks.as_mut().poll_next(cx) {
                Poll::Pending => {
                    let Poll::Ready(failure) = this.wait(cx) else { return Poll::Pending };
                    return Poll::Ready(Some(Err(this.fail(failure))));
                }
                Poll::Ready(Some(Ok(bytes))) => {
                    this.arrived(bytes.len());
                    if bytes.is_empty() {
                        continue;
                    }
                    if let Some(permits) = &mut this.permits {
                        permits.arrived(bytes.len());
                        this.traffic.received(bytes.len());
                    }
                    let pause = this.throttle.pay(bytes.len(), Instant::now());
                    if pause.is_zero() {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                    this.held = Some((bytes, Box::pin(tokio::time::sleep(pause))));
                }
                Poll::Ready(Some(Err(error))) => {
                    let failure = Failure::Transport(broken::text(&error.without_url()));
                    return Poll::Ready(Some(Err(this.fail(failure))));
                }
                Poll::Ready(None) => {
                    this.end();
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("ended", &self.chunks.is_none()).finish_non_exhaustive()
    }
}

//! Some stretches of a blob by one request, resumed where its answer broke off.

use std::time::Instant;

use bytes::Bytes;
use chunked_core::ByteRange;
use chunked_registry::{Blob, Body, ErrorKind, Parts, Patience, Ranges, RegistryError};

use crate::fetch::Segment;
use crate::ranges::Left;

/// An answer that brings less than this, in bytes, and not everything, counts as a failure.
const LITTLE: u64 = 64 << 10;

/// What to make of a registry that answers a range with the whole blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WholeAnswer {
    /// Skip what lies before the stretch, and take the rest from it.
    Take,
    /// The same, and ask for nothing else: ranges failed.
    Ask,
    /// Give the body to the caller: [`Stop::Whole`].
    HandOver,
}

/// Why a transfer ended before its stretches did.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The registry sends the whole blob.
    Whole(Body),
    /// It failed for good.
    Failed(RegistryError),
}

/// The answer being read.
#[derive(Debug)]
enum Answer {
    /// One stretch, and where in the blob we are.
    Body(Body, u64),
    Parts(Parts),
}

impl Answer {
    fn of(body: Body) -> Self {
        let start = body.range().start;
        Self::Body(body, start)
    }

    /// The next bytes and where they belong.
    async fn chunk(&mut self) -> Option<Result<(u64, Bytes), RegistryError>> {
        match self {
            Self::Parts(parts) => parts.chunk().await,
            Self::Body(body, position) => {
                let chunk = body.chunk().await?;
                Some(chunk.map(|bytes| {
                    let offset = *position;
                    *position += bytes.len() as u64;
                    (offset, bytes)
                }))
            }
        }
    }
}

/// Stretches of a blob on their way.
#[derive(Debug)]
pub(crate) struct Transfer {
    blob: Blob,
    /// What has not arrived yet.
    left: Left,
    whole: WholeAnswer,
    answer: Option<Answer>,
    /// Bytes that the answer brought so far.
    brought: u64,
    /// Several ranges in one request did not work here.
    one_by_one: bool,
    /// The registry is known to serve ranges.
    had_ranges: bool,
    patience: Patience,
}

impl Transfer {
    /// `left`: sorted and apart. More than one only where the blob's origin takes several ranges.
    pub(crate) fn new(blob: Blob, left: Vec<ByteRange>, whole: WholeAnswer, patience: Patience) -> Self {
        Self {
            blob,
            left: Left::new(left),
            whole,
            answer: None,
            brought: 0,
            one_by_one: false,
            had_ranges: false,
            patience,
        }
    }

    /// Takes `body`, which the registry sends already, for the answer.
    pub(crate) fn go_on_with(&mut self, body: Body) {
        self.answer = Some(Answer::of(body));
    }

    /// The next bytes that are wanted; of several stretches they may come in any order. `None` when all are here.
    pub(crate) async fn next(&mut self) -> Option<Result<Vec<Segment>, Stop>> {
        loop {
            if self.left.is_empty() {
                self.drain().await;
                return None;
            }
            let result = match self.answer.as_mut() {
                None => self.open().await,
                Some(answer) => match answer.chunk().await {
                    Some(Ok((offset, bytes))) => {
                        let wanted = self.left.take(offset, &bytes);
                        if wanted.is_empty() {
                            continue;
                        }
                        let bytes = wanted.iter().map(|segment| segment.data.len() as u64).sum();
                        self.brought += bytes;
                        self.patience.progress(bytes);
                        return Some(Ok(wanted));
                    }
                    Some(Err(error)) => Err(Stop::Failed(error)),
                    None => match self.after_less() {
                        Some(error) => Err(Stop::Failed(error)),
                        None => {
                            self.answer = None;
                            continue;
                        }
                    },
                },
            };
            if let Err(stop) = result {
                self.answer = None;
                match stop {
                    Stop::Failed(error) => {
                        if let Some(error) = self.wait_after(error).await {
                            return Some(Err(Stop::Failed(error)));
                        }
                    }
                    whole => return Some(Err(whole)),
                }
            }
        }
    }

    /// An answer that was complete by its own word left something out: a server may, and the rest is asked for.
    /// But not byte by byte.
    fn after_less(&mut self) -> Option<RegistryError> {
        self.one_by_one |= self.brought == 0;
        (self.brought < LITTLE).then(|| self.blob.incomplete(self.brought + self.left.total(), self.brought))
    }

    /// Waits before the next attempt; gives the error back when there shall be none.
    async fn wait_after(&mut self, error: RegistryError) -> Option<RegistryError> {
        self.blob.forget_redirect();
        if error.kind() == ErrorKind::RangeUnsupported && self.left.count() > 1 && !self.one_by_one {
            // One range at a time may still do.
            tracing::info!(blob = %self.blob.digest(), %error, "several ranges in one request do not work here");
            self.blob.note_multi_range(false);
            self.one_by_one = true;
            return None;
        }
        let Some(pause) = self.patience.after(&error, self.had_ranges) else { return Some(error) };
        let (at, pause_ms) = (self.left.first().map(|range| range.start), pause.as_millis());
        tracing::debug!(blob = %self.blob.digest(), at, pause_ms, %error, "resuming a transfer");
        tokio::time::sleep(pause).await;
        self.blob.note_retry();
        None
    }

    async fn open(&mut self) -> Result<(), Stop> {
        let Some(first) = self.left.first() else { return Ok(()) };
        self.had_ranges |= self.blob.has_ranges() == Some(true);
        self.brought = 0;
        let all = first == ByteRange { start: 0, end: self.blob.size() };
        // Without a range header there is nothing a registry could dislike.
        let by_range = !all
            && match self.whole {
                WholeAnswer::HandOver => true,
                WholeAnswer::Take => self.blob.has_ranges() != Some(false),
                WholeAnswer::Ask => false,
            };
        let started = Instant::now();
        let answer = if !by_range {
            self.blob.get_all().await.map(Ranges::Body)
        } else if self.left.count() > 1 && !self.one_by_one {
            self.blob.get_many(&self.left.all()).await
        } else {
            self.blob.get(first).await.map(Ranges::Body)
        };
        let answer = match answer {
            Err(error)
                if by_range
                    && self.whole == WholeAnswer::Take
                    && error.kind() == ErrorKind::RangeUnsupported =>
            {
                self.blob.get_all().await.map(Ranges::Body)
            }
            answer => answer,
        };
        let answer = answer.map_err(Stop::Failed)?;
        self.blob.note_round_trip(started.elapsed());
        self.answer = Some(match answer {
            Ranges::Body(body) if self.whole == WholeAnswer::HandOver && !all && self.is_whole(&body) => {
                return Err(Stop::Whole(body));
            }
            Ranges::Body(body) => Answer::of(body),
            Ranges::Parts(parts) => Answer::Parts(parts),
        });
        Ok(())
    }

    fn is_whole(&self, body: &Body) -> bool {
        body.range() == ByteRange { start: 0, end: self.blob.size() }
    }

    /// Reads an answer whose bytes are all here to its end, so that its connection is used again. What goes wrong
    /// now does no harm.
    async fn drain(&mut self) {
        match self.answer.take() {
            Some(Answer::Body(mut body, position)) if body.range().end == position => {
                let _ = body.chunk().await;
            }
            // Only the closing delimiter is left, unless the server sends more than it was asked for.
            Some(Answer::Parts(mut parts)) => {
                let _ = parts.chunk().await;
            }
            _ => {}
        }
    }
}

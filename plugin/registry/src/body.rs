//! A body that is exactly as long as announced.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chunked_core::ByteRange;
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep};

use crate::error::{Failure, RegistryError, Subject};

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// The bytes of one range of a blob as they arrive, in order, without copying.
///
/// Never trusts the server about length: the stream gives exactly the bytes of [`Body::range`] and then ends,
/// or it ends with an error. Reading it to its end lets its connection be used again; dropping it before
/// closes the connection.
pub struct Body {
    range: ByteRange,
    /// Bytes still to come.
    left: u64,
    chunks: Option<Chunks>,
    subject: Subject,
    stall: Duration,
    /// When the wait that is going on becomes a stall.
    deadline: Option<Pin<Box<Sleep>>>,
    waiting: bool,
}

impl Body {
    pub(crate) fn new(
        response: reqwest::Response,
        range: ByteRange,
        subject: Subject,
        stall: Duration,
    ) -> Self {
        let chunks: Chunks = Box::pin(response.bytes_stream());
        Self {
            range,
            left: range.len(),
            chunks: Some(chunks),
            subject,
            stall,
            deadline: None,
            waiting: false,
        }
    }

    /// No bytes, without asking anybody.
    pub(crate) fn empty(range: ByteRange, subject: Subject, stall: Duration) -> Self {
        Self { range, left: range.len(), chunks: None, subject, stall, deadline: None, waiting: false }
    }

    /// The bytes of the blob that this body has: what was asked for, or the whole blob when the registry
    /// ignored the range.
    pub fn range(&self) -> ByteRange {
        self.range
    }

    /// The next bytes; never empty. `None` at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks or stalls, or the body has another length than [`Body::range`]. The stream
    /// is over then.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, RegistryError>> {
        self.next().await
    }

    fn accept(&mut self, bytes: &Bytes) -> Result<(), RegistryError> {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.subject.error(Failure::Length(self.range.len()))),
        }
    }

    fn end(&self) -> Option<RegistryError> {
        (self.left > 0).then(|| {
            let expected = self.range.len();
            self.subject.error(Failure::Short { expected, got: expected - self.left })
        })
    }

    /// Called when no data is there: lets the clock run only while somebody waits for data, so that a slow
    /// reader does not look like a slow server.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<RegistryError> {
        let stall = self.stall;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        if !self.waiting {
            self.waiting = true;
            deadline.as_mut().reset(Instant::now() + stall);
        }
        deadline.as_mut().poll(cx).map(|()| self.subject.error(Failure::Stalled(stall)))
    }
}

impl Stream for Body {
    type Item = Result<Bytes, RegistryError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let Some(chunks) = &mut this.chunks else { return Poll::Ready(None) };
            let item = match chunks.as_mut().poll_next(cx) {
                Poll::Pending => match this.wait(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(error) => Some(Err(error)),
                },
                Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => continue,
                Poll::Ready(Some(Ok(bytes))) => Some(this.accept(&bytes).map(|()| bytes)),
                Poll::Ready(Some(Err(error))) => Some(Err(this.subject.transport(error))),
                Poll::Ready(None) => this.end().map(Err),
            };
            this.waiting = false;
            if !matches!(item, Some(Ok(_))) {
                this.chunks = None;
            }
            return Poll::Ready(item);
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("range", &self.range).field("left", &self.left).finish_non_exhaustive()
    }
}

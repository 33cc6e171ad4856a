//! A body that is exactly as long as announced.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use chunked_core::ByteRange;
use futures_util::{Stream, StreamExt};

use crate::error::{Failure, RegistryError, Subject};
use crate::transport::Incoming;

/// The bytes of one range of a blob as they arrive, in order, without copying.
///
/// Never trusts the server about length: the stream gives exactly the bytes of [`Body::range`] and then ends,
/// or it ends with an error. Bytes beyond are not read. Reading it to its end lets its connection be used again;
/// dropping it before closes the connection.
pub struct Body {
    range: ByteRange,
    /// Bytes still to come.
    left: u64,
    /// Its length is not known: `left` is only a limit.
    open_ended: bool,
    chunks: Option<Box<Incoming>>,
    subject: Subject,
}

impl Body {
    pub(crate) fn new(chunks: Incoming, range: ByteRange, subject: Subject) -> Self {
        Self { range, left: range.len(), open_ended: false, chunks: Some(Box::new(chunks)), subject }
    }

    /// An answer of unknown length, of which at most `limit` bytes are read.
    pub(crate) fn open_ended(chunks: Incoming, limit: u64, subject: Subject) -> Self {
        Self { open_ended: true, ..Self::new(chunks, ByteRange { start: 0, end: limit }, subject) }
    }

    /// No bytes, without asking anybody.
    pub(crate) fn empty(range: ByteRange, subject: Subject) -> Self {
        Self { range, left: range.len(), open_ended: false, chunks: None, subject }
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
    /// When the connection breaks or stalls, or the body is shorter than [`Body::range`]. The stream is over
    /// then.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, RegistryError>> {
        self.next().await
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Cuts `bytes` to what is still to come. A body that is longer than that is not read on.
    fn accept(&mut self, mut bytes: Bytes) -> Bytes {
        if bytes.len() as u64 > self.left {
            bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.chunks = None;
        }
        self.left -= bytes.len() as u64;
        bytes
    }

    fn end(&self) -> Option<RegistryError> {
        (self.left > 0 && !self.open_ended).then(|| {
            let expected = self.range.len();
            self.subject.error(Failure::Short { expected, got: expected - self.left })
        })
    }
}

impl Stream for Body {
    type Item = Result<Bytes, RegistryError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(chunks) = &mut this.chunks else { return Poll::Ready(None) };
        let item = match ready!(chunks.poll_next_unpin(cx)) {
            // Longer than announced, by nothing but what comes now.
            Some(Ok(_)) if this.left == 0 => None,
            Some(Ok(bytes)) => Some(Ok(this.accept(bytes))),
            Some(Err(failure)) => Some(Err(this.subject.error(failure))),
            None => this.end().map(Err),
        };
        if let (Some(Err(error)), Some(chunks)) = (&item, &this.chunks)
            && matches!(error.failure(), Failure::Short { .. })
        {
            chunks.blame(error.said());
        }
        if !matches!(item, Some(Ok(_))) {
            this.chunks = None;
        }
        Poll::Ready(item)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("range", &self.range).field("left", &self.left).finish_non_exhaustive()
    }
}

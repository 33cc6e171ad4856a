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
/// or it ends with an error. Reading it to its end lets its connection be used again; dropping it before
/// closes the connection.
pub struct Body {
    range: ByteRange,
    /// Bytes still to come.
    left: u64,
    chunks: Option<Box<Incoming>>,
    subject: Subject,
}

impl Body {
    pub(crate) fn new(chunks: Incoming, range: ByteRange, subject: Subject) -> Self {
        Self { range, left: range.len(), chunks: Some(Box::new(chunks)), subject }
    }

    /// No bytes, without asking anybody.
    pub(crate) fn empty(range: ByteRange, subject: Subject) -> Self {
        Self { range, left: range.len(), chunks: None, subject }
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
}

impl Stream for Body {
    type Item = Result<Bytes, RegistryError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(chunks) = &mut this.chunks else { return Poll::Ready(None) };
        let item = match ready!(chunks.poll_next_unpin(cx)) {
            Some(Ok(bytes)) => Some(this.accept(&bytes).map(|()| bytes)),
            Some(Err(failure)) => Some(Err(this.subject.error(failure))),
            None => this.end().map(Err),
        };
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

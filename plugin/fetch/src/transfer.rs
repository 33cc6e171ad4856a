//! One stretch of a blob by one request, resumed where a body broke off. The seam for retry policies.

use bytes::{Buf, Bytes};
use chunked_core::ByteRange;
use chunked_registry::{Blob, Body, ErrorKind, RegistryError};

use crate::patience::Patience;

/// What to make of a registry that answers a range with the whole blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WholeAnswer {
    /// Skip what lies before the stretch, and take the rest from it.
    Take,
    /// Give the body to the caller: [`Stop::Whole`].
    HandOver,
}

/// Why a transfer ended before its stretch did.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The registry sends the whole blob.
    Whole(Body),
    /// It failed for good.
    Failed(RegistryError),
}

/// A stretch of a blob on its way.
#[derive(Debug)]
pub(crate) struct Transfer {
    blob: Blob,
    /// What has not arrived yet.
    left: ByteRange,
    whole: WholeAnswer,
    body: Option<Body>,
    /// Where in the blob `body` is.
    position: u64,
    patience: Patience,
}

impl Transfer {
    pub(crate) fn new(blob: Blob, left: ByteRange, whole: WholeAnswer) -> Self {
        Self { blob, left, whole, body: None, position: 0, patience: Patience::default() }
    }

    /// A transfer that goes on with a whole body.
    pub(crate) fn from_whole(blob: Blob, left: ByteRange, body: Body) -> Self {
        let position = body.range().start;
        Self { body: Some(body), position, ..Self::new(blob, left, WholeAnswer::Take) }
    }

    /// The next bytes of the stretch with their offset in the blob; `None` when it is complete.
    pub(crate) async fn next(&mut self) -> Option<Result<(u64, Bytes), Stop>> {
        loop {
            if self.left.is_empty() {
                self.drain().await;
                return None;
            }
            let result = match self.body.as_mut() {
                None => self.open().await,
                Some(body) => match body.chunk().await {
                    Some(Ok(bytes)) => match self.take(bytes) {
                        Some(piece) => return Some(Ok(piece)),
                        None => continue,
                    },
                    Some(Err(error)) => Err(Stop::Failed(error)),
                    // Ended as announced, which a broken stretch does not: ask for the rest.
                    None => {
                        self.body = None;
                        continue;
                    }
                },
            };
            if let Err(stop) = result {
                self.body = None;
                match stop {
                    Stop::Failed(error) => {
                        let Some(pause) = self.patience.after(&error) else {
                            return Some(Err(Stop::Failed(error)));
                        };
                        let (at, pause_ms) = (self.left.start, pause.as_millis());
                        tracing::debug!(blob = %self.blob.digest(), at, pause_ms, %error, "resuming a transfer");
                        tokio::time::sleep(pause).await;
                    }
                    whole => return Some(Err(whole)),
                }
            }
        }
    }

    async fn open(&mut self) -> Result<(), Stop> {
        let size = self.blob.size();
        let all = self.left == ByteRange { start: 0, end: size };
        // Without a range header there is nothing a registry could dislike.
        let by_range = !all && (self.whole == WholeAnswer::HandOver || self.blob.has_ranges() != Some(false));
        let body = if by_range { self.blob.get(self.left).await } else { self.blob.get_all().await };
        let body = match body {
            Err(error) if self.whole == WholeAnswer::Take && error.kind() == ErrorKind::RangeUnsupported => {
                self.blob.get_all().await
            }
            body => body,
        };
        let body = body.map_err(Stop::Failed)?;
        if body.range() != self.left && self.whole == WholeAnswer::HandOver {
            return Err(Stop::Whole(body));
        }
        self.position = body.range().start;
        self.body = Some(body);
        Ok(())
    }

    /// Cuts `bytes`, which begin at `position`, to what is wanted.
    fn take(&mut self, mut bytes: Bytes) -> Option<(u64, Bytes)> {
        let end = self.position.saturating_add(bytes.len() as u64);
        if end <= self.left.start {
            self.position = end;
            return None;
        }
        let skip = self.left.start.saturating_sub(self.position);
        bytes.advance(usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len()));
        bytes.truncate(usize::try_from(self.left.len()).unwrap_or(usize::MAX));
        let offset = self.left.start;
        self.position = end;
        self.left.start += bytes.len() as u64;
        self.patience.progress(bytes.len() as u64);
        Some((offset, bytes))
    }

    /// Reads a body whose bytes are all here to its end, so that its connection is used again. What goes wrong
    /// now does no harm.
    async fn drain(&mut self) {
        if let Some(mut body) = self.body.take()
            && body.range().end == self.left.end
        {
            let _ = body.chunk().await;
        }
    }
}

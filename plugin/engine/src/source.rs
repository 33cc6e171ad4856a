//! Fetched segments as what the extractor's thread needs: bytes of a range, or a reader over one.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chunked_core::{Algorithm, ByteRange, ObjectDigest, ObjectHasher};
use chunked_fetch::{FetchError, Segment, Segments};
use tokio::sync::mpsc;

use crate::report::Counters;

/// Segments in blob order, consumed in blob order.
#[derive(Debug)]
pub(crate) struct Source {
    segments: Segments,
    /// The transfer failed: what had arrived of the rest, in blob order and with gaps.
    arrived: Option<VecDeque<Segment>>,
    /// Unconsumed rest of the last segment.
    rest: Bytes,
    /// Offset in the blob of the first byte of `rest`.
    offset: u64,
    counters: Arc<Counters>,
}

/// Why a range could not be had.
#[derive(Debug)]
pub(crate) enum SourceError {
    Fetch(FetchError),
    /// The range at this offset lies before what was consumed: the TOC contradicts the order of the tar, which is
    /// the order of the blob.
    Order(u64),
    /// The transfer ended before this offset without saying why.
    Ended(u64),
}

impl Source {
    pub(crate) fn new(segments: Segments, counters: Arc<Counters>) -> Self {
        Self { segments, arrived: None, rest: Bytes::new(), offset: 0, counters }
    }

    /// The next bytes, whatever they are; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        if !self.rest.is_empty() {
            self.offset += self.rest.len() as u64;
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let Some(segment) = self.segments.blocking_recv() else { return Ok(None) };
        let segment = segment?;
        self.counters.add_fetched(segment.data.len());
        self.offset = segment.offset + segment.data.len() as u64;
        Ok(Some(segment.data))
    }

    /// Makes `rest` begin at `start`.
    fn seek(&mut self, start: u64) -> Result<(), SourceError> {
        loop {
            if start < self.offset {
                return Err(SourceError::Order(start));
            }
            let skip = usize::try_from(start - self.offset).unwrap_or(usize::MAX);
            if skip < self.rest.len() {
                let _ = self.rest.split_to(skip);
                self.offset = start;
                return Ok(());
            }
            // Given back before the wait: what is not wanted of it may be what the transfer waits for to go on.
            self.offset += self.rest.len() as u64;
            self.rest = Bytes::new();
            let segment = self.receive(start)?;
            self.offset = segment.offset;
            self.rest = segment.data;
        }
    }

    /// The next segment. After the transfer failed, only if it brings the byte at `start` or comes before it: then
    /// a range that lacks something does not use up what later ones need.
    fn receive(&mut self, start: u64) -> Result<Segment, SourceError> {
        if let Some(arrived) = &mut self.arrived {
            let next = arrived.pop_front_if(|segment| segment.offset <= start);
            return next.ok_or(SourceError::Ended(start));
        }
        match self.segments.blocking_recv() {
            Some(Ok(segment)) => {
                self.counters.add_fetched(segment.data.len());
                Ok(segment)
            }
            failed => {
                let rest = std::iter::from_fn(|| self.segments.blocking_recv()?.ok());
                self.arrived = Some(rest.collect());
                Err(failed.and_then(Result::err).map_or(SourceError::Ended(start), SourceError::Fetch))
            }
        }
    }

    /// The transfer failed, and some of what had arrived is not used yet.
    pub(crate) fn has_arrived(&self) -> bool {
        self.arrived.as_ref().is_some_and(|arrived| !self.rest.is_empty() || !arrived.is_empty())
    }

    /// The bytes of `range`, which the caller has bounded and charged.
    pub(crate) fn take(&mut self, range: ByteRange) -> Result<Bytes, SourceError> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        self.seek(range.start)?;
        let len = usize::try_from(range.len()).map_err(|_| SourceError::Order(range.start))?;
        // Copied: a slice would keep all of what one read brought, which may be much more, and would not be given
        // back to the transfer, which may need it to go on.
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            self.seek(range.start + bytes.len() as u64)?;
            let n = self.rest.len().min(len - bytes.len());
            bytes.extend_from_slice(&self.rest.split_to(n));
            self.offset += n as u64;
        }
        Ok(bytes.freeze())
    }

    /// A reader over `range`.
    pub(crate) fn reader(&mut self, range: ByteRange) -> RangeReader<'_> {
        RangeReader { source: self, range, error: None }
    }
}

/// See [`Source::reader`].
#[derive(Debug)]
pub(crate) struct RangeReader<'a> {
    source: &'a mut Source,
    range: ByteRange,
    /// What ended it early, for the caller: `Read` can only say so much.
    pub(crate) error: Option<SourceError>,
}

impl Read for RangeReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.range.is_empty() || buffer.is_empty() {
            return Ok(0);
        }
        if let Err(error) = self.source.seek(self.range.start) {
            self.error = Some(error);
            return Err(io::Error::other("the transfer failed"));
        }
        let left = usize::try_from(self.range.len()).unwrap_or(usize::MAX);
        let n = self.source.rest.len().min(left).min(buffer.len());
        buffer[..n].copy_from_slice(&self.source.rest.split_to(n));
        self.source.offset += n as u64;
        self.range.start += n as u64;
        Ok(n)
    }
}

/// A whole blob as a reader.
#[derive(Debug)]
pub(crate) struct BlobReader {
    source: Source,
    have: Bytes,
    /// Of all bytes that left `source`.
    hasher: Option<ObjectHasher>,
    /// Who gets all bytes that left `source`, as long as he takes them.
    keeper: Option<mpsc::Sender<Bytes>>,
    /// What ended it early.
    pub(crate) error: Option<FetchError>,
}

impl BlobReader {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, have: Bytes::new(), hasher: None, keeper: None, error: None }
    }

    /// One that can tell the blob's digest by `algorithm`.
    pub(crate) fn hashing(source: Source, algorithm: Algorithm) -> Self {
        Self { hasher: Some(algorithm.hasher()), ..Self::new(source) }
    }

    /// The same, with somebody who gets all bytes, too.
    pub(crate) fn kept_by(self, keeper: Option<mpsc::Sender<Bytes>>) -> Self {
        Self { keeper, ..self }
    }

    /// Reads what the decoder left, if somebody keeps the blob.
    pub(crate) fn hand_on_rest(&mut self) {
        // What cannot be read now was not needed for the layer; the blob is then not kept.
        while self.keeper.is_some() && matches!(self.next(), Ok(Some(_))) {}
    }

    fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        let next = self.source.next()?;
        if let (Some(keeper), Some(bytes)) = (&self.keeper, &next)
            && keeper.blocking_send(bytes.clone()).is_err()
        {
            self.keeper = None;
        }
        if let (Some(hasher), Some(bytes)) = (&mut self.hasher, &next) {
            hasher.update(bytes);
        }
        Ok(next)
    }

    /// The digest of the whole blob, whose rest is read for it; `None` from a reader that does not hash.
    pub(crate) fn digest(mut self) -> Result<Option<ObjectDigest>, FetchError> {
        if self.hasher.is_some() {
            while self.next()?.is_some() {}
        }
        Ok(self.hasher.map(ObjectHasher::finish))
    }

    /// The first bytes, not consumed: at least `wanted` unless the blob is shorter.
    pub(crate) fn peek(&mut self, wanted: usize) -> Result<&[u8], FetchError> {
        while self.have.len() < wanted {
            let Some(more) = self.next()? else { break };
            if self.have.is_empty() {
                self.have = more;
            } else {
                let mut both = BytesMut::from(&self.have[..]);
                both.extend_from_slice(&more);
                self.have = both.freeze();
            }
        }
        Ok(&self.have)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.have.is_empty() {
            match self.next() {
                Ok(Some(bytes)) => self.have = bytes,
                Ok(None) => return Ok(0),
                Err(error) => {
                    self.error = Some(error);
                    return Err(io::Error::other("the transfer failed"));
                }
            }
        }
        let n = self.have.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.have.split_to(n));
        Ok(n)
    }
}

//! Blobs that are on this machine already: the same stream of segments, without requests and without patience.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chunked_core::ByteRange;
use futures_util::{Stream, StreamExt as _};

use crate::error::FetchError;
use crate::fetch::Segment;
use crate::segments::{Output, Segments};

/// Segments that wait in the channel: each may have 1 MiB, and more come at once when they are wanted.
const CHANNEL: usize = 2;

/// The bytes of some range of a blob, in any cuts.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A blob on this machine. Its bytes are no more trusted than a registry's.
pub trait Here: Debug + Send + Sync {
    /// Reads `range`, which is inside the blob and not empty.
    fn read(&self, range: ByteRange) -> Pieces;
}

/// Reads `ranges` of `blob`: gives every byte of every range once, in this order. Must be called inside a tokio
/// runtime.
pub fn read_here(blob: Arc<dyn Here>, ranges: Vec<ByteRange>) -> Segments {
    Segments::with_room(CHANNEL, |output| async move {
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            if let Err(error) = one(&*blob, range, &output).await {
                // The receiver may be gone already.
                let _ = output.send(Err(error)).await;
                return;
            }
        }
    })
}

/// Reads `range` of `blob` into memory; the caller has bounded it.
///
/// # Errors
/// [`FetchError::Here`] when not all of it can be read.
pub async fn read_part(blob: Arc<dyn Here>, range: ByteRange) -> Result<Bytes, FetchError> {
    let mut segments = read_here(blob, vec![range]);
    let mut bytes = BytesMut::new();
    while let Some(segment) = segments.recv().await {
        bytes.extend_from_slice(&segment?.data);
    }
    Ok(bytes.freeze())
}

async fn one(blob: &dyn Here, range: ByteRange, output: &Output) -> Result<(), FetchError> {
    let mut pieces = blob.read(range);
    let mut offset = range.start;
    let failed = |offset, source| FetchError::Here { offset, source };
    while let Some(piece) = pieces.next().await {
        let mut data = piece.map_err(|source| failed(offset, source))?;
        let left = range.end.saturating_sub(offset);
        data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        if data.is_empty() {
            continue;
        }
        let end = offset + data.len() as u64;
        if output.send(Ok(Segment { offset, data })).await.is_err() {
            return Ok(());
        }
        offset = end;
    }
    if offset < range.end {
        let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the blob ends there");
        return Err(failed(offset, source));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[derive(Debug)]
    struct Memory(Vec<u8>);

    impl Here for Memory {
        fn read(&self, range: ByteRange) -> Pieces {
            let at = |offset| usize::try_from(offset).unwrap().min(self.0.len());
            let bytes = self.0[at(range.start)..at(range.end)].to_vec();
            // One too many, as a careless reader would.
            let cut =
                bytes.chunks(7).map(|cut| Ok(Bytes::copy_from_slice(cut))).chain([Ok(Bytes::from("!"))]);
            Box::pin(stream::iter(cut.collect::<Vec<_>>()))
        }
    }

    #[tokio::test]
    async fn every_byte_of_every_range_once() {
        let blob = Arc::new(Memory((0..100).collect()));
        let ranges = [(3, 20), (20, 20), (30, 100)].map(|(start, end)| ByteRange { start, end });
        let mut segments = read_here(blob.clone(), ranges.to_vec());
        let mut got = Vec::new();
        while let Some(segment) = segments.recv().await {
            let Segment { offset, data } = segment.unwrap();
            got.extend((offset..).zip(data));
        }
        let wanted: Vec<(u64, u8)> =
            (3..20).chain(30..100).map(|at| (at, u8::try_from(at).unwrap())).collect();
        assert_eq!(got, wanted);
        assert_eq!(read_part(blob, ByteRange { start: 5, end: 8 }).await.unwrap()[..], [5, 6, 7]);
    }

    #[tokio::test]
    async fn a_blob_that_ends_early_is_an_error() {
        let blob = Arc::new(Memory(vec![1; 10]));
        let error = read_part(blob, ByteRange { start: 5, end: 20 }).await.unwrap_err();
        assert!(matches!(error, FetchError::Here { offset: 11, .. }), "{error}");
    }
}

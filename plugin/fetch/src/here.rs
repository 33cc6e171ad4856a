//! Blobs that are on this machine already: the same stream of segments, without requests and without patience.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use chunked_core::ByteRange;
use chunked_fair::{Permit, Share};
use futures_util::{Stream, StreamExt as _};

use crate::error::FetchError;
use crate::fetch::Segment;
use crate::memory::{Room, charge, charged, room};
use crate::segments::{Output, Segments};

/// Segments that wait in the channel: each may have [`PIECE`] bytes, and more come at once when they are wanted.
const CHANNEL: usize = 2;
/// Most bytes that containerd gives at a time. What has more is charged when it is here.
const PIECE: u64 = 1 << 20;

/// The bytes of some range of a blob, in any cuts.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A blob on this machine. Its bytes are no more trusted than a registry's.
pub trait Here: Debug + Send + Sync {
    /// Reads `range`, which is inside the blob and not empty.
    fn read(&self, range: ByteRange) -> Pieces;
}

/// Reads `ranges` of `blob`: gives every byte of every range once, in this order. What was read and is not used yet is
/// charged to `memory`; while that gives nothing, nothing is read. Must be called inside a tokio runtime.
pub fn read_here(blob: Arc<dyn Here>, ranges: Vec<ByteRange>, memory: Option<Arc<Share>>) -> Segments {
    Segments::with_room(CHANNEL, |output| async move {
        let reading = Reading { blob: &*blob, memory: memory.as_ref(), output: &output };
        for range in ranges.into_iter().filter(|range| !range.is_empty()) {
            if let Err(error) = reading.range(range).await {
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
pub async fn read_part(
    blob: Arc<dyn Here>,
    range: ByteRange,
    memory: Option<Arc<Share>>,
) -> Result<Bytes, FetchError> {
    let mut segments = read_here(blob, vec![range], memory);
    let mut bytes = BytesMut::new();
    while let Some(segment) = segments.recv().await {
        bytes.extend_from_slice(&segment?.data);
    }
    Ok(bytes.freeze())
}

/// A blob being read for somebody.
#[derive(Clone, Copy)]
struct Reading<'a> {
    blob: &'a dyn Here,
    memory: Option<&'a Arc<Share>>,
    output: &'a Output,
}

impl Reading<'_> {
    async fn range(self, range: ByteRange) -> Result<(), FetchError> {
        let failed = |offset, source| FetchError::Here { offset, source };
        let mut pieces = self.blob.read(range);
        let mut offset = range.start;
        while offset < range.end {
            // Before the bytes are asked for, because then they come.
            let wanted = PIECE.min(range.end - offset);
            let Some(room) = room(self.memory, wanted, true, self.output).await else { return Ok(()) };
            let Some(piece) = pieces.next().await else {
                let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the blob ends there");
                return Err(failed(offset, source));
            };
            let mut data = piece.map_err(|source| failed(offset, source))?;
            data.truncate(usize::try_from(range.end - offset).unwrap_or(usize::MAX));
            let len = data.len() as u64;
            if len > 0 && !self.hand_on(offset, data, room).await {
                return Ok(());
            }
            offset += len;
        }
        Ok(())
    }

    /// Hands `data` on, of which the bytes that `room` stands for are charged already. False when nobody wants it any more.
    async fn hand_on(self, offset: u64, mut data: Bytes, room: Room) -> bool {
        let paid = room.permit.as_ref().map_or(u64::MAX, Permit::bytes);
        let more = data.split_off(usize::try_from(paid).unwrap_or(usize::MAX).min(data.len()));
        let (len, permit) = (data.len() as u64, room.permit);
        let data = charged(data, permit.map(|mut permit| permit.split(len)));
        if self.output.send(Ok(Segment { offset, data })).await.is_err() {
            return false;
        }
        if more.is_empty() {
            return true;
        }
        // After the first part is on its way: what that holds may be all there is.
        let Some(data) = charge(self.memory, more, self.output).await else { return false };
        self.output.send(Ok(Segment { offset: offset + len, data })).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

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
        let mut segments = read_here(blob.clone(), ranges.to_vec(), None);
        let mut got = Vec::new();
        while let Some(segment) = segments.recv().await {
            let Segment { offset, data } = segment.unwrap();
            got.extend((offset..).zip(data));
        }
        let wanted: Vec<(u64, u8)> =
            (3..20).chain(30..100).map(|at| (at, u8::try_from(at).unwrap())).collect();
        assert_eq!(got, wanted);
        assert_eq!(read_part(blob, ByteRange { start: 5, end: 8 }, None).await.unwrap()[..], [5, 6, 7]);
    }

    #[tokio::test]
    async fn a_blob_that_ends_early_is_an_error() {
        let blob = Arc::new(Memory(vec![1; 10]));
        let error = read_part(blob, ByteRange { start: 5, end: 20 }, None).await.unwrap_err();
        assert!(matches!(error, FetchError::Here { offset: 11, .. }), "{error}");
    }
    /// Counts the bytes that were read and are held by somebody.
    #[derive(Debug)]
    struct Endless(Arc<AtomicU64>);

    impl Here for Endless {
        fn read(&self, _: ByteRange) -> Pieces {
            let read = Arc::clone(&self.0);
            Box::pin(stream::repeat_with(move || {
                read.fetch_add(100, Ordering::SeqCst);
                Ok(Bytes::from_static(&[7; 100]))
            }))
        }
    }

    #[tokio::test]
    async fn no_more_is_read_than_there_is_memory_for() {
        let (read, memory) = (Arc::<AtomicU64>::default(), Share::alone(1000));
        let blob = Arc::new(Endless(Arc::clone(&read)));
        let all = ByteRange { start: 0, end: 100_000 };
        let mut segments = read_here(blob, vec![all], Some(Arc::clone(&memory)));
        // Whoever keeps what he got is given no more than there is room for.
        let mut held = Vec::new();
        while let Ok(segment) = tokio::time::timeout(Duration::from_secs(1), segments.recv()).await {
            held.push(segment.unwrap().unwrap().data);
            assert!(held.len() <= 10);
        }
        assert!(!held.is_empty() && read.load(Ordering::SeqCst) <= 1000);
        held.clear();
        let mut got = 0;
        while let Some(segment) = segments.recv().await {
            got += segment.unwrap().data.len();
        }
        assert!(got > 98_000 && read.load(Ordering::SeqCst) == 100_000);
        assert!(memory.try_take(1000).is_some(), "everything was given back");
    }

    /// A reader that gives more at a time than was thought of.
    #[tokio::test]
    async fn long_pieces_are_charged_too() {
        let blob = Arc::new(Memory((0..100).collect()));
        let memory = Share::alone(3);
        let bytes =
            read_part(blob, ByteRange { start: 0, end: 100 }, Some(Arc::clone(&memory))).await.unwrap();
        assert_eq!(bytes[..], (0..100).collect::<Vec<u8>>()[..]);
        assert!(memory.try_take(3).is_some());
    }
}

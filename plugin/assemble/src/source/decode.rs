//! A fetched piece to its bytes.

use std::cell::RefCell;
use std::io::Read;

use bytes::Bytes;
use chunked_compression::Compression;
use chunked_core::{ByteRange, Hasher};

use crate::error::{AssembleError, lossy};
use crate::source::piece::FetchedPiece;
use crate::work::budget::{MAX_BUFFERED, Windows};
use crate::work::layer::Layer;

/// Bytes that a streaming decoder gives at a time.
const BUFFER: u32 = 256 << 10;
/// Bytes of a hole that are hashed between two looks whether the layer is still wanted.
const ZEROS: u64 = 8 << 20;

thread_local! {
    static DECODER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The bytes of `piece`, checked against its digest if it has one; `None` for a hole, which is checked too, unless the
/// `layer` is not wanted any more.
///
/// The output is exactly `piece.len` bytes or an error: a decompressor is never given more room.
pub(crate) fn decode(
    path: &[u8],
    piece: &FetchedPiece,
    layer: &Layer,
) -> Result<Option<Bytes>, AssembleError> {
    let Some(frames) = &piece.frames else { return hole(path, piece, layer).map(|()| None) };
    let failed = || AssembleError::Decode { path: lossy(path), offset: piece.offset, len: piece.len };
    if piece.len > MAX_BUFFERED {
        return Err(failed());
    }
    let len = usize::try_from(piece.len).map_err(|_| failed())?;
    let mut out = Vec::with_capacity(len);
    let decoded = DECODER.with_borrow_mut(|slot| {
        let decoder = match slot {
            Some(decoder) => decoder,
            None => slot.insert(zstd::bulk::Decompressor::new().map_err(|_| failed())?),
        };
        decoder.decompress_to_buffer(frames, &mut out).map_err(|_| failed())
    })?;
    if decoded != len || out.len() != len {
        return Err(failed());
    }
    let mut hasher = hasher(piece);
    hasher.iter_mut().for_each(|hasher| hasher.update(&out));
    check(path, piece, hasher)?;
    Ok(Some(Bytes::from(out)))
}

/// A hole may be of any length, and takes nothing but time.
fn hole(path: &[u8], piece: &FetchedPiece, layer: &Layer) -> Result<(), AssembleError> {
    let Some(mut hasher) = hasher(piece) else { return Ok(()) };
    let mut left = piece.len;
    while left > 0 {
        layer.check()?;
        let step = left.min(ZEROS);
        hasher.update_zeros(step);
        left -= step;
    }
    check(path, piece, Some(hasher))
}

/// The same with frames that are fetched once more, because those at hand gave `error`. Waits for the network.
///
/// # Errors
/// `error` when nobody can be asked, or when the same frames come again: then that is what the blob has.
/// [`AssembleError::Garbled`] when others come that are wrong, too.
pub(crate) fn decode_again(
    path: &[u8],
    piece: &FetchedPiece,
    layer: &Layer,
    error: AssembleError,
) -> Result<Option<Bytes>, AssembleError> {
    let Some((frames, again)) = piece.frames.as_ref().zip(piece.again.as_deref()) else { return Err(error) };
    let garbled = || AssembleError::Garbled { path: lossy(path), offset: piece.offset };
    let range = ByteRange { start: piece.offset, end: piece.offset + frames.len() as u64 };
    let mut second = Vec::with_capacity(frames.len());
    let read = again.again(range).ok_or_else(garbled)?.take(range.len()).read_to_end(&mut second);
    read.map_err(AssembleError::io(path, "fetching once more what came wrong"))?;
    if second == *frames {
        return Err(error);
    }
    let second = FetchedPiece { frames: Some(second.into()), again: None, ..piece.clone() };
    decode(path, &second, layer).map_err(|_| garbled())
}

/// What its bytes are hashed with, if anybody looks at the digest.
fn hasher(piece: &FetchedPiece) -> Option<Hasher> {
    piece.digest.map(|_| Hasher::new())
}

fn check(path: &[u8], piece: &FetchedPiece, hasher: Option<Hasher>) -> Result<(), AssembleError> {
    let (Some(expected), Some(hasher)) = (piece.digest, hasher) else { return Ok(()) };
    let found = hasher.finish();
    if found == expected {
        return Ok(());
    }
    Err(AssembleError::Digest { path: lossy(path), offset: piece.offset, expected, found })
}

/// Decodes a long piece from `compressed`, giving buffers of at most 256 KiB to `sink`, and checks length and
/// digest. `piece.frames` is ignored.
///
/// # Errors
/// [`AssembleError`] as for a short piece, or what `sink` returns.
pub(crate) fn decode_stream(
    path: &[u8],
    piece: &FetchedPiece,
    compressed: impl Read + Send,
    windows: &Windows,
    mut sink: impl FnMut(Bytes) -> Result<(), AssembleError>,
) -> Result<(), AssembleError> {
    let failed = || AssembleError::Decode { path: lossy(path), offset: piece.offset, len: piece.len };
    let failed = || windows.error().unwrap_or_else(failed);
    let mut decoder = Compression::Zstd.decoder_within(compressed, windows.room());
    let mut hasher = hasher(piece);
    let mut left = piece.len;
    loop {
        let mut buffer = Vec::with_capacity(BUFFER as usize);
        // One byte beyond the end shows a piece that is too long.
        let room = (left + 1).min(BUFFER.into());
        (&mut decoder).take(room).read_to_end(&mut buffer).map_err(|_| failed())?;
        if buffer.is_empty() {
            break;
        }
        left = left.checked_sub(buffer.len() as u64).ok_or_else(failed)?;
        hasher.iter_mut().for_each(|hasher| hasher.update(&buffer));
        sink(Bytes::from(buffer))?;
    }
    if left != 0 {
        return Err(failed());
    }
    check(path, piece, hasher)
}

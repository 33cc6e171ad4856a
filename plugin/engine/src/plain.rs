//! Every other layer: the whole blob, decompressed as it comes, through the same extractor.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use chunked_assemble::{AssembleError, Budget, Extracted, Extractor, Permit};
use chunked_compression::Compression;
use chunked_core::ObjectDigest;

use crate::error::EngineError;
use crate::source::BlobReader;

/// Decompressed bytes handed on at a time.
const BUFFER: usize = 256 * 1024;

/// How a whole layer went wrong.
#[derive(Debug)]
pub(crate) enum PlainError {
    Fetch(chunked_fetch::FetchError),
    Decompress(&'static str, io::Error),
    /// There is no memory for the window of a zstd frame, and never will be.
    Window(AssembleError),
    Assemble(AssembleError),
}

impl PlainError {
    /// The error of `layer`.
    pub(crate) fn of(self, layer: ObjectDigest) -> EngineError {
        match self {
            Self::Fetch(source) => EngineError::Fetch { layer, source },
            Self::Decompress(format, source) => EngineError::Decompress { layer, format, source },
            Self::Window(source) | Self::Assemble(source) => EngineError::Assemble { layer, source },
        }
    }
}

/// A buffer whose memory is charged to the layer's budget until its last slice is gone.
struct Charged {
    bytes: Vec<u8>,
    _permit: Permit,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Runs a whole blob of this media type through the extractor. Blocks on the network and the disk.
pub(crate) fn run(
    blob: &mut BlobReader,
    media_type: &str,
    mut extractor: Extractor,
    budget: &Arc<Budget>,
) -> Result<Extracted, PlainError> {
    let start = blob.peek(chunked_compression::PEEK).map_err(PlainError::Fetch)?;
    let format = Compression::of_layer(media_type, start);
    let windows = budget.windows(u64::MAX);
    let result = pump(format.decoder_within(&mut *blob, windows.room()), &mut extractor, budget);
    // The decoder's error hides the transfer's.
    if let Some(error) = blob.error.take() {
        return Err(PlainError::Fetch(error));
    }
    if let Some(error) = windows.error() {
        return Err(PlainError::Window(error));
    }
    match result {
        Ok(()) => extractor.finish().map_err(PlainError::Assemble),
        Err(Pump::Read(error)) => Err(PlainError::Decompress(format.name(), error)),
        Err(Pump::Assemble(error)) => Err(PlainError::Assemble(error)),
    }
}

enum Pump {
    Read(io::Error),
    Assemble(AssembleError),
}

fn pump(mut decoder: impl Read, extractor: &mut Extractor, budget: &Arc<Budget>) -> Result<(), Pump> {
    loop {
        let permit = match budget.now(BUFFER as u64) {
            Some(permit) => permit,
            None => {
                extractor.hand_on().map_err(Pump::Assemble)?;
                budget.acquire(BUFFER as u64).map_err(Pump::Assemble)?
            }
        };
        let mut bytes = Vec::with_capacity(BUFFER);
        let n = decoder.by_ref().take(BUFFER as u64).read_to_end(&mut bytes).map_err(Pump::Read)?;
        if n == 0 {
            return Ok(());
        }
        extractor.stream(Bytes::from_owner(Charged { bytes, _permit: permit })).map_err(Pump::Assemble)?;
    }
}

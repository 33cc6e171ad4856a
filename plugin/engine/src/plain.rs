//! Every other layer: the whole blob, decompressed as it comes, through the same extractor.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use chunked_assemble::{AssembleError, Budget, Extracted, Extractor, Permit};

use crate::source::BlobReader;

/// Decompressed bytes handed on at a time.
const BUFFER: usize = 512 * 1024;

/// How a whole layer went wrong.
#[derive(Debug)]
pub(crate) enum PlainError {
    Fetch(chunked_fetch::FetchError),
    Decompress(&'static str, io::Error),
    Assemble(AssembleError),
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

/// Runs a whole blob through the extractor. Blocks on the network and the disk. The compression is told by the
/// blob's first bytes, not by its media type, as containerd does.
pub(crate) fn run(
    mut blob: BlobReader,
    mut extractor: Extractor,
    budget: &Arc<Budget>,
) -> Result<Extracted, PlainError> {
    let format = format(blob.peek(4).map_err(PlainError::Fetch)?);
    let result = match format {
        "gzip" => pump(
            flate2::read::MultiGzDecoder::new(io::BufReader::with_capacity(64 * 1024, &mut blob)),
            &mut extractor,
            budget,
        ),
        "zstd" => zstd_decoder(&mut blob)
            .map_err(Pump::Read)
            .and_then(|decoder| pump(decoder, &mut extractor, budget)),
        _ => pump(&mut blob, &mut extractor, budget),
    };
    // The decoder's error hides the transfer's.
    if let Some(error) = blob.error.take() {
        return Err(PlainError::Fetch(error));
    }
    match result {
        Ok(()) => extractor.finish().map_err(PlainError::Assemble),
        Err(Pump::Read(error)) => Err(PlainError::Decompress(format, error)),
        Err(Pump::Assemble(error)) => Err(PlainError::Assemble(error)),
    }
}

fn zstd_decoder(blob: &mut BlobReader) -> io::Result<impl Read + '_> {
    let mut decoder = zstd::stream::read::Decoder::new(blob)?;
    // zstd's own default limit: a frame may not ask for more memory than 128 MiB.
    decoder.window_log_max(27)?;
    Ok(decoder)
}

/// The compression that begins with these bytes (RFC 1952, RFC 8878).
fn format(start: &[u8]) -> &'static str {
    match start {
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => "zstd",
        _ => "tar",
    }
}

enum Pump {
    Read(io::Error),
    Assemble(AssembleError),
}

fn pump(mut decoder: impl Read, extractor: &mut Extractor, budget: &Arc<Budget>) -> Result<(), Pump> {
    loop {
        let permit = budget.acquire(BUFFER as u64);
        let mut bytes = Vec::with_capacity(BUFFER);
        let n = decoder.by_ref().take(BUFFER as u64).read_to_end(&mut bytes).map_err(Pump::Read)?;
        if n == 0 {
            return Ok(());
        }
        extractor.stream(Bytes::from_owner(Charged { bytes, _permit: permit })).map_err(Pump::Assemble)?;
    }
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn formats_by_magic() {
        assert_eq!(format(b"\x1f\x8b\x08\0"), "gzip");
        assert_eq!(format(b"\x28\xb5\x2f\xfd"), "zstd");
        assert_eq!(format(b"\x5a\x2a\x4d\x18"), "zstd");
        assert_eq!(format(b"usr/"), "tar");
        assert_eq!(format(b""), "tar");
    }
}

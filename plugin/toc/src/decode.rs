//! Bounded zstd decoding.

use std::io::{self, Read};

use zstd::stream::read::Decoder;

use crate::error::TocError;
use crate::limits;

/// Base-2 logarithm of the smallest window that a frame can declare.
const SMALLEST_WINDOW_LOG: u32 = 10;

/// A streaming decoder over `compressed` that goes on over concatenated frames.
pub(crate) fn decoder(compressed: &[u8]) -> io::Result<Decoder<'static, &[u8]>> {
    let mut decoder = Decoder::with_buffer(compressed)?;
    decoder.window_log_max(limits::WINDOW_LOG)?;
    Ok(decoder)
}

/// The same for windows of at most `window` bytes, rounded up to a power of 2.
pub(crate) fn within(compressed: &[u8], window: u64) -> io::Result<Decoder<'static, &[u8]>> {
    let log = u64::BITS - window.saturating_sub(1).leading_zeros();
    let mut decoder = Decoder::with_buffer(compressed)?;
    decoder.window_log_max(log.clamp(SMALLEST_WINDOW_LOG, limits::WINDOW_LOG))?;
    Ok(decoder)
}

/// Decompresses all of `compressed`, which must give exactly `declared` bytes. Stops after one byte more.
pub(crate) fn exactly(what: &'static str, compressed: &[u8], declared: u64) -> Result<Vec<u8>, TocError> {
    let failed = |source| TocError::Decompress { what, source };
    let reserved = usize::try_from(declared.min(limits::RESERVED_BYTES)).unwrap_or(0);
    let mut output = Vec::with_capacity(reserved);
    let limit = declared.saturating_add(1);
    decoder(compressed).map_err(failed)?.take(limit).read_to_end(&mut output).map_err(failed)?;
    let actual = output.len() as u64;
    if actual != declared {
        return Err(TocError::Length { what, declared, actual });
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_must_have_the_declared_length() {
        let bytes = vec![b'x'; 10_000];
        let compressed = zstd::encode_all(bytes.as_slice(), 3).unwrap();
        assert_eq!(exactly("toc", &compressed, 10_000).unwrap(), bytes);
        for (declared, actual) in [(9_999, 10_000), (10_001, 10_000), (5, 6), (u64::MAX, 10_000)] {
            match exactly("toc", &compressed, declared) {
                Err(TocError::Length { declared: d, actual: a, .. }) => {
                    assert_eq!((d, a), (declared, actual));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn cut_or_foreign_input_is_an_error() {
        let compressed = zstd::encode_all([7u8; 500].as_slice(), 3).unwrap();
        for bad in [&compressed[..compressed.len() - 1], b"not zstd at all".as_slice()] {
            assert!(matches!(exactly("toc", bad, 500), Err(TocError::Decompress { .. })));
        }
    }

    #[test]
    fn several_frames_are_one_document() {
        let mut compressed = zstd::encode_all(b"one ".as_slice(), 3).unwrap();
        compressed.extend(zstd::encode_all(b"".as_slice(), 3).unwrap());
        compressed.extend(zstd::encode_all(b"two".as_slice(), 3).unwrap());
        assert_eq!(exactly("toc", &compressed, 7).unwrap(), b"one two");
    }
}

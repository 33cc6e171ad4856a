//! The tar-split: every byte of the layer's tar that is no file payload, and where the payloads go
//! (zstd-chunked.md §9). Streamed, because it is larger than the TOC.

mod line;

use std::io::{BufRead, BufReader, Read};

use zstd::stream::read::Decoder;

use crate::decode;
use crate::error::{SplitError, TocError};
use crate::limits;

const WHAT: &str = "tar-split";

/// Bytes decompressed at a time.
const BUFFER: usize = 128 << 10;

/// A piece of the tar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitItem {
    /// Raw bytes: the last payload's padding, extension headers, a header, or the end of the archive.
    Segment(Vec<u8>),
    /// The place of a file's payload. Directories and the like have one too, of no bytes.
    File {
        /// Name in the tar, which need not be UTF-8.
        name: Vec<u8>,
        /// Length of the payload, in bytes.
        size: u64,
        /// CRC-64 (ISO) of the payload; a hint only, as the DiffID proves more.
        crc: Option<u64>,
    },
}

/// Reads a tar-split from `R`, which gives its uncompressed bytes.
///
/// Holds one line at a time, of at most [`limits::LINE_BYTES`], and never reads more than one byte beyond the
/// declared length.
#[derive(Debug)]
pub struct TarSplit<R> {
    input: BufReader<R>,
    line: Vec<u8>,
    /// Bytes read.
    read: u64,
    declared: u64,
    /// Lines read.
    lines: u64,
}

impl<'a> TarSplit<Decoder<'static, &'a [u8]>> {
    /// Reads the zstd-compressed tar-split `compressed`, of `declared_len` bytes when decompressed.
    ///
    /// # Errors
    ///
    /// [`TocError::Decompress`] when no decoder can be made.
    pub fn open(compressed: &'a [u8], declared_len: u64) -> Result<Self, TocError> {
        Self::open_within(compressed, declared_len, 1 << limits::WINDOW_LOG)
    }

    /// The same with a decoder whose window has at most `window` bytes, or as many more as make a power of 2.
    ///
    /// # Errors
    ///
    /// As for [`TarSplit::open`].
    pub fn open_within(compressed: &'a [u8], declared_len: u64, window: u64) -> Result<Self, TocError> {
        let failed = |source| TocError::Decompress { what: WHAT, source };
        Ok(Self::new(decode::within(compressed, window).map_err(failed)?, declared_len))
    }
}

impl<R: Read> TarSplit<R> {
    /// Reads uncompressed JSON lines that must have `declared_len` bytes in all.
    pub fn new(input: R, declared_len: u64) -> Self {
        let input = BufReader::with_capacity(BUFFER, input);
        Self { input, line: Vec::new(), read: 0, declared: declared_len, lines: 0 }
    }

    /// The next item in tar order, `None` after the last one.
    ///
    /// # Errors
    ///
    /// A line that is too long or not understood, more or fewer bytes than declared, a decoder's error. After
    /// an error the reader must not be used further.
    #[expect(
        clippy::should_implement_trait,
        reason = "nothing can be read after an error, which an iterator would invite to"
    )]
    pub fn next(&mut self) -> Result<Option<SplitItem>, TocError> {
        while self.fill()? {
            self.lines += 1;
            if !self.line.trim_ascii().is_empty() {
                let error = |source| TocError::Split { line: self.lines, source };
                return line::parse(&self.line).map(Some).map_err(error);
            }
        }
        Ok(None)
    }

    /// Reads a line; false at the end.
    fn fill(&mut self) -> Result<bool, TocError> {
        self.line.clear();
        // One long line shall not take memory for as long as the layer is made.
        self.line.shrink_to(BUFFER);
        let left = self.declared.saturating_sub(self.read).saturating_add(1);
        let mut bounded = (&mut self.input).take(left.min(limits::LINE_BYTES + 1));
        let count = bounded
            .read_until(b'\n', &mut self.line)
            .map_err(|source| TocError::Decompress { what: WHAT, source })?;
        self.read = self.read.saturating_add(count as u64);
        let wrong = TocError::Length { what: WHAT, declared: self.declared, actual: self.read };
        if self.read > self.declared || (count == 0 && self.read < self.declared) {
            return Err(wrong);
        }
        if count as u64 > limits::LINE_BYTES {
            return Err(TocError::Split { line: self.lines + 1, source: SplitError::TooLong });
        }
        Ok(count > 0)
    }
}

#[cfg(test)]
mod tests;

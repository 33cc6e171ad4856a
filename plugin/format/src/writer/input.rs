//! The tar, read in blocks that frames, headers and hashes share without copying.

use std::io::Read;

use bytes::Bytes;
use chunked_core::Digest;

use crate::error::WriteError;
use crate::writer::lane::Whole;

/// Bytes read at a time.
const BLOCK: u64 = 1 << 20;

/// The input, and the hash of all of it.
#[derive(Debug)]
pub(super) struct Input<R> {
    reader: R,
    whole: Whole,
    block: Bytes,
    /// Bytes read from the reader.
    read: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(reader: R, whole: Whole) -> Self {
        Self { reader, whole, block: Bytes::new(), read: 0 }
    }

    /// Bytes given so far.
    pub(super) fn offset(&self) -> u64 {
        self.read - self.block.len() as u64
    }

    /// The next bytes, at most `most` of them; none at the end only.
    pub(super) fn next(&mut self, most: u64) -> Result<Bytes, WriteError> {
        if most == 0 {
            return Ok(Bytes::new());
        }
        if self.block.is_empty() {
            self.fill()?;
        }
        let len = usize::try_from(most).map_or(self.block.len(), |most| most.min(self.block.len()));
        Ok(self.block.split_to(len))
    }

    /// Appends `len` bytes to `to`, fewer at the end of the input; gives how many.
    pub(super) fn append(&mut self, len: u64, to: &mut Vec<u8>) -> Result<u64, WriteError> {
        let mut missing = len;
        while missing > 0 {
            let bytes = self.next(missing)?;
            if bytes.is_empty() {
                break;
            }
            to.extend_from_slice(&bytes);
            missing -= bytes.len() as u64;
        }
        Ok(len - missing)
    }

    /// Size and digest of the input; only after its end.
    pub(super) fn finish(self) -> Result<(u64, Digest), WriteError> {
        Ok((self.read, self.whole.finish()?))
    }

    fn fill(&mut self) -> Result<(), WriteError> {
        let mut block = Vec::with_capacity(usize::try_from(BLOCK).unwrap_or(0));
        let outcome = self.reader.by_ref().take(BLOCK).read_to_end(&mut block);
        outcome.map_err(|source| WriteError::Read { offset: self.read, source })?;
        self.read += block.len() as u64;
        self.block = Bytes::from(block);
        if self.block.is_empty() { Ok(()) } else { self.whole.add(self.block.clone()) }
    }
}

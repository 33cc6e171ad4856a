//! A blob somewhere else as something to seek in.

use std::io::{self, Read, Seek, SeekFrom};

use chunked_core::ByteRange;
use tokio::runtime::Handle;

use crate::document::Descriptor;
use crate::error::ConvertError;
use crate::source::Source;

/// Bytes asked for at least: a request costs about as much.
const READ_AHEAD: u64 = 256 << 10;
/// Bytes asked for at most.
const MOST: u64 = 8 << 20;

/// Reads by ranges. Must be used where blocking is allowed, inside a runtime.
pub(super) struct Reader {
    source: Source,
    descriptor: Descriptor,
    runtime: Handle,
    position: u64,
    /// Bytes at hand, and where they begin.
    have: (u64, Vec<u8>),
    /// Why the last read failed: an I/O error can only say so much.
    pub(super) failure: Option<ConvertError>,
}

impl Reader {
    /// Over the blob of `descriptor`. Asks nothing yet.
    pub(super) fn new(source: Source, descriptor: Descriptor) -> Self {
        let runtime = Handle::current();
        Self { source, descriptor, runtime, position: 0, have: (0, Vec::new()), failure: None }
    }

    fn at_hand(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.have.0).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.have.1.get(skip..)).unwrap_or_default()
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.descriptor.size || buffer.is_empty() {
            return Ok(0);
        }
        if self.at_hand().is_empty() {
            let wanted = (buffer.len() as u64).clamp(READ_AHEAD, MOST);
            let end = self.position.saturating_add(wanted).min(self.descriptor.size);
            // Near the end everything is of interest.
            let start = if end == self.descriptor.size { end.saturating_sub(wanted) } else { self.position };
            let range = ByteRange { start, end };
            match self.runtime.block_on(self.source.range(&self.descriptor, range)) {
                Ok(bytes) => self.have = (start, bytes),
                Err(error) => {
                    self.failure = Some(error);
                    return Err(io::Error::other("the transfer failed"));
                }
            }
        }
        let bytes = self.at_hand();
        let n = bytes.len().min(buffer.len());
        if let (Some(room), Some(bytes)) = (buffer.get_mut(..n), bytes.get(..n)) {
            room.copy_from_slice(bytes);
        }
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += n as u64;
        Ok(n)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.descriptor.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

//! Walks the frames of a zstd stream (RFC 8878 §3.1) without decompressing them.

use std::io::{BufReader, ErrorKind, Read};

use serde::Serialize;

use crate::inspect::InspectError;

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// Skippable frames that are told one by one.
const SKIPPABLE: usize = 16;

/// What a blob consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FrameStats {
    /// Frames of data, empty ones among them.
    pub data: u64,
    /// Their bytes in the blob.
    pub data_bytes: u64,
    /// Data frames of a single empty block.
    pub empty: u64,
    /// Data frames with a content checksum.
    pub with_checksum: u64,
    /// Data frames that say how long their content is.
    pub with_size: u64,
    /// Largest window that a data frame asks a decoder for, in bytes.
    pub largest_window: u64,
    /// Skippable frames.
    pub skippable: u64,
    /// The first of them: offset of the payload and its length, in bytes.
    pub skippable_payloads: Vec<(u64, u64)>,
}

/// Sees the data frames go by.
pub(super) trait Visitor {
    /// A data frame starts at `offset`.
    fn start(&mut self, offset: u64) -> Result<(), InspectError>;
    /// Its next bytes, header and blocks.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), InspectError>;
    /// It ends before `offset`; `size` is how much content it announced.
    fn end(&mut self, offset: u64, size: Option<u64>) -> Result<(), InspectError>;
}

/// Looks at no content.
pub(super) struct Nothing;

impl Visitor for Nothing {
    fn start(&mut self, _: u64) -> Result<(), InspectError> {
        Ok(())
    }
    fn bytes(&mut self, _: &[u8]) -> Result<(), InspectError> {
        Ok(())
    }
    fn end(&mut self, _: u64, _: Option<u64>) -> Result<(), InspectError> {
        Ok(())
    }
}

/// Walks to the end of `reader`.
pub(super) fn walk(reader: impl Read, visitor: &mut impl Visitor) -> Result<FrameStats, InspectError> {
    let mut walker = Walker {
        reader: BufReader::with_capacity(BUFFER, reader),
        offset: 0,
        buffer: Vec::new(),
        stats: FrameStats::default(),
    };
    while let Some(magic) = walker.magic()? {
        match magic {
            [0x28, 0xb5, 0x2f, 0xfd] => walker.data(magic, visitor)?,
            [0x50..=0x5f, 0x2a, 0x4d, 0x18] => walker.skippable()?,
            [0x1f, 0x8b, ..] if walker.offset == 4 => return Err(InspectError::NotZstd("a gzip header")),
            _ if walker.offset == 4 => return Err(InspectError::NotZstd("other bytes")),
            _ => return Err(walker.broken(4, "no zstd frame starts here")),
        }
    }
    if walker.offset == 0 {
        return Err(InspectError::NotZstd("nothing: it is empty"));
    }
    Ok(walker.stats)
}

struct Walker<R> {
    reader: BufReader<R>,
    /// Bytes read.
    offset: u64,
    buffer: Vec<u8>,
    stats: FrameStats,
}

impl<R: Read> Walker<R> {
    /// The next frame's magic; `None` at the end.
    fn magic(&mut self) -> Result<Option<[u8; 4]>, InspectError> {
        let mut magic = [0; 4];
        let mut filled = 0;
        while let Some(rest) = magic.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.offset += filled as u64;
        match filled {
            0 => Ok(None),
            4 => Ok(Some(magic)),
            _ => Err(self.broken(filled as u64, "the stream ends inside a frame's magic")),
        }
    }

    fn skippable(&mut self) -> Result<(), InspectError> {
        let [a, b, c, d] = *self.read(4)? else { return Err(self.ends()) };
        let len = u64::from(u32::from_le_bytes([a, b, c, d]));
        if self.stats.skippable_payloads.len() < SKIPPABLE {
            self.stats.skippable_payloads.push((self.offset, len));
        }
        self.stats.skippable += 1;
        let skipped = std::io::copy(&mut self.reader.by_ref().take(len), &mut std::io::sink())?;
        self.offset += skipped;
        if skipped == len { Ok(()) } else { Err(self.ends()) }
    }

    fn data(&mut self, magic: [u8; 4], visitor: &mut impl Visitor) -> Result<(), InspectError> {
        let start = self.offset - 4;
        visitor.start(start)?;
        visitor.bytes(&magic)?;
        let descriptor = *self.pass(1, visitor)?.first().unwrap_or(&0);
        let single_segment = descriptor & 0x20 != 0;
        let checksum = descriptor & 4 != 0;
        let (mut window, mut announced) = (0, None);
        if !single_segment {
            let byte = *self.pass(1, visitor)?.first().unwrap_or(&0);
            let base = 1u64 << (10 + (byte >> 3));
            window = base + base / 8 * u64::from(byte & 7);
        }
        self.pass([0, 1, 2, 4][usize::from(descriptor & 3)], visitor)?;
        let size_bytes = match descriptor >> 6 {
            0 => usize::from(single_segment),
            exponent => 1 << exponent,
        };
        if size_bytes > 0 {
            let mut size = [0; 8];
            size[..size_bytes].copy_from_slice(self.pass(size_bytes, visitor)?);
            // Two bytes count from 256 on.
            let size = u64::from_le_bytes(size).saturating_add(if size_bytes == 2 { 256 } else { 0 });
            window = if single_segment { size } else { window };
            announced = Some(size);
            self.stats.with_size += 1;
        }
        let mut blocks = 0u64;
        let mut content = false;
        loop {
            let [a, b, c] = *self.pass(3, visitor)? else { return Err(self.ends()) };
            let header = u32::from_le_bytes([a, b, c, 0]);
            let (last, kind, size) = (header & 1 == 1, header >> 1 & 3, header >> 3);
            blocks += 1;
            content |= size > 0;
            match kind {
                // zstd's streaming decoder takes it, its other one does not.
                2 if size == 0 => return Err(self.broken(3, "a compressed block without content")),
                0 | 2 => self.pass(usize::try_from(size).unwrap_or(usize::MAX), visitor)?,
                1 => self.pass(1, visitor)?,
                _ => return Err(self.broken(3, "a block of the reserved type")),
            };
            if last {
                break;
            }
        }
        if checksum {
            self.pass(4, visitor)?;
            self.stats.with_checksum += 1;
        }
        self.stats.data += 1;
        self.stats.empty += u64::from(blocks == 1 && !content);
        self.stats.data_bytes += self.offset - start;
        self.stats.largest_window = self.stats.largest_window.max(window);
        visitor.end(self.offset, announced)
    }

    /// Reads `len` bytes, at most a block of 2 MiB (its size field has 21 bits), and shows them.
    fn pass(&mut self, len: usize, visitor: &mut impl Visitor) -> Result<&[u8], InspectError> {
        self.read(len)?;
        visitor.bytes(&self.buffer)?;
        Ok(&self.buffer)
    }

    fn read(&mut self, len: usize) -> Result<&[u8], InspectError> {
        self.buffer.clear();
        let read = self.reader.by_ref().take(len as u64).read_to_end(&mut self.buffer)?;
        self.offset += read as u64;
        if read == len { Ok(&self.buffer) } else { Err(self.ends()) }
    }

    fn ends(&self) -> InspectError {
        self.broken(0, "the stream ends inside a frame")
    }

    /// What is wrong `back` bytes ago.
    fn broken(&self, back: u64, what: &str) -> InspectError {
        InspectError::Frame { offset: self.offset - back, what: what.to_owned() }
    }
}

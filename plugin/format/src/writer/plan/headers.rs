//! Reads one logical header: padding, extension headers, the header itself.

use std::io::{Read, Write};

use crate::entry::TocEntry;
use crate::error::WriteError;
use crate::header::{self, BLOCK, Block, Extensions, Header, MAX_EXTENSION};
use crate::reason::Reason;
use crate::writer::plan::Planner;

/// Bytes of headers before one entry. No writer needs more than a few extension headers.
const MOST: usize = 4 << 20;

/// What comes next in the tar.
#[derive(Debug)]
pub(super) enum Next {
    /// An entry with so many bytes of payload.
    Entry(Box<TocEntry>, u64),
    /// The end of the archive, or of the input where an archive may end.
    End,
    /// Something the format cannot express.
    Stop(Reason),
}

impl<R: Read, W: Write> Planner<R, W> {
    /// Reads up to the next entry's payload. All bytes read are in `segment`, whatever comes of it.
    pub(super) fn next_header(&mut self, segment: &mut Vec<u8>) -> Result<Next, WriteError> {
        let padding = std::mem::take(&mut self.padding);
        let found = self.input.append(padding, segment)?;
        if found < padding {
            // All of it may be missing, at the end; a part of it is no end that readers know.
            let whole = found == 0;
            return Ok(if whole { Next::End } else { self.truncated("padding") });
        }
        let start = self.input.offset();
        let mut extensions = Extensions::default();
        loop {
            let offset = self.input.offset();
            let first = offset == start;
            if segment.len() > MOST {
                return Ok(stop(start, "the extension headers are too long"));
            }
            let block = match self.block(segment)? {
                Ok(block) => block,
                Err(0) if first => return Ok(Next::End),
                Err(_) => return Ok(self.truncated("a header")),
            };
            if block == [0; BLOCK] {
                return if first { self.end(segment) } else { Ok(stop(offset, "an entry is missing")) };
            }
            let header = match header::parse(&block) {
                Ok(header) => header,
                Err(what) => return Ok(stop(offset, what)),
            };
            match header.typeflag {
                b'g' => return Ok(Next::Stop(Reason::GlobalHeader { offset })),
                b'x' | b'L' | b'K' => {
                    if let Some(reason) = self.extension(&header, offset, segment, &mut extensions)? {
                        return Ok(Next::Stop(reason));
                    }
                }
                _ => return Ok(self.entry(header, extensions, start)),
            }
        }
    }

    fn entry(&mut self, mut header: Header, extensions: Extensions, start: u64) -> Next {
        if let Err(what) = header.extend(extensions) {
            return stop(start, what);
        }
        match header.entry(start) {
            Ok((entry, payload)) => {
                self.padding = payload.wrapping_neg() % BLOCK as u64;
                Next::Entry(Box::new(entry), payload)
            }
            Err(reason) => Next::Stop(reason),
        }
    }

    /// A first block of zeros was read: a second one, or the end of the input, makes it the end of the archive.
    fn end(&mut self, segment: &mut Vec<u8>) -> Result<Next, WriteError> {
        let offset = self.input.offset();
        Ok(match self.block(segment)? {
            Ok(block) if block == [0; BLOCK] => Next::End,
            Ok(_) => stop(offset, "a single block of zeros is before it"),
            Err(0) => Next::End,
            Err(_) => self.truncated("the end of the archive"),
        })
    }

    /// Reads the data of an extension header and keeps what it says.
    fn extension(
        &mut self,
        header: &Header,
        offset: u64,
        segment: &mut Vec<u8>,
        extensions: &mut Extensions,
    ) -> Result<Option<Reason>, WriteError> {
        let wrong = |what| Ok(Some(Reason::Header { offset, what }));
        let size = match u64::try_from(header.size) {
            Ok(size) if header.size <= MAX_EXTENSION => size,
            _ => return wrong("the size of an extension header is out of range"),
        };
        let from = segment.len();
        let padded = size.next_multiple_of(BLOCK as u64);
        if self.input.append(padded, segment)? < padded {
            return Ok(Some(Reason::Truncated {
                offset: self.input.offset(),
                inside: "an extension header",
            }));
        }
        let to = from.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        let data = segment.get(from..to).unwrap_or_default();
        if let Err(what) = extensions.add(header.typeflag, data) {
            return wrong(what);
        }
        Ok(None)
    }

    /// Reads a block, or says how many bytes there are before the end of the input.
    fn block(&mut self, segment: &mut Vec<u8>) -> Result<Result<Block, u64>, WriteError> {
        let found = self.input.append(BLOCK as u64, segment)?;
        Ok(segment.last_chunk().filter(|_| found == BLOCK as u64).copied().ok_or(found))
    }

    fn truncated(&self, inside: &'static str) -> Next {
        Next::Stop(Reason::Truncated { offset: self.input.offset(), inside })
    }
}

fn stop(offset: u64, what: &'static str) -> Next {
    Next::Stop(Reason::Header { offset, what })
}

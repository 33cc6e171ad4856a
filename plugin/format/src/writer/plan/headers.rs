//! Reads one logical header: padding, extension headers, the header itself.

use std::io::{Read, Write};

use chunked_tar::{BLOCK, Header, HeaderParser, Refusal, Step};

use crate::entry::TocEntry;
use crate::error::WriteError;
use crate::header;
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
            // All of it may be missing, at the end; a part of it is no end that every reader knows.
            let whole = found == 0;
            return Ok(if whole { Next::End } else { self.truncated("padding") });
        }
        let (start, before) = (self.input.offset(), segment.len());
        let mut parser = HeaderParser::new();
        loop {
            let offset = self.input.offset();
            if segment.len() > MOST {
                return Ok(stop(start, "the extension headers are too long"));
            }
            let (from, wanted) = (segment.len(), parser.wanted());
            let found = usize::try_from(self.input.append(wanted as u64, segment)?).unwrap_or(0);
            let piece = segment.get(from..).unwrap_or_default();
            let step =
                if found < wanted { parser.may_end(found).map(|()| Step::End) } else { parser.feed(piece) };
            match step {
                Ok(Step::More) => {}
                Ok(Step::Header(header)) => return Ok(self.entry(*header, start)),
                Ok(Step::End) => {
                    // Not behind extension headers: a reader of the tar-split would miss their entry.
                    let clean = segment.iter().skip(before).all(|byte| *byte == 0);
                    return Ok(if clean { Next::End } else { stop(offset, "an entry is missing") });
                }
                Err(Refusal::UnexpectedEnd(inside)) => return Ok(self.truncated(inside)),
                Err(refusal) => return Ok(stop(offset, refusal.what())),
            }
        }
    }

    fn entry(&mut self, header: Header, start: u64) -> Next {
        match header::entry(header, start) {
            Ok((entry, payload)) => {
                self.padding = payload.wrapping_neg() % BLOCK as u64;
                Next::Entry(Box::new(entry), payload)
            }
            Err(reason) => Next::Stop(reason),
        }
    }

    fn truncated(&self, inside: &'static str) -> Next {
        Next::Stop(Reason::Truncated { offset: self.input.offset(), inside })
    }
}

fn stop(offset: u64, what: &'static str) -> Next {
    Next::Stop(Reason::Header { offset, what })
}

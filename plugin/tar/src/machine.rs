//! The state machine over a tar stream.

use bytes::{Buf, Bytes};
use chunked_core::Entry;

use crate::block::BLOCK;
use crate::entry::entry;
use crate::error::{Refusal, TarError};
use crate::parser::{HeaderParser, Step};

/// What [`Machine::next`] found.
#[derive(Debug)]
pub enum Event {
    /// An entry begins; its payload, if any, follows.
    Entry(Entry),
    /// Payload bytes of the entry last announced.
    Data(Bytes),
}

#[derive(Debug)]
enum State {
    /// Reading headers.
    Header,
    Payload {
        remaining: u64,
        padding: u64,
    },
    Padding {
        remaining: u64,
    },
    /// End-of-archive seen: what follows is only hashed, as by every tar reader.
    End,
}

/// Splits a tar stream into entries and payload, whatever the cuts of its input.
#[derive(Debug)]
pub struct Machine {
    parser: HeaderParser,
    state: State,
    /// The start of what the parser wants, when the input ended within it.
    carry: Vec<u8>,
    /// Bytes of the stream consumed so far (carry excluded).
    offset: u64,
    /// Where the logical header being read starts.
    start: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine at the start of a tar.
    pub fn new() -> Self {
        Self { parser: HeaderParser::new(), state: State::Header, carry: Vec::new(), offset: 0, start: 0 }
    }

    /// The next event from `input`, which is advanced; `None` when more input is needed.
    ///
    /// # Errors
    /// [`TarError`] for bytes that are not a tar; the machine must not be used after one.
    pub fn next(&mut self, input: &mut Bytes) -> Result<Option<Event>, TarError> {
        loop {
            match &mut self.state {
                State::End => {
                    self.offset += input.len() as u64;
                    input.clear();
                    return Ok(None);
                }
                State::Payload { remaining, padding } => {
                    if *remaining == 0 {
                        self.state = State::Padding { remaining: *padding };
                        continue;
                    }
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let n = usize::try_from(*remaining).map_or(input.len(), |r| r.min(input.len()));
                    *remaining -= n as u64;
                    self.offset += n as u64;
                    return Ok(Some(Event::Data(input.split_to(n))));
                }
                State::Padding { remaining } => {
                    let n = usize::try_from(*remaining).map_or(input.len(), |r| r.min(input.len()));
                    input.advance(n);
                    self.offset += n as u64;
                    *remaining -= n as u64;
                    if *remaining > 0 {
                        return Ok(None);
                    }
                    self.state = State::Header;
                    self.start = self.offset;
                }
                State::Header => match self.header(input)? {
                    None => return Ok(None),
                    Some(Step::More) => {}
                    Some(Step::End) => self.state = State::End,
                    Some(Step::Header(header)) => {
                        let remaining = header.payload;
                        let padding = remaining.wrapping_neg() % BLOCK as u64;
                        let entry = entry(self.start, *header)?;
                        self.state = State::Payload { remaining, padding };
                        return Ok(Some(Event::Entry(entry)));
                    }
                },
            }
        }
    }

    /// Takes the whole payload of the entry just announced from elsewhere: `len` bytes that will not come
    /// through [`Machine::next`].
    ///
    /// # Errors
    /// [`TarError::Payload`] unless the stream is exactly at the start of a payload of `len` bytes.
    pub fn take_payload(&mut self, len: u64) -> Result<(), TarError> {
        let (expected, padding) = match self.state {
            State::Payload { remaining, padding } => (remaining, padding),
            _ => (0, 0),
        };
        if expected != len || !matches!(self.state, State::Payload { .. }) {
            return Err(TarError::Payload { offset: self.offset, expected, offered: len });
        }
        self.offset += len;
        self.state = State::Padding { remaining: padding };
        Ok(())
    }

    /// Checks that the stream may end here: between entries, within padding, or after the end-of-archive blocks.
    ///
    /// # Errors
    /// [`TarError::Truncated`] inside a header or payload.
    pub fn finish(&self) -> Result<(), TarError> {
        let inside = match self.state {
            State::Payload { remaining: 0, .. } | State::Padding { .. } | State::End => return Ok(()),
            State::Payload { .. } => "a payload",
            State::Header => match self.parser.may_end(self.carry.len()) {
                Ok(()) => return Ok(()),
                Err(Refusal::UnexpectedEnd(inside)) => inside,
                Err(source) => return Err(TarError::Header { offset: self.offset, source }),
            },
        };
        Err(TarError::Truncated { offset: self.offset + self.carry.len() as u64, inside })
    }

    /// Gives the parser what it wants; `None` when the input has less.
    fn header(&mut self, input: &mut Bytes) -> Result<Option<Step>, TarError> {
        let wanted = self.parser.wanted();
        let missing = wanted.saturating_sub(self.carry.len());
        if missing > input.len() {
            self.carry.extend_from_slice(input);
            input.clear();
            return Ok(None);
        }
        let rest = input.split_to(missing);
        let step = if self.carry.is_empty() {
            self.parser.feed(&rest)
        } else {
            let mut whole = std::mem::take(&mut self.carry);
            whole.extend_from_slice(&rest);
            self.parser.feed(&whole)
        };
        let step = step.map_err(|source| TarError::Header { offset: self.offset, source })?;
        self.offset += wanted as u64;
        Ok(Some(step))
    }
}

#[cfg(test)]
mod tests;

//! The state machine over a tar stream.

use bytes::{Buf, Bytes};
use chunked_core::Entry;
use tar_core::parse::{Limits, ParseEvent, Parser};

use crate::TarError;
use crate::parse;

/// Longest run of headers (extension headers, sparse maps) before one entry, in bytes.
const MAX_HEADERS: usize = 8 << 20;

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
    /// Collecting headers; `carry` holds the bytes of a header that spans inputs.
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
    parser: Parser,
    state: State,
    carry: Vec<u8>,
    /// Bytes needed in `carry` before parsing makes progress.
    wanted: usize,
    /// Bytes of the stream consumed so far (carry excluded).
    offset: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// A machine at the start of a tar.
    pub fn new() -> Self {
        let limits = Limits { max_path_len: Some(4096), max_sparse_entries: 100_000, ..Limits::default() };
        let mut parser = Parser::new(limits);
        // Times before 1970 are legal PAX values that tar-core refuses; `parse` reads times itself.
        parser.set_ignore_pax_errors(true);
        parser.set_allow_empty_path(true);
        Self { parser, state: State::Header, carry: Vec::new(), wanted: 0, offset: 0 }
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
                }
                State::Header => match self.header(input)? {
                    Step::More => return Ok(None),
                    Step::Again => {}
                    Step::Entry(entry) => return Ok(Some(Event::Entry(*entry))),
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

    /// Checks that the stream may end here: at an entry boundary or after the end-of-archive blocks.
    ///
    /// # Errors
    /// [`TarError::Truncated`] inside a header or payload.
    pub fn finish(&self) -> Result<(), TarError> {
        let inside = match self.state {
            // One lone zero block, or none, at the end of the stream is a clean end to Go's reader too.
            State::Header if self.carry.iter().all(|&b| b == 0) => return Ok(()),
            State::Header => "a header",
            State::Payload { remaining: 0, .. } | State::Padding { .. } | State::End => return Ok(()),
            State::Payload { .. } => "a payload",
        };
        Err(TarError::Truncated { offset: self.offset + self.carry.len() as u64, inside })
    }

    fn header(&mut self, input: &mut Bytes) -> Result<Step, TarError> {
        if self.carry.is_empty() {
            let (step, consumed, wanted) = self.parse(input)?;
            input.advance(consumed);
            self.offset += consumed as u64;
            if !matches!(step, Step::More) {
                return Ok(step);
            }
            self.wanted = wanted;
            self.carry.extend_from_slice(input);
            input.clear();
            return Ok(Step::More);
        }
        if self.wanted > MAX_HEADERS {
            return Err(TarError::TooLong { offset: self.offset, limit: MAX_HEADERS });
        }
        let missing = self.wanted.saturating_sub(self.carry.len()).min(input.len());
        self.carry.extend_from_slice(&input.split_to(missing));
        if self.carry.len() < self.wanted {
            return Ok(Step::More);
        }
        let carry = std::mem::take(&mut self.carry);
        let (step, consumed, wanted) = self.parse(&carry)?;
        self.offset += consumed as u64;
        match step {
            // A header ends where the carry ends, because exactly the wanted bytes were collected; should the
            // parser leave some, they stay in front of the input.
            Step::Entry(_) | Step::Again => self.carry = carry.get(consumed..).unwrap_or_default().to_vec(),
            Step::More => {
                self.wanted = wanted.max(carry.len() + 1);
                self.carry = carry;
                return Ok(if input.is_empty() { Step::More } else { Step::Again });
            }
        }
        if !self.carry.is_empty() {
            let mut rest = std::mem::take(&mut self.carry);
            rest.extend_from_slice(input);
            *input = Bytes::from(rest);
        }
        Ok(step)
    }

    /// Parses at the start of `bytes`: what was found, how much of it was consumed, how much is wanted.
    fn parse(&mut self, bytes: &[u8]) -> Result<(Step, usize, usize), TarError> {
        let offset = self.offset;
        let event = self.parser.parse(bytes).map_err(|source| TarError::Header { offset, source })?;
        let (consumed, entry) = match event {
            ParseEvent::NeedData { min_bytes } => return Ok((Step::More, 0, min_bytes)),
            // containerd ignores global headers too.
            ParseEvent::GlobalExtensions { consumed, .. } => return Ok((Step::Again, consumed, 0)),
            ParseEvent::End { consumed } => {
                self.state = State::End;
                return Ok((Step::Again, consumed, 0));
            }
            ParseEvent::Entry { consumed, entry } => (consumed, parse::entry(offset, entry, None)?),
            ParseEvent::SparseEntry { consumed, entry, sparse_map, real_size } => {
                (consumed, parse::entry(offset, entry, Some((sparse_map, real_size)))?)
            }
        };
        let len = entry.payload_len();
        let padding = len.wrapping_neg() % 512;
        self.state = State::Payload { remaining: len, padding };
        Ok((Step::Entry(Box::new(entry)), consumed, 0))
    }
}

enum Step {
    More,
    Again,
    Entry(Box<Entry>),
}

#[cfg(test)]
mod tests;

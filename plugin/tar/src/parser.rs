//! From blocks to logical headers (Go's `Reader.next`).

use crate::block::{self, BLOCK, Block, Layout, field};
use crate::error::Refusal;
use crate::header::{Extensions, Header};
use crate::number::{numeric, text};
use crate::pax::Records;
use crate::sparse::{self, Draft, Form, Lines};

/// Longest data of an extension header (`x`, `g`, `L`, `K`), in bytes.
pub const MAX_EXTENSION: u64 = 1 << 20;

/// What [`HeaderParser::feed`] found.
#[derive(Debug)]
pub enum Step {
    /// More bytes are wanted.
    More,
    /// A logical header is complete. Its payload follows, padded to whole blocks, and then the next header. A global
    /// header is one, too; it ends the extension headers before it, like in Go.
    Header(Box<Header>),
    /// The end of the archive: two blocks of zeros.
    End,
}

#[derive(Debug)]
enum State {
    /// A header block comes.
    Block,
    /// A block of zeros was there; a second one ends the archive.
    Zeros,
    /// The data of the extension header comes.
    Data { header: Box<Header>, len: usize },
    /// The padding behind the data of an extension header comes.
    Padding(usize),
    /// A further block of the map of an old GNU sparse file comes, behind so many bytes of map.
    OldMap { header: Box<Header>, draft: Draft, read: usize },
    /// A block of a map of form 1.0 comes.
    Lines { header: Box<Header>, lines: Lines },
    /// The archive has ended.
    End,
}

/// Reads logical headers from the bytes that are no payload. It keeps at most the data of one extension header of each
/// type and one sparse map, a few MiB at the very most.
#[derive(Debug)]
pub struct HeaderParser {
    state: State,
    extensions: Extensions,
}

impl Default for HeaderParser {
    fn default() -> Self {
        Self::new()
    }
}

impl HeaderParser {
    /// A parser at the start of a logical header.
    pub fn new() -> Self {
        Self { state: State::Block, extensions: Extensions::default() }
    }

    /// Bytes that [`feed`](Self::feed) wants next: 1 to [`MAX_EXTENSION`], or 0 behind the end of the archive.
    pub fn wanted(&self) -> usize {
        match &self.state {
            State::Data { len, .. } | State::Padding(len) => *len,
            State::End => 0,
            _ => BLOCK,
        }
    }

    /// Whether the input may end here, where `have` of the wanted bytes are left.
    ///
    /// # Errors
    /// [`Refusal::UnexpectedEnd`] where Go's reader gives `io.ErrUnexpectedEOF`. It takes a missing end of the archive for
    /// an end, and an extension header without its entry.
    pub fn may_end(&self, have: usize) -> Result<(), Refusal> {
        match self.state {
            State::Block | State::Zeros if have == 0 => Ok(()),
            State::Padding(_) | State::End => Ok(()),
            State::Block => Err(Refusal::UnexpectedEnd("a header")),
            State::Zeros => Err(Refusal::UnexpectedEnd("the end of the archive")),
            State::Data { .. } => Err(Refusal::UnexpectedEnd("an extension header")),
            State::OldMap { .. } | State::Lines { .. } => Err(Refusal::UnexpectedEnd("a sparse map")),
        }
    }

    /// Takes the [`wanted`](Self::wanted) bytes.
    ///
    /// # Errors
    /// [`Refusal`] as Go's reader refuses; the parser must not be used after one. Fewer or more bytes than wanted are
    /// refused, too.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        if bytes.len() != self.wanted() {
            return Err(Refusal::UnexpectedEnd("a header"));
        }
        match std::mem::replace(&mut self.state, State::Block) {
            State::Block => self.block(bytes),
            State::Zeros if bytes.iter().all(|byte| *byte == 0) => {
                self.state = State::End;
                Ok(Step::End)
            }
            State::Zeros => Err(Refusal::Header("a single block of zeros is before it")),
            State::Data { header, len } => self.extension(header, len, bytes),
            State::Padding(_) => Ok(Step::More),
            State::OldMap { header, mut draft, read } => {
                let more = sparse::old_parts(bytes, &mut draft)?;
                self.old_map(header, draft, more, read + bytes.len())
            }
            State::Lines { mut header, mut lines } => {
                lines.add(bytes);
                header.payload = header.payload.saturating_sub(bytes.len() as u64);
                self.lines(header, lines)
            }
            State::End => {
                self.state = State::End;
                Ok(Step::End)
            }
        }
    }

    fn block(&mut self, bytes: &[u8]) -> Result<Step, Refusal> {
        let Some(block) = bytes.first_chunk::<BLOCK>() else { return Ok(Step::More) };
        if *block == [0; BLOCK] {
            self.state = State::Zeros;
            return Ok(Step::More);
        }
        let (mut header, layout) = block::parse(block)?;
        // Go proves the size of the block before it looks for another one in PAX records.
        let len = header.payload()?;
        if !matches!(header.typeflag, b'x' | b'g' | b'L' | b'K') {
            header.extend(std::mem::take(&mut self.extensions))?;
            return self.sparse(Box::new(header), layout, block);
        }
        let len = usize::try_from(len).ok().filter(|_| len <= MAX_EXTENSION);
        let len = len.ok_or(Refusal::TooLong("an extension header has more than 1 MiB"))?;
        let header = Box::new(header);
        if len == 0 {
            return self.extension(header, 0, &[]);
        }
        self.state = State::Data { header, len };
        Ok(Step::More)
    }

    /// Keeps what an extension header says; a global one is an entry of its own.
    fn extension(&mut self, mut header: Box<Header>, len: usize, data: &[u8]) -> Result<Step, Refusal> {
        let padding = len.wrapping_neg() % BLOCK;
        self.state = if padding == 0 { State::Block } else { State::Padding(padding) };
        match header.typeflag {
            b'L' => self.extensions.long_name = text(data).to_vec(),
            b'K' => self.extensions.long_link = text(data).to_vec(),
            b'x' => self.extensions.pax = Records::parse(data)?,
            _ => {
                header.globalize(Records::parse(data)?)?;
                self.extensions = Extensions::default();
                return Ok(Step::Header(header));
            }
        }
        Ok(Step::More)
    }

    /// Looks for a sparse map.
    fn sparse(&mut self, mut header: Box<Header>, layout: Layout, block: &Block) -> Result<Step, Refusal> {
        if header.typeflag == b'S' {
            if layout != Layout::Gnu {
                return Err(Refusal::Header("a sparse file of star"));
            }
            let size = numeric(field(block, 483, 12));
            header.size = size.ok_or(Refusal::Header("the size of a sparse file is no number"))?;
            let mut draft = Draft::new();
            let bytes = field(block, 386, 97);
            let more = sparse::old_parts(bytes, &mut draft)?;
            return self.old_map(header, draft, more, bytes.len());
        }
        match sparse::announced(&mut header)? {
            None => Ok(Step::Header(header)),
            Some(Form::Records) => {
                let draft = sparse::in_records(&header)?;
                sparse::settle(&mut header, draft)?;
                Ok(Step::Header(header))
            }
            Some(Form::Payload) => self.lines(header, Lines::default()),
        }
    }

    fn old_map(
        &mut self,
        mut header: Box<Header>,
        draft: Draft,
        more: bool,
        read: usize,
    ) -> Result<Step, Refusal> {
        if more {
            sparse::old_may_go_on(read + BLOCK)?;
            self.state = State::OldMap { header, draft, read };
            return Ok(Step::More);
        }
        sparse::settle(&mut header, draft)?;
        Ok(Step::Header(header))
    }

    fn lines(&mut self, mut header: Box<Header>, lines: Lines) -> Result<Step, Refusal> {
        if lines.wants_block(header.payload)? {
            self.state = State::Lines { header, lines };
            return Ok(Step::More);
        }
        let draft = lines.draft()?;
        sparse::settle(&mut header, draft)?;
        Ok(Step::Header(header))
    }
}

#[cfg(test)]
mod tests;

//! `multipart/byteranges` (RFC 9110, section 14.6; RFC 2046, section 5.1), read as it comes.
//!
//! Parts may come in any order, fewer or others than asked for: each says itself which bytes it has. Its length is
//! known from there, so a boundary inside the data does no harm.

use bytes::{Buf, Bytes, BytesMut};
use chunked_core::ByteRange;

use crate::content_range::ContentRange;

/// Longest line of a part's headers, in bytes, and longest text before the first part.
const MAX_LINE: usize = 4096;
/// Header lines of one part.
const MAX_LINES: usize = 32;

/// The boundary of a `Content-Type: multipart/byteranges; boundary=…`; `None` for another type.
///
/// Tolerates what CloudFront sends: a colon in a boundary that is not quoted.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/byteranges") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case("boundary").then_some(value.trim())
    })?;
    let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    (!value.is_empty() && value.len() <= 200).then(|| value.to_owned())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a delimiter line.
    Delimiter,
    /// In the headers of a part.
    Headers { lines: usize, range: Option<ByteRange> },
    /// In the data of a part: what is still to come.
    Data(ByteRange),
    /// After the last part.
    End,
}

/// Takes bytes as they come, gives data with its offset in the blob.
#[derive(Debug)]
pub(crate) struct Parser {
    delimiter: Vec<u8>,
    /// Length of the whole blob in bytes.
    size: u64,
    buffer: BytesMut,
    state: State,
    /// Bytes of text passed over before the first part.
    preamble: usize,
    parts: usize,
}

/// The answer is not what it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl Parser {
    /// For an answer with `boundary`, about a blob of `size` bytes.
    pub(crate) fn new(boundary: &str, size: u64) -> Self {
        Self {
            delimiter: [b"--", boundary.as_bytes()].concat(),
            size,
            buffer: BytesMut::new(),
            state: State::Delimiter,
            preamble: 0,
            parts: 0,
        }
    }

    /// Adds bytes of the body. Call [`Parser::next`] until it gives nothing before the next ones.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Data that is complete, with its offset in the blob; `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Bytes)>, Malformed> {
        loop {
            match self.state {
                State::End => {
                    self.buffer.clear();
                    return Ok(None);
                }
                State::Data(left) if left.is_empty() => self.state = State::Delimiter,
                State::Data(left) => {
                    let len = usize::try_from(left.len()).unwrap_or(usize::MAX).min(self.buffer.len());
                    if len == 0 {
                        return Ok(None);
                    }
                    let data = self.buffer.split_to(len).freeze();
                    self.state = State::Data(ByteRange { start: left.start + len as u64, end: left.end });
                    return Ok(Some((left.start, data)));
                }
                State::Delimiter if self.at_end() => self.state = State::End,
                State::Delimiter => match self.line()? {
                    None => return Ok(None),
                    Some(line) => self.delimiter(&line)?,
                },
                State::Headers { lines, range } => match self.line()? {
                    None => return Ok(None),
                    Some(line) => self.state = self.header(&line, lines, range)?,
                },
            }
        }
    }

    /// True when the closing delimiter has come: without it the body was cut off.
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// The closing delimiter need not be followed by a line's end.
    fn at_end(&self) -> bool {
        self.parts > 0
            && self.buffer.strip_prefix(&self.delimiter[..]).is_some_and(|rest| rest.starts_with(b"--"))
    }

    fn line(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
            return if self.buffer.len() > MAX_LINE {
                Err(Malformed("a line of its parts' headers is too long"))
            } else {
                Ok(None)
            };
        };
        if end > MAX_LINE {
            return Err(Malformed("a line of its parts' headers is too long"));
        }
        let line = self.buffer.split_to(end).freeze();
        self.buffer.advance(1);
        Ok(Some(line))
    }

    fn delimiter(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let line = line.trim_ascii_end();
        if line == self.delimiter {
            self.parts += 1;
            self.state = State::Headers { lines: 0, range: None };
        } else if self.parts == 0 {
            self.preamble += line.len() + 1;
            if self.preamble > MAX_LINE {
                return Err(Malformed("it has no part"));
            }
        } else if !line.is_empty() {
            return Err(Malformed("its parts are not as long as they say"));
        }
        Ok(())
    }

    fn header(&self, line: &[u8], lines: usize, range: Option<ByteRange>) -> Result<State, Malformed> {
        let line = line.trim_ascii_end();
        if line.is_empty() {
            return range.map(State::Data).ok_or(Malformed("a part does not say which bytes it has"));
        }
        if lines >= MAX_LINES {
            return Err(Malformed("a part has too many headers"));
        }
        let text = std::str::from_utf8(line).unwrap_or_default();
        let is_range =
            text.split_once(':').filter(|(name, _)| name.trim().eq_ignore_ascii_case("content-range"));
        let range = match is_range {
            None => range,
            Some((_, value)) => {
                let value = ContentRange::parse(value).filter(|value| {
                    value.range.end <= self.size && value.total.is_none_or(|total| total == self.size)
                });
                Some(value.ok_or(Malformed("a part is not for this blob"))?.range)
            }
        };
        Ok(State::Headers { lines: lines + 1, range })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SIZE: u64 = 1000;

    fn content() -> Vec<u8> {
        (0..SIZE).map(|n| if n % 50 == 0 { b'\n' } else { n.to_le_bytes()[0] }).collect()
    }

    fn part(range: (u64, u64)) -> Vec<u8> {
        let content = content();
        let bytes = &content[usize::try_from(range.0).unwrap()..usize::try_from(range.1).unwrap()];
        let head = format!(
            "\r\n--B:b\r\nContent-type: x\r\ncontent-RANGE: bytes {}-{}/{SIZE}\r\n\r\n",
            range.0,
            range.1 - 1
        );
        [head.as_bytes(), bytes].concat()
    }

    /// Stretches of the blob, with their offsets.
    type Stretches = Vec<(u64, Vec<u8>)>;

    /// What a body gives when it arrives in pieces of `step` bytes, and whether it was complete.
    fn read(body: &[u8], step: usize) -> Result<(Stretches, bool), Malformed> {
        let mut parser = Parser::new("B:b", SIZE);
        let mut got = Stretches::new();
        for bytes in body.chunks(step.max(1)) {
            parser.push(bytes);
            while let Some((offset, data)) = parser.next()? {
                match got.last_mut() {
                    Some((start, all)) if *start + all.len() as u64 == offset => all.extend_from_slice(&data),
                    _ => got.push((offset, data.to_vec())),
                }
            }
        }
        Ok((got, parser.is_complete()))
    }

    #[test]
    fn boundaries() {
        for (header, found) in [
            ("multipart/byteranges; boundary=abc", Some("abc")),
            ("Multipart/ByteRanges;boundary=\"a b\"", Some("a b")),
            ("multipart/byteranges; boundary=CloudFront:12AB", Some("CloudFront:12AB")),
            ("multipart/byteranges; charset=x; Boundary=q", Some("q")),
            ("multipart/byteranges; boundary=", None),
            ("multipart/byteranges", None),
            ("multipart/mixed; boundary=abc", None),
            ("application/octet-stream", None),
        ] {
            assert_eq!(boundary(header).as_deref(), found, "{header}");
        }
    }

    #[test]
    fn what_is_not_right_is_refused() {
        let good = [part((0, 10)), part((20, 30)), b"\r\n--B:b--".to_vec()].concat();
        assert!(read(&good, 7).unwrap().1);
        assert!(!read(&good[..good.len() - 2], 7).unwrap().1, "cut off");
        let text = |from: &str, to: &str| {
            String::from_utf8(good.clone()).unwrap().replacen(from, to, 1).into_bytes()
        };
        for (bad, reason) in [
            (text("bytes 0-9/1000", "bytes 0-9/999"), "not for this blob"),
            (text("bytes 20-29/1000", "bytes 20-1000/*"), "not for this blob"),
            (text("content-RANGE", "content-lines"), "does not say"),
            (text("bytes 20-29", "bytes 20-28"), "not as long"),
            (vec![b'x'; 5000], "too long"),
            (b"no\r\n".repeat(2000), "no part"),
            ([b"--B:b\r\n".to_vec(), b"A: b\r\n".repeat(40)].concat(), "too many"),
        ] {
            let error = read(&bad, 64).unwrap_err();
            assert!(error.0.contains(reason), "{error:?} instead of {reason}");
        }
    }

    proptest! {
        #[test]
        fn any_parts_in_any_order_cut_anyhow(
            parts in prop::collection::vec((0..SIZE, 1..SIZE), 1..6), step in 1_usize..200,
        ) {
            let ranges: Vec<(u64, u64)> = parts.iter().map(|(a, len)| (*a, (a + len).min(SIZE))).collect();
            let mut body: Vec<u8> = ranges.iter().flat_map(|range| part(*range)).collect();
            body.extend_from_slice(b"\r\n--B:b--\r\nafterwards");
            let (got, complete) = read(&body, step).unwrap();
            prop_assert!(complete);
            let content = content();
            let bytes: u64 = ranges.iter().map(|(a, b)| b - a).sum();
            prop_assert_eq!(got.iter().map(|(_, data)| data.len() as u64).sum::<u64>(), bytes);
            for (offset, data) in got {
                let start = usize::try_from(offset).unwrap();
                prop_assert_eq!(&content[start..start + data.len()], &data[..]);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, step in 1_usize..50) {
            let _ = read(&[b"--B:b\r\n".as_slice(), &bytes].concat(), step);
            let _ = read(&bytes, step);
        }
    }
}

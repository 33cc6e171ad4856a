//! Tokens of a filter.

/// One token with the byte it starts at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    End,
    /// `,` or `.`
    Separator(char),
    Operator(&'a str),
    Field(&'a str),
    Value(&'a str),
    /// With its quotes: `"`, or `/` and `|` around regular expressions.
    Quoted(&'a str),
    Illegal(&'static str),
}

/// Cuts a filter into tokens. What a word may consist of depends on whether an operator came before it.
pub(super) struct Scanner<'a> {
    input: &'a str,
    position: usize,
    value: bool,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(input: &'a str) -> Self {
        Self { input, position: 0, value: false }
    }

    /// Byte of the next token, or of a space before it.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// The next character, not consumed; spaces count.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn next(&mut self) -> Token<'a> {
        let space = self.rest().len() - self.rest().trim_start().len();
        self.position += space;
        let Some(first) = self.peek() else { return Token::End };
        match first {
            '"' | '/' | '|' => match quoted_len(self.rest(), first) {
                Some(len) => Token::Quoted(self.take(len)),
                None => Token::Illegal("quoted literal not terminated"),
            },
            ',' | '.' => {
                self.value = false;
                self.take(1);
                Token::Separator(first)
            }
            '=' | '!' | '~' => {
                self.value = true;
                Token::Operator(self.take_while(|c| matches!(c, '=' | '!' | '~')))
            }
            _ if self.value => {
                self.value = false;
                match self.take_while(|c| c != ',' && !c.is_whitespace() && !c.is_control()) {
                    "" => Token::Illegal("unexpected character"),
                    value => Token::Value(value),
                }
            }
            c if is_field(c) => Token::Field(self.take_while(is_field)),
            _ => Token::Illegal("unexpected character"),
        }
    }

    fn rest(&self) -> &'a str {
        self.input.get(self.position..).unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> &'a str {
        let taken = self.rest().get(..len).unwrap_or_default();
        self.position += taken.len();
        taken
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        self.take(rest.find(|c| !accept(c)).unwrap_or(rest.len()))
    }
}

fn is_field(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

/// Bytes up to and with the closing quote.
fn quoted_len(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '\n' => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The text between the quotes, with Go's escapes resolved. `None` for an escape Go does not know, or bytes
/// that are no text.
pub(super) fn unquote(quoted: &str) -> Option<String> {
    let quote = quoted.chars().next()?;
    let mut rest = quoted.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out = Vec::new();
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..)?;
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let escape = rest.chars().next()?;
        rest = rest.get(escape.len_utf8()..)?;
        let mut number = |len: usize, radix| {
            let digits = rest.get(..len).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
            rest = rest.get(len..)?;
            u32::from_str_radix(digits, radix).ok()
        };
        match escape {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '\\' => out.push(b'\\'),
            c if c == quote => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            'x' => out.push(u8::try_from(number(2, 16)?).ok()?),
            'u' | 'U' => {
                let c = char::from_u32(number(if escape == 'u' { 4 } else { 8 }, 16)?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            '0'..='7' => {
                let low = number(2, 8)?;
                out.push(u8::try_from(escape.to_digit(8)? * 64 + low).ok()?);
            }
            _ => return None,
        }
    }
    String::from_utf8(out).ok()
}

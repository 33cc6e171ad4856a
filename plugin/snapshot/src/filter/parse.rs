//! From tokens to selectors.

use regex::Regex;

use super::scan::{Scanner, Token, unquote};
use super::{Field, FilterError, Selector, Test};

/// Parses one alternative. The empty text has no selector, so everything passes.
pub(super) fn selectors(filter: &str) -> Result<Vec<Selector>, FilterError> {
    let mut parser = Parser { filter, scanner: Scanner::new(filter) };
    if filter.is_empty() {
        return Ok(Vec::new());
    }
    let mut all = vec![parser.selector()?];
    loop {
        match parser.scanner.peek() {
            None => return Ok(all),
            Some(',') => {
                parser.scanner.next();
                all.push(parser.selector()?);
            }
            Some(c) => return Err(parser.error(format!("unexpected {c:?}"))),
        }
    }
}

struct Parser<'a> {
    filter: &'a str,
    scanner: Scanner<'a>,
}

impl Parser<'_> {
    fn selector(&mut self) -> Result<Selector, FilterError> {
        let field = self.fieldpath()?;
        if matches!(self.scanner.peek(), None | Some(',')) {
            return Ok(Selector { field, test: Test::Present });
        }
        let test = match self.scanner.next() {
            Token::Operator("==") => Test::Equal(self.value(false)?),
            Token::Operator("!=") => Test::NotEqual(self.value(false)?),
            Token::Operator("~=") => {
                let value = self.value(true)?;
                Test::Matches(Regex::new(&value).map_err(|error| self.error(error.to_string()))?)
            }
            Token::Operator(other) => return Err(self.error(format!("unsupported operator {other:?}"))),
            _ => return Err(self.error("expected an operator: ==, != or ~=".to_owned())),
        };
        Ok(Selector { field, test })
    }

    fn fieldpath(&mut self) -> Result<Field, FilterError> {
        let mut path = vec![self.field()?];
        while self.scanner.peek() == Some('.') {
            self.scanner.next();
            path.push(self.field()?);
        }
        Ok(match path.split_first() {
            Some((first, [])) if first == "name" => Field::Name,
            Some((first, [])) if first == "parent" => Field::Parent,
            Some((first, [])) if first == "kind" => Field::Kind,
            // A label written in several parts means them joined.
            Some((first, rest)) if first == "labels" => Field::Label(rest.join(".")),
            _ => Field::Other,
        })
    }

    fn field(&mut self) -> Result<String, FilterError> {
        match self.scanner.next() {
            Token::Field(text) => Ok(text.to_owned()),
            Token::Quoted(text) => self.unquote(text, false),
            Token::Illegal(reason) => Err(self.error(reason.to_owned())),
            _ => Err(self.error("expected a field".to_owned())),
        }
    }

    fn value(&mut self, regex: bool) -> Result<String, FilterError> {
        match self.scanner.next() {
            Token::Value(text) | Token::Field(text) => Ok(text.to_owned()),
            Token::Quoted(text) => self.unquote(text, regex),
            Token::Illegal(reason) => Err(self.error(reason.to_owned())),
            _ => Err(self.error("expected a value".to_owned())),
        }
    }

    /// `/` and `|` quote regular expressions only, where `"` would need every backslash twice.
    fn unquote(&self, text: &str, regex: bool) -> Result<String, FilterError> {
        if !regex && !text.starts_with('"') {
            return Err(self.error("only \" quotes here".to_owned()));
        }
        unquote(text).ok_or_else(|| self.error(format!("{text} is not a quoted text")))
    }

    fn error(&self, reason: String) -> FilterError {
        FilterError {
            filter: self.filter.chars().take(200).collect(),
            position: self.scanner.position(),
            reason,
        }
    }
}

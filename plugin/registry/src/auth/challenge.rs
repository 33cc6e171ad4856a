//! `WWW-Authenticate` (RFC 9110, section 11.6.1; RFC 6750 for Bearer).

use std::collections::BTreeMap;

/// Challenges read from one answer.
const MAX_CHALLENGES: usize = 16;
/// Parameters read of one challenge.
const MAX_PARAMETERS: usize = 32;

/// One way to authenticate that a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Scheme, in lower case.
    pub scheme: String,
    /// Parameters; names in lower case, values unquoted.
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// The value of a parameter, unless it is empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The challenges of one header value. What cannot be understood ends the list.
pub(crate) fn parse(text: &str) -> Vec<Challenge> {
    let mut cursor = Cursor { rest: text };
    let mut challenges: Vec<Challenge> = Vec::new();
    loop {
        cursor.skip(|b| b == b',' || is_space(b));
        let Some(word) = cursor.token() else { return challenges };
        let full = challenges.len() >= MAX_CHALLENGES;
        match (cursor.value(), challenges.last_mut()) {
            (Some(value), Some(challenge)) => {
                if challenge.parameters.len() < MAX_PARAMETERS {
                    challenge.parameters.entry(word.to_ascii_lowercase()).or_insert(value);
                }
            }
            // A parameter that belongs to no scheme.
            (Some(_), None) => return challenges,
            (None, _) if full => return challenges,
            (None, _) => {
                challenges.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
            }
        }
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// Skips ASCII bytes that `wanted` takes.
    fn skip(&mut self, wanted: fn(u8) -> bool) {
        self.rest =
            self.rest.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(|b| b.is_ascii() && wanted(b)));
    }

    fn token(&mut self) -> Option<&'a str> {
        let end = self.rest.bytes().position(|b| !is_token(b)).unwrap_or(self.rest.len());
        let (token, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        (!token.is_empty()).then_some(token)
    }

    /// The value after `=`; `None`, and nothing consumed, when no `=` follows.
    fn value(&mut self) -> Option<String> {
        let after = self.rest.trim_start_matches([' ', '\t']).strip_prefix('=')?;
        self.rest = after;
        self.skip(is_space);
        match self.rest.strip_prefix('"') {
            Some(quoted) => {
                self.rest = quoted;
                Some(self.quoted())
            }
            None => Some(self.token().unwrap_or_default().to_owned()),
        }
    }

    /// The rest of a quoted string, whose end may be missing.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut chars = self.rest.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => break,
                '\\' => value.extend(chars.next()),
                c => value.push(c),
            }
        }
        self.rest = chars.as_str();
        value
    }
}

fn is_space(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

/// Token characters, and those of token68 and of the URLs that sloppy servers leave unquoted; `=` and `,`
/// separate.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~/:".contains(&b)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let show = |c: Challenge| {
            let parameters: Vec<String> = c.parameters.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{} {}", c.scheme, parameters.join("|")).trim_end().to_owned()
        };
        parse(text).into_iter().map(show).collect()
    }

    #[test]
    fn table() {
        for (text, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull,push""#,
                vec![
                    "bearer realm=https://auth.docker.io/token|scope=repository:a:pull,push|service=registry.docker.io",
                ],
            ),
            (r#"Basic realm="x""#, vec!["basic realm=x"]),
            (r#"basic Realm = "x" , charset="UTF-8""#, vec!["basic charset=UTF-8|realm=x"]),
            (
                r#"Basic realm="a", Bearer realm="b", error=x"#,
                vec!["basic realm=a", "bearer error=x|realm=b"],
            ),
            ("Negotiate, Basic", vec!["negotiate", "basic"]),
            (r#"Basic realm="a\"b\\""#, vec![r#"basic realm=a"b\"#]),
            (r#"Bearer realm="open"#, vec!["bearer realm=open"]),
            ("Bearer realm=https://r.example/token", vec!["bearer realm=https://r.example/token"]),
            (r#"Bearer realm="first",realm="second""#, vec!["bearer realm=first"]),
            (r#"realm="nothing""#, vec![]),
            ("", vec![]),
            (",,, ,", vec![]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn bounded() {
        assert_eq!(parse(&"Basic,".repeat(1000)).len(), MAX_CHALLENGES);
        let many: String = (0..1000).map(|n| format!("p{n}=1,")).collect();
        assert_eq!(parse(&format!("Basic {many}"))[0].parameters.len(), MAX_PARAMETERS);
    }

    proptest! {
        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = parse(&text);
        }

        #[test]
        fn never_panics_on_likely_text(text in "[a-zA-Z \",=\\\\é]{0,60}") {
            let _ = parse(&text);
        }
    }
}

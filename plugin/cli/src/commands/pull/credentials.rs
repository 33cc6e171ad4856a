//! `--creds-stdin`: credentials for one pull, which never stand among the arguments that every user of the machine can see.

use std::io::{self, IsTerminal as _, Read as _};

use anyhow::{Context as _, Result, bail};
use chunked_registry::Credentials;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

/// Longest text that is read, in bytes: tokens of cloud registries are a few KiB.
const LONGEST: u64 = 64 << 10;
const WANTED: &str = "--creds-stdin reads user:password, or a JSON object with \"username\" and \"password\" or with \
                      \"identitytoken\", from standard input";

/// As docker's files spell it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    username: Option<String>,
    password: Option<SecretString>,
    #[serde(alias = "identity_token", alias = "identityToken")]
    identitytoken: Option<SecretString>,
}

/// Reads them.
pub(super) fn read() -> Result<Credentials> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        bail!("{WANTED}: a file or a pipe, not a terminal, which would show them");
    }
    let mut bytes = Vec::new();
    stdin
        .lock()
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .context("reading credentials from standard input")?;
    if bytes.len() as u64 > LONGEST {
        bail!("{WANTED}: at most {LONGEST} bytes");
    }
    let text = String::from_utf8(bytes).ok().map(SecretString::from);
    // What is wrong with it is not quoted: it has a secret in it.
    text.and_then(|text| parse(text.expose_secret())).with_context(|| format!("{WANTED}; this is neither"))
}

fn parse(text: &str) -> Option<Credentials> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.trim_start().starts_with('{') {
        return match serde_json::from_str(text).ok()? {
            Object { identitytoken: Some(token), password: None, .. } => Some(Credentials::identity(token)),
            Object { username: Some(user), password: Some(password), identitytoken: None }
                if !user.is_empty() =>
            {
                Some(Credentials::password(user, password))
            }
            _ => None,
        };
    }
    let (user, password) = text.split_once(':').filter(|(user, _)| !user.is_empty())?;
    Some(Credentials::password(user, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_nothing_else() {
        let password = |user: &str, password: &str| Some(Credentials::password(user, password));
        for (text, expected) in [
            ("jane:hunter2", password("jane", "hunter2")),
            ("jane:hunter2\n", password("jane", "hunter2")),
            ("jane:hunter2\r\n", password("jane", "hunter2")),
            ("jane:a:b \n\n", password("jane", "a:b \n")),
            (r#"{"username": "jane", "password": "hunter2"}"#, password("jane", "hunter2")),
            (r#" {"identitytoken": "tok"}"#, Some(Credentials::identity("tok"))),
            (r#"{"identity_token": "tok"}"#, Some(Credentials::identity("tok"))),
            (r#"{"username": "jane"}"#, None),
            (r#"{"username": "", "password": "x"}"#, None),
            (r#"{"user": "jane", "password": "x"}"#, None),
            ("{", None),
            ("", None),
            ("jane", None),
            (":x", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}

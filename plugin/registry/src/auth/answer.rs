//! The answer of a token server, as Go's decoder reads it for containerd and docker: the case of keys does not matter,
//! the last of two equal keys counts, `null` says nothing, and what follows the first value is not looked at.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Validity when the server does not tell (distribution spec), in seconds.
const DEFAULT_VALIDITY: u64 = 60;
/// Longest validity believed, in seconds.
const MAX_VALIDITY: u64 = 24 * 3600;

/// What is read of an answer.
#[derive(Default)]
pub(super) struct TokenAnswer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
    expires_in: Option<i64>,
}

impl TokenAnswer {
    /// Reads `body`; `None` when it is not a JSON object with the right types. Nothing of it gets into an error: it
    /// could be the token.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        Self::deserialize(&mut serde_json::Deserializer::from_slice(body)).ok()
    }

    /// The token: `access_token`, unless it is empty.
    pub(super) fn token(&self) -> Option<&SecretString> {
        let given = |token: &&SecretString| !token.expose_secret().is_empty();
        self.access_token.as_ref().filter(given).or_else(|| self.token.as_ref().filter(given))
    }

    /// How long it may be used: a little less than promised, since clocks differ and a request takes time.
    pub(super) fn validity(&self) -> Duration {
        let promised = self.expires_in.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
        let seconds = promised.unwrap_or(DEFAULT_VALIDITY).min(MAX_VALIDITY);
        Duration::from_secs(seconds - seconds / 10)
    }
}

/// The members that are read.
enum Member {
    Token,
    AccessToken,
    ExpiresIn,
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        Ok(match () {
            () if is("token") => Self::Token,
            () if is("access_token") => Self::AccessToken,
            () if is("expires_in") => Self::ExpiresIn,
            () => Self::Other,
        })
    }
}

impl<'de> Deserialize<'de> for TokenAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = TokenAnswer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TokenAnswer, A::Error> {
                let mut answer = TokenAnswer::default();
                while let Some(member) = map.next_key()? {
                    match member {
                        Member::Token => set(&mut answer.token, &mut map)?,
                        Member::AccessToken => set(&mut answer.access_token, &mut map)?,
                        Member::ExpiresIn => set(&mut answer.expires_in, &mut map)?,
                        Member::Other => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(answer)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Sets `field` to the next value, unless that is `null`.
fn set<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    field: &mut Option<T>,
    map: &mut A,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value::<Option<T>>()? {
        *field = Some(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(body: &str) -> Option<String> {
        TokenAnswer::parse(body.as_bytes())?.token().map(|token| token.expose_secret().to_owned())
    }

    #[test]
    fn tokens_as_go_reads_them() {
        for (body, expected) in [
            (r#"{"token":"T"}"#, Some("T")),
            (r#"{"access_token":"T"}"#, Some("T")),
            (r#"{"token":"a","access_token":"T"}"#, Some("T")),
            (r#"{"token":"","access_token":"T"}"#, Some("T")),
            (r#"{"token":"T","access_token":""}"#, Some("T")),
            (r#"{"token":null,"access_token":"T"}"#, Some("T")),
            (r#"{"token":"T","token":null}"#, Some("T")),
            (r#"{"Token":"T"}"#, Some("T")),
            (r#"{"ACCESS_token":"T"}"#, Some("T")),
            (r#"{"accessToken":"T"}"#, None),
            (r#"{"token":"","token":"T"}"#, Some("T")),
            (r#"{"token":"a","Token":"T"}"#, Some("T")),
            (r#"{"token":"T","token":""}"#, None),
            ("{\"token\":\"T\"}\nxx", Some("T")),
            (r#"{"token":"T"}{"token":"x"}"#, Some("T")),
            (" \n{\"token\" : \"T\"}", Some("T")),
            (r#"{"token":"\u0054"}"#, Some("T")),
            (r#"{"other":{"token":"x"},"issued_at":"not a time","token":"T"}"#, Some("T")),
            (r#"{"token":1}"#, None),
            (r#"{"expires_in":300}"#, None),
            (r#"{"token":"T""#, None),
            (r#"["T"]"#, None),
            ("hello", None),
            ("", None),
        ] {
            assert_eq!(token(body).as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn validity_is_bounded_and_shortened() {
        for (given, seconds) in [
            ("null", Some(54)),
            ("0", Some(54)),
            ("-1", Some(54)),
            ("300", Some(270)),
            ("9223372036854775807", Some(77_760)),
            ("5", Some(5)),
            ("300.0", None),
            ("100000000000000000000", None),
            ("\"300\"", None),
        ] {
            let answer = TokenAnswer::parse(format!(r#"{{"token":"T","expires_in":{given}}}"#).as_bytes());
            let validity = answer.map(|answer| answer.validity().as_secs());
            assert_eq!(validity, seconds, "{given}");
        }
    }
}

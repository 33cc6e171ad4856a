//! What a registry or its token server takes as proof of who asks.

use std::fmt;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use secrecy::{ExposeSecret, SecretString};

/// What to authenticate with. Overwritten in memory when it is dropped, and shown by no `Debug`.
#[derive(Clone)]
pub enum Credentials {
    /// User name and password, or token.
    Password {
        /// The user's name.
        user: String,
        /// The password, or a token that stands for one.
        password: SecretString,
    },
    /// An OAuth2 refresh token.
    Identity(SecretString),
}

impl Credentials {
    /// A user and what proves who it is.
    pub fn password(user: impl Into<String>, password: impl Into<SecretString>) -> Self {
        Self::Password { user: user.into(), password: password.into() }
    }

    /// An identity token.
    pub fn identity(token: impl Into<SecretString>) -> Self {
        Self::Identity(token.into())
    }

    /// Reads `user:password` in base64, with or without padding, as docker's files and Kubernetes have it. `None` when
    /// it is something else.
    pub fn from_base64(encoded: &str) -> Option<Self> {
        const ENGINE: GeneralPurpose = GeneralPurpose::new(
            &base64::alphabet::STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
        );
        let text = String::from_utf8(ENGINE.decode(encoded.trim()).ok()?).ok().map(SecretString::from)?;
        let (user, password) = text.expose_secret().split_once(':').filter(|(user, _)| !user.is_empty())?;
        // Docker pads with zero bytes.
        Some(Self::password(user, password.trim_end_matches('\0')))
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Password { user, password }, Self::Password { user: other, password: theirs }) => {
                user == other && password.expose_secret() == theirs.expose_secret()
            }
            (Self::Identity(token), Self::Identity(theirs)) => {
                token.expose_secret() == theirs.expose_secret()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // User names of cloud registries can be telling, too.
        f.write_str(match self {
            Self::Password { .. } => "Password(..)",
            Self::Identity(_) => "Identity(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_and_equality_is_of_what_is_inside() {
        let one = Credentials::password("jane", "hunter2");
        assert_eq!(format!("{one:?} {:?}", Credentials::identity("tok")), "Password(..) Identity(..)");
        assert!(one == Credentials::password("jane", "hunter2") && one != Credentials::password("jane", "x"));
        assert!(one != Credentials::identity("hunter2"));
    }

    #[test]
    fn base64_of_user_and_password() {
        for (encoded, expected) in [
            ("amFuZTpodW50ZXIy", Some(("jane", "hunter2"))),
            ("amFuZTpodW50ZXIyAA==", Some(("jane", "hunter2"))),
            ("amFuZTpodW50ZXIyAA", Some(("jane", "hunter2"))),
            ("amFuZQ==", None),
            ("Omh1bnRlcjI=", None),
            ("no base64", None),
        ] {
            let expected = expected.map(|(user, password)| Credentials::password(user, password));
            assert_eq!(Credentials::from_base64(encoded), expected, "{encoded}");
        }
    }
}

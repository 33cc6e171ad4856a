//! What a registry or its token server takes as proof of who asks.

use std::fmt;

use secrecy::SecretString;

/// What to authenticate with.
#[derive(Clone)]
pub(crate) enum Credentials {
    /// User name and password, or token.
    Password { user: String, password: SecretString },
    /// An OAuth2 refresh token.
    Identity(SecretString),
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

//! SHA-256 digests in the OCI notation `sha256:` + 64 lower-case hex digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A SHA-256 digest: of a blob, a layer's tar (DiffID), a chain (chainID), a file or a chunk.
///
/// Other algorithms are refused when parsing. What a registry names may be SHA-512, too: [`ObjectDigest`](crate::ObjectDigest).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A text that is not a digest of the kind that is needed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a digest that is supported: {0:?}")]
pub struct DigestError(String);

impl DigestError {
    pub(crate) fn of(text: &str) -> Self {
        Self(text.chars().take(200).collect())
    }
}

impl Digest {
    /// Wraps the 32 raw bytes of a SHA-256 sum.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }

    /// The 64 hex digits without the algorithm prefix.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let error = || DigestError::of(text);
        let digits = text.strip_prefix("sha256:").ok_or_else(error)?;
        if digits.len() != 64 || digits.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(error());
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| error())?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A running SHA-256. Cloning keeps the state, so a caller can go back to where it was.
#[derive(Clone, Debug, Default)]
pub struct Hasher(sha2::Sha256);

impl Hasher {
    /// A hasher that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds `len` zero bytes.
    pub fn update_zeros(&mut self, mut len: u64) {
        const ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
        while len > 0 {
            let n = usize::try_from(len).map_or(ZEROS.len(), |l| l.min(ZEROS.len()));
            self.0.update(&ZEROS[..n]);
            len -= n as u64;
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The chainID of a layer on `parent`: the DiffID itself for the lowest layer, else
/// `sha256(parent + " " + diff)` over the textual forms (OCI image-spec, config.md, "Layer ChainID").
pub fn chain_id(parent: Option<&Digest>, diff: &Digest) -> Digest {
    match parent {
        None => *diff,
        Some(parent) => Digest::of(format!("{parent} {diff}").as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_strict() {
        let digest = Digest::of(b"hello world\n");
        let text = "sha256:a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        let hex = digest.to_hex();
        for bad in [
            String::new(),
            hex.clone(),
            format!("sha256:{}", hex.to_uppercase()),
            format!("sha512:{hex}"),
            format!("sha256:{hex}0"),
            format!("sha256:{}", &hex[1..]),
            format!("sha256:{} ", &hex[1..]),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn zeros_equal_zero_bytes() {
        let mut hasher = Hasher::new();
        hasher.update(b"x");
        hasher.update_zeros(40_000);
        let mut bytes = vec![b'x'];
        bytes.resize(40_001, 0);
        assert_eq!(hasher.finish(), Digest::of(&bytes));
    }

    #[test]
    fn chain_of_one_is_the_diff_id() {
        let diff = Digest::of(b"layer");
        assert_eq!(chain_id(None, &diff), diff);
        let two = chain_id(Some(&diff), &diff);
        assert_eq!(two, Digest::of(format!("{diff} {diff}").as_bytes()));
    }
}

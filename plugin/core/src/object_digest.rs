//! Digests that name OCI objects: blobs, manifests, indexes, configs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

use crate::{Digest, DigestError, Hasher};

/// The digest by which a registry, a layout or containerd's content store knows an object, in the algorithm that whoever
/// wrote the object chose: `sha256:` and 64 or `sha512:` and 128 lower-case hex digits (OCI image-spec, "Digests").
///
/// Only names of objects may be SHA-512. DiffIDs, chainIDs, files and chunks are SHA-256 ([`Digest`]): containerd
/// compares a layer's DiffID with a SHA-256 of its own, whatever the config says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectDigest {
    /// By SHA-256, as nearly everybody does.
    Sha256(Digest),
    /// By SHA-512.
    Sha512([u8; 64]),
}

/// A way to compute an [`ObjectDigest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// `sha256`.
    Sha256,
    /// `sha512`.
    Sha512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];

    /// Its name in front of the colon.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// A hasher that has seen nothing yet.
    pub fn hasher(self) -> ObjectHasher {
        match self {
            Self::Sha256 => ObjectHasher::Sha256(Hasher::new()),
            Self::Sha512 => ObjectHasher::Sha512(Box::default()),
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> ObjectDigest {
        let mut hasher = self.hasher();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl ObjectDigest {
    /// The SHA-256 of `bytes`: what the project names its own objects by.
    pub fn of(bytes: &[u8]) -> Self {
        Self::Sha256(Digest::of(bytes))
    }

    /// How it was computed, and how bytes have to be hashed to be compared with it.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The hex digits without the algorithm.
    pub fn to_hex(&self) -> String {
        match self {
            Self::Sha256(digest) => digest.to_hex(),
            Self::Sha512(bytes) => hex::encode(bytes),
        }
    }
}

impl From<Digest> for ObjectDigest {
    fn from(digest: Digest) -> Self {
        Self::Sha256(digest)
    }
}

impl PartialEq<Digest> for ObjectDigest {
    fn eq(&self, other: &Digest) -> bool {
        *self == Self::Sha256(*other)
    }
}

impl FromStr for ObjectDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let Some(digits) = text.strip_prefix("sha512:") else { return text.parse().map(Self::Sha256) };
        let mut bytes = [0; 64];
        let lower_case = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match hex::decode_to_slice(digits, &mut bytes) {
            Ok(()) if lower_case => Ok(Self::Sha512(bytes)),
            _ => Err(DigestError::of(text)),
        }
    }
}

impl fmt::Display for ObjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().name(), self.to_hex())
    }
}

impl fmt::Debug for ObjectDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for ObjectDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A running digest of an object, by one algorithm. Cloning keeps the state.
#[derive(Clone, Debug)]
pub enum ObjectHasher {
    /// By SHA-256.
    Sha256(Hasher),
    /// By SHA-512.
    Sha512(Box<sha2::Sha512>),
}

impl ObjectHasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of everything added.
    pub fn finish(self) -> ObjectDigest {
        match self {
            Self::Sha256(hasher) => ObjectDigest::Sha256(hasher.finish()),
            Self::Sha512(hasher) => ObjectDigest::Sha512(hasher.finalize().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of nothing (FIPS 180-4).
    const EMPTY: [&str; 2] = [
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f\
         63b931bd47417a81a538327af927da3e",
    ];

    #[test]
    fn texts_and_digests_are_those_of_the_algorithm() {
        for (algorithm, text) in Algorithm::ALL.into_iter().zip(EMPTY) {
            let digest = algorithm.digest(b"");
            assert_eq!((digest.to_string(), digest.algorithm()), (text.to_owned(), algorithm));
            assert_eq!(text.parse(), Ok(digest));
            assert_eq!(format!("{}:{}", algorithm.name(), digest.to_hex()), text);
            assert_ne!(algorithm.digest(b"x"), digest);
        }
        assert_eq!(ObjectDigest::of(b"x"), Digest::of(b"x"));
    }

    #[test]
    fn other_texts_are_refused() {
        let [sha256, sha512] = EMPTY.map(|text| text.split_once(':').unwrap().1.to_owned());
        for bad in [
            String::new(),
            "sha512:".to_owned(),
            sha512.clone(),
            format!("sha512:{sha256}"),
            format!("sha256:{sha512}"),
            format!("sha384:{}", &sha512[..96]),
            format!("sha512:{}", sha512.to_uppercase()),
            format!("sha512:{}", &sha512[1..]),
            format!("sha512:{sha512}0"),
            format!("sha512: {}", &sha512[1..]),
        ] {
            assert!(bad.parse::<ObjectDigest>().is_err(), "{bad:?} must be refused");
        }
    }
}

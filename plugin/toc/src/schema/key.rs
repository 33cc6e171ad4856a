//! Keys of the TOC's JSON objects.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Deserialize, Visitor};

/// Keys of the document that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentKey {
    Version,
    Entries,
    TarSplitDigest,
    Other,
}

/// Keys of an entry that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryKey {
    Type,
    Name,
    Size,
    Digest,
    Offset,
    EndOffset,
    ChunkSize,
    ChunkOffset,
    ChunkDigest,
    ChunkType,
    Other,
}

trait Key: Copy + 'static {
    const NAMES: &'static [(&'static str, Self)];
    const OTHER: Self;
}

impl Key for DocumentKey {
    const NAMES: &'static [(&'static str, Self)] =
        &[("version", Self::Version), ("entries", Self::Entries), ("tarSplitDigest", Self::TarSplitDigest)];
    const OTHER: Self = Self::Other;
}

impl Key for EntryKey {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("type", Self::Type),
        ("name", Self::Name),
        ("size", Self::Size),
        ("digest", Self::Digest),
        ("offset", Self::Offset),
        ("endOffset", Self::EndOffset),
        ("chunkSize", Self::ChunkSize),
        ("chunkOffset", Self::ChunkOffset),
        ("chunkDigest", Self::ChunkDigest),
        ("chunkType", Self::ChunkType),
    ];
    const OTHER: Self = Self::Other;
}

struct KeyVisitor<K>(std::marker::PhantomData<K>);

impl<K: Key> Visitor<'_> for KeyVisitor<K> {
    type Value = K;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<K, E> {
        let found = K::NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        Ok(found.map_or(K::OTHER, |(_, key)| *key))
    }
}

impl<'de> Deserialize<'de> for DocumentKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for EntryKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor(std::marker::PhantomData))
    }
}

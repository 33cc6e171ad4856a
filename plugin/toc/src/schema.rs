//! The TOC's JSON (zstd-chunked.md §8), read entry by entry so that no second copy of it is ever in memory.
//!
//! As in the reference reader: keys match regardless of ASCII case, unknown ones are skipped, `null` is the
//! same as absent, and nothing may follow the document. Stricter: a key given twice is refused.

mod key;
mod text;

use std::fmt;

use serde::Deserializer;
use serde::de::{self, Deserialize, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::TocError;
use key::{DocumentKey, EntryKey};
pub(crate) use text::Text;

/// The parts of an entry that matter here. All other metadata comes from the tar headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub kind: Option<Text<'a>>,
    pub name: Option<Text<'a>>,
    pub size: Option<u64>,
    pub digest: Option<Text<'a>>,
    pub offset: Option<u64>,
    pub end_offset: Option<u64>,
    pub chunk_size: Option<u64>,
    pub chunk_offset: Option<u64>,
    pub chunk_digest: Option<Text<'a>>,
    pub chunk_type: Option<Text<'a>>,
}

/// The document without its entries.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    pub version: Option<u64>,
    pub tar_split_digest: Option<Text<'a>>,
}

/// Reads `json`, giving each entry to `sink`. The sink's error ends the reading.
pub(crate) fn read<'a>(
    json: &'a [u8],
    sink: impl FnMut(Entry<'a>) -> Result<(), TocError>,
) -> Result<Document<'a>, TocError> {
    let mut refused = None;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let seed = DocumentSeed { sink, refused: &mut refused };
    let outcome =
        deserializer.deserialize_map(seed).and_then(|document| deserializer.end().map(|()| document));
    // The sink's own error says more than serde's wrapping of it.
    outcome.map_err(|error| refused.take().unwrap_or(TocError::Json(error)))
}

struct DocumentSeed<'r, S> {
    sink: S,
    refused: &'r mut Option<TocError>,
}

impl<'de, S: FnMut(Entry<'de>) -> Result<(), TocError>> Visitor<'de> for DocumentSeed<'_, S> {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of contents")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut document = Document::default();
        let mut entries_seen = false;
        while let Some(key) = map.next_key()? {
            match key {
                DocumentKey::Version => set(&mut document.version, &mut map)?,
                DocumentKey::TarSplitDigest => set(&mut document.tar_split_digest, &mut map)?,
                DocumentKey::Entries if entries_seen => return Err(de::Error::duplicate_field("entries")),
                DocumentKey::Entries => {
                    entries_seen = true;
                    map.next_value_seed(Entries { sink: &mut self.sink, refused: self.refused })?;
                }
                DocumentKey::Other => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(document)
    }
}

struct Entries<'r, S> {
    sink: &'r mut S,
    refused: &'r mut Option<TocError>,
}

impl<'de, S: FnMut(Entry<'de>) -> Result<(), TocError>> DeserializeSeed<'de> for Entries<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: FnMut(Entry<'de>) -> Result<(), TocError>> Visitor<'de> for Entries<'_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of entries")
    }

    /// Go writes an empty list as `null`.
    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element()? {
            if let Err(error) = (self.sink)(entry) {
                *self.refused = Some(error);
                return Err(de::Error::custom("entry refused"));
            }
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Entry<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an entry")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entry = Entry::default();
        while let Some(key) = map.next_key()? {
            match key {
                EntryKey::Type => set(&mut entry.kind, &mut map)?,
                EntryKey::Name => set(&mut entry.name, &mut map)?,
                EntryKey::Size => set(&mut entry.size, &mut map)?,
                EntryKey::Digest => set(&mut entry.digest, &mut map)?,
                EntryKey::Offset => set(&mut entry.offset, &mut map)?,
                EntryKey::EndOffset => set(&mut entry.end_offset, &mut map)?,
                EntryKey::ChunkSize => set(&mut entry.chunk_size, &mut map)?,
                EntryKey::ChunkOffset => set(&mut entry.chunk_offset, &mut map)?,
                EntryKey::ChunkDigest => set(&mut entry.chunk_digest, &mut map)?,
                EntryKey::ChunkType => set(&mut entry.chunk_type, &mut map)?,
                EntryKey::Other => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(entry)
    }
}

fn set<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    slot: &mut Option<T>,
    map: &mut A,
) -> Result<(), A::Error> {
    if let Some(value) = map.next_value::<Option<T>>()?
        && slot.replace(value).is_some()
    {
        return Err(de::Error::custom("a key is given twice"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

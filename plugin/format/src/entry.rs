//! A TOC entry with all its fields (zstd-chunked.md §8).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// An entry of the TOC, keys in the order other writers use, defaults left out.
///
/// For pulling, use [`read`](crate::read), which checks what it reads. This is the whole entry: for writing it,
/// and for tools that show or compare it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TocEntry {
    /// `reg` `dir` `symlink` `hardlink` `char` `block` `fifo`, or `chunk`: a further piece of the `reg` before it.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name as the tar spells it.
    pub name: String,
    /// Symlink: the target verbatim. Hard link: name of the target in the tar.
    #[serde(rename = "linkName", skip_serializing_if = "String::is_empty")]
    pub link_name: String,
    /// The tar header's mode.
    #[serde(skip_serializing_if = "zero")]
    pub mode: i64,
    /// Bytes of a regular file.
    #[serde(skip_serializing_if = "zero")]
    pub size: i64,
    /// Owner.
    #[serde(skip_serializing_if = "zero")]
    pub uid: i64,
    /// Group.
    #[serde(skip_serializing_if = "zero")]
    pub gid: i64,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modtime: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accesstime: Option<String>,
    /// RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changetime: Option<String>,
    /// Of devices.
    #[serde(rename = "devMajor", skip_serializing_if = "zero")]
    pub dev_major: i64,
    /// Of devices.
    #[serde(rename = "devMinor", skip_serializing_if = "zero")]
    pub dev_minor: i64,
    /// Extended attributes: name to base64 of the value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_default")]
    pub xattrs: BTreeMap<String, String>,
    /// SHA-256 of a whole file that is not empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Offset in the blob of the first frame.
    #[serde(skip_serializing_if = "zero")]
    pub offset: u64,
    /// Bytes of that frame's content before the file's; only stargz-snapshotter writes it.
    #[serde(rename = "innerOffset", skip_serializing_if = "zero")]
    pub inner_offset: u64,
    /// Offset in the blob behind the last frame.
    #[serde(rename = "endOffset", skip_serializing_if = "zero")]
    pub end_offset: u64,
    /// Bytes of this chunk, in files of two or more.
    #[serde(rename = "chunkSize", skip_serializing_if = "zero")]
    pub chunk_size: u64,
    /// Where in the file this chunk starts.
    #[serde(rename = "chunkOffset", skip_serializing_if = "zero")]
    pub chunk_offset: u64,
    /// SHA-256 of the chunk.
    #[serde(rename = "chunkDigest", skip_serializing_if = "String::is_empty")]
    pub chunk_digest: String,
    /// Empty for data, `zeros` for a hole.
    #[serde(rename = "chunkType", skip_serializing_if = "String::is_empty")]
    pub chunk_type: String,
}

fn zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Go writes an empty map as `null` where it writes it at all.
fn null_is_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

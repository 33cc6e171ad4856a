//! Records of all versions of the list, from bytes.

use chunked_core::Digest;

use super::ChunkRecord;
use crate::layer::NewFile;

/// Bytes that name the version.
pub(super) const MAGIC: usize = 16;
/// What the current version begins with.
pub(super) const CURRENT: &[u8; MAGIC] = b"chunked-files-4\n";
/// In the list's flags: chunks of all large files are here.
pub(super) const CUT: u8 = 1;
/// In a record's flags: somebody computed the digest.
pub(super) const PROVEN: u8 = 1;

/// Version of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    One,
    Two,
    Three,
    Four,
}

impl Version {
    pub(super) fn of(magic: &[u8]) -> Option<Self> {
        match magic {
            b"chunked-files-1\n" => Some(Self::One),
            b"chunked-files-2\n" => Some(Self::Two),
            b"chunked-files-3\n" => Some(Self::Three),
            magic if magic == CURRENT => Some(Self::Four),
            _ => None,
        }
    }

    /// Bytes of a file record before its path.
    pub(super) fn file_head(self) -> usize {
        if self == Self::Four { 43 } else { 42 }
    }

    /// Bytes of a chunk record.
    pub(super) fn chunk(self) -> usize {
        if self == Self::Four { 57 } else { 56 }
    }

    /// The file record that `record` begins with. Before version 4 it counts as proven.
    pub(super) fn file(self, record: &[u8]) -> Option<NewFile> {
        let (head, after) = record.split_at_checked(self.file_head())?;
        let digest = head.first_chunk::<32>()?;
        let len = u16::from_le_bytes(head.get(40..42)?.try_into().ok()?);
        Some(NewFile {
            path: after.get(..usize::from(len))?.to_vec(),
            digest: Digest::from_bytes(*digest),
            size: number(head.get(32..40)?)?,
            proven: head.get(42).is_none_or(|flags| flags & PROVEN != 0),
        })
    }

    /// The chunk record that `record` begins with. Before version 4 it counts as unproven.
    pub(super) fn record(self, record: &[u8]) -> Option<ChunkRecord> {
        let record = record.get(..self.chunk())?;
        Some(ChunkRecord {
            digest: Digest::from_bytes(*record.first_chunk::<32>()?),
            size: number(record.get(32..40)?)?,
            offset: number(record.get(40..48)?)?,
            file: number(record.get(48..56)?)?,
            proven: record.get(56).is_some_and(|flags| flags & PROVEN != 0),
        })
    }
}

pub(super) fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

//! Which files qualify: pure decisions about what `fstat` and the package database said.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use rustix::fs::{FileType, Stat};
use serde::Serialize;

use crate::options::HostOptions;

/// Most names an inode may have. One with more belongs to some store of hard links, where this name means little.
const MAX_LINKS: u64 = 64;

/// What the rules look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Type and permissions, `st_mode`.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) links: u64,
    pub(crate) size: u64,
}

impl From<&Stat> for Facts {
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast, reason = "widths differ between machines")]
    fn from(stat: &Stat) -> Self {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        Self { mode: stat.st_mode, uid: stat.st_uid, links: u64::from(stat.st_nlink), size }
    }
}

impl From<&Metadata> for Facts {
    fn from(meta: &Metadata) -> Self {
        Self { mode: meta.mode(), uid: meta.uid(), links: meta.nlink(), size: meta.size() }
    }
}

/// Why something below a root is not indexed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Skip {
    /// A symlink, device, FIFO or socket.
    Special,
    /// Its owner is not an allowed one.
    Owner,
    /// Not readable by everybody, or in a directory that is not.
    Private,
    /// Everybody may write to it.
    Writable,
    /// setuid or setgid.
    SetId,
    /// Deleted, or with very many names.
    Links,
    /// Empty, too small or too large.
    Size,
    /// No package manager knows it.
    NotOwned,
    /// A directory or file on another mount.
    OtherMount,
    /// A directory on a filesystem that is not allowed.
    Filesystem,
    /// It could not be read.
    Unreadable,
    /// It changed within the last seconds, or while it was read: the next pass looks again.
    Changing,
}

impl Skip {
    /// Kebab-case name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Special => "special",
            Self::Owner => "owner",
            Self::Private => "private",
            Self::Writable => "writable",
            Self::SetId => "set-id",
            Self::Links => "links",
            Self::Size => "size",
            Self::NotOwned => "not-owned",
            Self::OtherMount => "other-mount",
            Self::Filesystem => "filesystem",
            Self::Unreadable => "unreadable",
            Self::Changing => "changing",
        }
    }
}

/// May a file with these facts be indexed, or used if it is?
pub(crate) fn admit(facts: &Facts, options: &HostOptions) -> Result<(), Skip> {
    let (least, most) = options.sizes;
    if FileType::from_raw_mode(facts.mode) != FileType::RegularFile {
        Err(Skip::Special)
    } else if !options.owners.contains(&facts.uid) {
        Err(Skip::Owner)
    } else if facts.mode & 0o6000 != 0 {
        Err(Skip::SetId)
    } else if facts.mode & 0o004 == 0 {
        Err(Skip::Private)
    } else if facts.mode & 0o002 != 0 {
        Err(Skip::Writable)
    } else if facts.links == 0 || facts.links > MAX_LINKS {
        Err(Skip::Links)
    } else if facts.size < least.max(1) || facts.size > most {
        Err(Skip::Size)
    } else {
        Ok(())
    }
}

/// Can everybody get at what lies in this directory?
pub(crate) fn is_public(mode: u32) -> bool {
    FileType::from_raw_mode(mode) == FileType::Directory && mode & 0o005 == 0o005
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_files_of_allowed_owners_qualify() {
        let options = HostOptions { owners: vec![0, 7], sizes: (10, 1000), ..HostOptions::default() };
        let good = Facts { mode: 0o100_644, uid: 0, links: 1, size: 100 };
        let cases = [
            (good, Ok(())),
            (Facts { uid: 7, links: 64, mode: 0o100_755, ..good }, Ok(())),
            (Facts { mode: 0o100_004, ..good }, Ok(())),
            (Facts { uid: 1, ..good }, Err(Skip::Owner)),
            (Facts { mode: 0o100_640, ..good }, Err(Skip::Private)),
            (Facts { mode: 0o100_646, ..good }, Err(Skip::Writable)),
            (Facts { mode: 0o104_755, ..good }, Err(Skip::SetId)),
            (Facts { mode: 0o102_755, ..good }, Err(Skip::SetId)),
            (Facts { links: 0, ..good }, Err(Skip::Links)),
            (Facts { links: 65, ..good }, Err(Skip::Links)),
            (Facts { size: 9, ..good }, Err(Skip::Size)),
            (Facts { size: 1001, ..good }, Err(Skip::Size)),
            (Facts { mode: 0o040_755, ..good }, Err(Skip::Special)),
            (Facts { mode: 0o120_777, ..good }, Err(Skip::Special)),
            (Facts { mode: 0o010_644, ..good }, Err(Skip::Special)),
            (Facts { mode: 0o020_644, ..good }, Err(Skip::Special)),
            (Facts { mode: 0o060_644, ..good }, Err(Skip::Special)),
            (Facts { mode: 0o140_644, ..good }, Err(Skip::Special)),
        ];
        for (facts, expected) in cases {
            assert_eq!(admit(&facts, &options), expected, "{facts:?}");
        }
        let zero = HostOptions { sizes: (0, 1000), ..options };
        assert_eq!(admit(&Facts { size: 0, ..good }, &zero), Err(Skip::Size), "an empty file needs no donor");
    }

    #[test]
    fn public_directories() {
        assert!(is_public(0o040_755));
        assert!(is_public(0o040_005));
        for mode in [0o040_750, 0o040_751, 0o040_754, 0o100_755, 0o120_777] {
            assert!(!is_public(mode), "{mode:o}");
        }
    }

    #[test]
    fn names_are_those_of_json() {
        for skip in [Skip::SetId, Skip::NotOwned, Skip::OtherMount, Skip::Special] {
            assert_eq!(serde_json::to_value(skip).unwrap(), skip.name());
        }
    }
}
